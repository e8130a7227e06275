package storetest

import (
	"fmt"
	"testing"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

func testReplaces(t *testing.T, s *suite) {
	t.Run("by messages", s.replaceByMessages)
	t.Run("by none", s.clear)
	t.Run("live appends below the floor", s.appendBelowFloor)
	t.Run("live replaces below the newest", s.replaceBelowNewest)
	t.Run("merged below the floor", s.mergeBelowFloor)
	t.Run("merged replaces in any order", s.mergeReplaces)
	t.Run("the same operation again", s.sameReplace)
}

func (s *suite) replaceByMessages(t *testing.T) {
	k, v := s.newConversation(t), s.versions(3)
	s.must(t, appendOp(k, v[0], msg("a", "hi"), msg("b", "hi")), store.Applied)
	res := s.must(t, replaceOp(k, v[1], msg("b", "other"), msg("c", "hi")), store.Applied)
	for i, p := range res.Placed {
		if want := (record.Order{Version: v[1], Index: uint16(i)}); p.Order != want || p.Duplicate || p.Dropped {
			t.Errorf("message %d is placed %+v, want a new one at %s", i, p, want)
		}
	}
	s.wantMessages(t, k, "b", "c")
	if got, want := string(s.log(t, k, 0).Messages[0].Stored), string(msg("b", "other").Payload); got != want {
		t.Errorf("b is %s, want %s", got, want)
	}
	s.must(t, appendOp(k, v[2], msg("d", "hi")), store.Applied)
	s.wantMessages(t, k, "b", "c", "d")
}

func (s *suite) clear(t *testing.T) {
	k, v := s.newConversation(t), s.versions(4)
	s.must(t, appendOp(k, v[0], msg("a", "hi"), msg("b", "hi")), store.Applied)
	s.must(t, replaceOp(k, v[1]), store.Applied)
	s.wantMessages(t, k)
	// The ids have gone too: the same webhook after a clear is a new message.
	res := s.must(t, appendOp(k, v[2], msg("a", "other")), store.Applied)
	if res.Placed[0].Duplicate {
		t.Errorf("after a clear: %+v, want a new message", res.Placed[0])
	}
	s.wantMessages(t, k, "a")
	s.must(t, replaceOp(k, v[3]), store.Applied)
	s.wantMessages(t, k)
	never := s.newConversation(t)
	s.must(t, replaceOp(never, v[1]), store.Applied)
	s.must(t, appendOp(never, v[0], msg("a", "hi")), store.Superseded)
	s.wantMessages(t, never)
}

// wantSuperseded checks that op changes nothing and tells which version it has
// to exceed, and that this is enough.
func (s *suite) wantSuperseded(t *testing.T, op store.Op) {
	t.Helper()
	before := s.log(t, op.Key, 0)
	res := s.must(t, op, store.Superseded)
	s.wantMessages(t, op.Key, ids(before)...)
	if res.Version.Compare(op.Version) <= 0 {
		t.Errorf("%s is superseded by %s, which is not higher", describe(op), res.Version)
	}
	op.Version = res.Version.Next(op.Version.Node())
	s.must(t, op, store.Applied)
}

func (s *suite) appendBelowFloor(t *testing.T) {
	for _, by := range [][]store.Message{nil, {msg("x", "hi")}} {
		k, v := s.newConversation(t), s.versions(3)
		s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Applied)
		s.must(t, replaceOp(k, v[2], by...), store.Applied)
		s.wantSuperseded(t, appendOp(k, v[1], msg("late", "hi"), msg("later", "hi")))
	}
	// The floor itself is not below the floor.
	k, v := s.newConversation(t), s.clock.Now()
	s.must(t, replaceOp(k, v), store.Applied)
	s.must(t, appendOp(k, v, msg("a", "hi")), store.Applied)
	s.wantMessages(t, k, "a")
}

