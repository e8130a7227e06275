package storetest

import (
	"math/rand/v2"
	"testing"

	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

func testOrders(t *testing.T, s *suite) {
	t.Run("a lower one arrives later", s.lowerOrderLater)
	t.Run("two with a floor between", s.floorBetween)
	t.Run("two in one operation", s.twoOrdersInBatch)
	t.Run("many of one id", s.manyOrders)
}

func (s *suite) lowerOrderLater(t *testing.T) {
	k, v := s.newConversation(t), s.versions(4)
	s.must(t, appendOp(k, v[1], msg("b", "hi")), store.Applied)
	s.must(t, appendOp(k, v[2], msg("a", "hi")), store.Applied)
	res := s.must(t, s.merged(appendOp(k, v[0], msg("a", "hi"))), store.Applied)
	if want := (store.Placed{Order: record.Order{Version: v[0]}, Duplicate: true}); res.Placed[0] != want {
		t.Errorf("moved: %+v, want %+v", res.Placed[0], want)
	}
	s.wantMessages(t, k, "a", "b")
	res = s.must(t, s.merged(appendOp(k, v[3], msg("b", "hi"), msg("a", "hi"))), store.Unchanged)
	for i, want := range []record.Order{{Version: v[1]}, {Version: v[0]}} {
		if p := res.Placed[i]; p.Order != want || !p.Duplicate {
			t.Errorf("message %d is %+v, want a duplicate at %s", i, p, want)
		}
	}
	s.wantMessages(t, k, "a", "b")
}

// floorBetween: an id never vanishes while one of its orders is above the floor.
func (s *suite) floorBetween(t *testing.T) {
	for _, mode := range []store.Mode{store.Live, store.Merge} {
		k, v := s.newConversation(t), s.versions(6)
		op := func(op store.Op) store.Op {
			if mode == store.Merge {
				return s.merged(op)
			}
			return op
		}
		s.must(t, op(appendOp(k, v[0], msg("a", "hi"), msg("b", "hi"))), store.Applied)
		s.must(t, op(appendOp(k, v[2], msg("c", "hi"))), store.Applied)
		res := s.must(t, op(appendOp(k, v[4], msg("d", "hi"), msg("a", "hi"))), store.Applied)
		if want := (store.Placed{Order: record.Order{Version: v[0]}, Duplicate: true}); res.Placed[1] != want {
			t.Errorf("a again: %+v, want %+v", res.Placed[1], want)
		}
		s.wantMessages(t, k, "a", "b", "c", "d")
		s.must(t, s.merged(replaceOp(k, v[3], msg("e", "hi"))), store.Applied)
		s.wantMessages(t, k, "e", "d", "a")
		res = s.must(t, appendOp(k, v[5], msg("a", "hi"), msg("b", "hi")), store.Applied)
		if want := (store.Placed{Order: record.Order{Version: v[4], Index: 1}, Duplicate: true}); res.Placed[0] != want || res.Placed[1].Duplicate {
			t.Errorf("above the floor: %+v, want a duplicate %+v and a new message", res.Placed, want)
		}
		if res = s.apply(t, s.merged(appendOp(k, v[1], msg("a", "hi")))); !res.Placed[0].Dropped {
			t.Errorf("below the floor: %+v, want it dropped", res.Placed[0])
		}
		s.wantMessages(t, k, "e", "d", "a", "b")
	}
}

func (s *suite) twoOrdersInBatch(t *testing.T) {
	k, v := s.newConversation(t), s.versions(2)
	op := s.merged(appendOp(k, v[0], msg("a", "one"), msg("b", "hi"), msg("a", "two")))
	s.must(t, op, store.Applied)
	s.wantMessages(t, k, "a", "b")
	s.wantContent(t, k, "a", "one")
	s.must(t, op, store.Unchanged)
	s.wantContent(t, k, "a", "one")
}

// manyOrders: one id is brought under more orders than are remembered. The
// lowest is where it stands, and the highest keeps it above every floor that
// leaves one.
func (s *suite) manyOrders(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		k, v := s.newConversation(t), s.versions(42)
		orders := random.Perm(40)
		for _, i := range orders {
			s.apply(t, s.merged(appendOp(k, v[i], msg("a", "hi"))))
		}
		s.apply(t, s.merged(appendOp(k, v[40], msg("b", "hi"))))
		for floor := range 31 {
			l := s.log(t, k, 0)
			if got, want := l.Messages[0].Order, (record.Order{Version: v[floor]}); got != want || len(l.Messages) != 2 {
				t.Fatalf("arrived as %v, floor at order %d: %q stand, the first at %s, want %s", orders, floor, ids(l), got, want)
			}
			s.must(t, s.merged(replaceOp(k, v[floor+1])), store.Applied)
		}
		s.must(t, s.merged(replaceOp(k, v[39])), store.Applied)
		s.wantMessages(t, k, "a", "b")
		if got, want := s.log(t, k, 1).Messages[0].Order, (record.Order{Version: v[40]}); got != want {
			t.Fatalf("b stands at %s, want %s", got, want)
		}
		s.must(t, s.merged(replaceOp(k, v[40])), store.Applied)
		s.wantMessages(t, k, "b")
	}
}
