package jackcache_test

import (
	"context"
	"slices"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// What an instance writes after an invalidation that it has not heard of, because
// Redis was emptied in between, is there when the one that knows of it has restored
// it; what was written before the invalidation is not. It keeps copies: so it has
// answered the invalidation.
func TestWrittenWhileAnInvalidationIsLost(t *testing.T) {
	server := redistest.Start(t)
	dir := t.TempDir()
	open := func() *assistant.Assistant {
		return instance(t, server, patient, func(o *jackcache.Options) { o.DataDir = dir })
	}
	a, b := open(), instance(t, server, copies, patient)
	ctx, by := t.Context(), func(x *assistant.Assistant) jackcache.Conversation {
		return x.Cache.Org("org-1").Conversation(phone(1))
	}
	if _, err := by(b).Append(ctx, message("first", "hi")); err != nil {
		t.Fatal(err)
	}
	warm(t, "a conversation", func() jackcache.Source {
		got, err := by(b).Messages(ctx, jackcache.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return got.Source
	})
	for _, err := range []error{
		second(by(a).Append(ctx, message("before", "hi"))),
		a.Cache.Org("org-1").Invalidate(ctx),
		a.Cache.Close(context.WithoutCancel(ctx)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	if _, err := by(b).Append(ctx, message("after", "hi")); err != nil {
		t.Fatal(err)
	}
	a = open()
	back(t, a, b)
	for _, x := range []*assistant.Assistant{a, b} {
		if got := idsOf(t, by(x)); !slices.Equal(got, []string{"after"}) {
			t.Errorf("%v; what was acknowledged after the invalidation is %q", got, "after")
		}
	}
}