func (s *suite) replaceBelowNewest(t *testing.T) {
	for _, by := range [][]store.Message{nil, {msg("x", "hi"), msg("y", "hi")}, {msg("a", "hi")}} {
		k, v := s.newConversation(t), s.versions(5)
		s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Applied)
		s.must(t, appendOp(k, v[2], msg("b", "hi")), store.Applied)
		s.wantSuperseded(t, replaceOp(k, v[1], by...))
		// An order that is remembered beside the lowest one counts as well.
		k = s.newConversation(t)
		s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Applied)
		s.must(t, appendOp(k, v[4], msg("a", "hi")), store.Unchanged)
		s.wantSuperseded(t, replaceOp(k, v[3], by...))
		// And below the floor.
		k = s.newConversation(t)
		s.must(t, replaceOp(k, v[2]), store.Applied)
		s.wantSuperseded(t, replaceOp(k, v[1], by...))
	}
}

func (s *suite) mergeBelowFloor(t *testing.T) {
	k, v := s.newConversation(t), s.versions(4)
	s.must(t, replaceOp(k, v[2], msg("x", "hi")), store.Applied)
	res := s.must(t, s.merged(appendOp(k, v[1], msg("a", "hi"), msg("b", "hi"))), store.Unchanged)
	for i, p := range res.Placed {
		if !p.Dropped {
			t.Errorf("message %d is %+v, want it dropped", i, p)
		}
	}
	res = s.must(t, s.merged(replaceOp(k, v[0], msg("c", "hi"))), store.Unchanged)
	if !res.Placed[0].Dropped {
		t.Errorf("of an older Replace: %+v, want it dropped", res.Placed[0])
	}
	s.wantMessages(t, k, "x")
	// A merged Replace takes only what is older than itself.
	s.must(t, appendOp(k, s.clock.Now(), msg("newer", "hi")), store.Applied)
	s.must(t, s.merged(replaceOp(k, v[3], msg("y", "hi"))), store.Applied)
	s.wantMessages(t, k, "y", "newer")
}

func (s *suite) mergeReplaces(t *testing.T) {
	v := s.versions(6)
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}, {3, 1, 4, 0, 2}} {
		k := s.newConversation(t)
		ops := []store.Op{
			appendOp(k, v[0], msg("a", "hi")),
			replaceOp(k, v[1], msg("b", "hi"), msg("c", "hi")),
			appendOp(k, v[2], msg("d", "hi")),
			replaceOp(k, v[3], msg("e", "hi")),
			appendOp(k, v[4], msg("f", "hi")),
		}
		for _, i := range order {
			s.apply(t, s.merged(ops[i]))
		}
		if got := fmt.Sprint(ids(s.log(t, k, 0))); got != "[e f]" {
			t.Errorf("merged in the order %v: %s, want [e f]", order, got)
		}
		s.apply(t, s.merged(replaceOp(k, v[5])))
		s.wantMessages(t, k)
	}
}

func (s *suite) sameReplace(t *testing.T) {
	k := s.newConversation(t)
	op := replaceOp(k, s.clock.Now(), msg("a", "hi"), msg("b", "hi"))
	first := s.must(t, op, store.Applied)
	for _, again := range []store.Op{op, s.merged(op)} {
		res := s.must(t, again, store.Unchanged)
		for i, p := range res.Placed {
			if !p.Duplicate || p.Dropped || p.Order != first.Placed[i].Order {
				t.Errorf("again: message %d is %+v, want a duplicate at %s", i, p, first.Placed[i].Order)
			}
		}
	}
	clear := replaceOp(k, s.clock.Now())
	s.must(t, clear, store.Applied)
	s.must(t, clear, store.Unchanged)
	s.must(t, s.merged(clear), store.Unchanged)
	historic := clock.Historic(s.storeTime(t), 1)
	s.must(t, s.merged(replaceOp(k, historic, msg("c", "hi"))), store.Unchanged)
	s.wantMessages(t, k)
}
