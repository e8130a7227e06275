package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// testBounds tests what a conversation says that it forgot on purpose.
func testBounds(t *testing.T, s *suite, st store.Shared) {
	want := func(t *testing.T, k keys.Key, floor clock.Version, trimmedTo record.Order, exists bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), callTime)
		defer cancel()
		f, to, there, err := st.Bounds(ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		if f != floor || to != trimmedTo || there != exists {
			t.Errorf("bounds %s, %s, exists %v; want %s, %s, %v", f, to, there, floor, trimmedTo, exists)
		}
	}
	none, nothing := clock.Version{}, record.Order{}
	t.Run("trimmed and replaced", func(t *testing.T) {
		k := s.newConversation(t)
		want(t, k, none, nothing, false)
		ops := s.fill(t, k, store.Window{Messages: 3, IDs: 10}, 3)
		want(t, k, none, nothing, true)
		for i := range 2 {
			op := windowed(appendOp(k, s.clock.Now(), msg(fmt.Sprint("later", i), "hi")), store.Window{Messages: 3, IDs: 10})
			s.must(t, op, store.Applied)
			want(t, k, none, ops[i].Messages[0].Order(ops[i].Version), true)
		}
		floor := s.clock.Now()
		s.must(t, replaceOp(k, floor), store.Applied)
		f, _, _, err := st.Bounds(t.Context(), k)
		if err != nil || f != floor {
			t.Errorf("floor %s, %v; want %s", f, err, floor)
		}
	})
	t.Run("after a life", func(t *testing.T) {
		k, w := s.newConversation(t), store.Window{Messages: 1, IDs: 10}
		floor := s.clock.Now()
		replace := lived(windowed(replaceOp(k, floor, msg("a", "hi"), msg("b", "hi")), w), shortLife)
		replace.Keep = life
		res := s.must(t, replace, store.Applied)
		s.awaitMessagesExpiry(t, k, res.ExpiresAt)
		eventually(t, "the end of the life", func() bool { return s.storeTime(t).After(res.ExpiresAt.Add(precision)) })
		want(t, k, floor, nothing, true)

		k = s.newConversation(t)
		res = s.must(t, lived(appendOp(k, s.clock.Now(), msg("a", "hi")), shortLife), store.Applied)
		s.awaitMessagesExpiry(t, k, res.ExpiresAt)
		eventually(t, "the end of the life", func() bool { return s.storeTime(t).After(res.ExpiresAt.Add(precision)) })
		want(t, k, none, nothing, false)
	})
	t.Run("of a value", func(t *testing.T) {
		k := s.newValue(t)
		s.must(t, set(k, s.clock.Now(), "1"), store.Applied)
		want(t, k, none, nothing, false)
	})
}
