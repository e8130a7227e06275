package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// readLife is the TTL of what is read while it lives, with time for a busy machine.
const readLife = 4 * shortLife

func testRefreshes(t *testing.T, s *suite) {
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"lives are told", s.lives},
		{"a read value lives longer", s.refreshProlongs},
		{"once in a part of the life", s.refreshIsRare},
		{"no life is shortened", s.refreshNeverShortens},
		{"a life is bounded", s.refreshIsBounded},
		{"only what was read", s.refreshKnowsItsValue},
		{"what has expired stays away", s.refreshAfterLife},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

// longer asks for a longer life of what a key holds.
func (s *suite) longer(t tb, r store.Refresh) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	left, err := s.Refresh(ctx, r)
	if err != nil {
		t.Fatalf("refresh %s: %v", r.Key, err)
	}
	return left
}

// left reads what a key holds with what is left of its life, and when that ends:
// not before and not after two instants, of which the trips of this test are between.
func (s *suite) left(t tb, k keys.Key) (r store.Read, first, last time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	before := s.storeTime(t)
	rs, err := s.GetLives(ctx, []keys.Key{k})
	if err != nil {
		t.Fatalf("lives of %s: %v", k, err)
	}
	return rs[0], before.Add(rs[0].Left), s.storeTime(t).Add(rs[0].Left)
}

// about reports whether a life is one, less what the test took since began.
func (s *suite) about(t tb, left, want time.Duration, began time.Time) bool {
	t.Helper()
	return left <= want+precision && left >= want-s.storeTime(t).Sub(began)-precision
}

func (s *suite) lives(t *testing.T) {
	o, v := s.newOrg(t), s.versions(3)
	value, gone, none := s.key(t, "lead", o, "value"), s.key(t, "lead", o, "gone"), s.key(t, "lead", o, "none")
	began := s.storeTime(t)
	s.must(t, set(value, v[0], "x"), store.Applied)
	s.must(t, lived(tombstone(gone, v[1]), 2*life), store.Applied)
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	rs, err := s.GetLives(ctx, []keys.Key{value, none, gone})
	if err != nil {
		t.Fatal(err)
	}
	if !rs[0].Live() || rs[0].Value.Version != v[0] || !s.about(t, rs[0].Left, life, began) {
		t.Errorf("a value: %+v, want %v left", rs[0], life)
	}
	if rs[1].Found || rs[1].Left != 0 {
		t.Errorf("nothing: %+v", rs[1])
	}
	if !rs[2].Found || rs[2].Live() || !s.about(t, rs[2].Left, 2*life, began) {
		t.Errorf("a tombstone: %+v, want %v left", rs[2], 2*life)
	}

	c := s.newConversation(t)
	began = s.storeTime(t)
	op := appendOp(c, s.clock.Now(), msg("a", "hi"))
	op.MaxLife = life / 2
	s.must(t, op, store.Applied)
	for _, last := range []int{0, 1} {
		if l := s.log(t, c, last); !s.about(t, l.Left, life/2, began) {
			t.Errorf("the last %d of a conversation: %v left, want %v", last, l.Left, life/2)
		}
	}
}

// inTime runs a test of a new value that lives for readLife, until one asks for a
// longer life before it has expired: a slow machine may come too late.
func (s *suite) inTime(t *testing.T, test func(t *testing.T, k keys.Key, v clock.Version, ends time.Time) bool) {
	t.Helper()
	for range 5 {
		k, v := s.newValue(t), s.clock.Now()
		if test(t, k, v, s.must(t, lived(set(k, v, "x"), readLife), store.Applied).ExpiresAt) {
			return
		}
	}
	t.Error("the value has expired each time")
}

func (s *suite) refreshProlongs(t *testing.T) { s.inTime(t, s.prolongs) }

func (s *suite) prolongs(t *testing.T, k keys.Key, v clock.Version, ends time.Time) bool {
	for range 3 {
		eventually(t, "half of the life", func() bool { r, _, _ := s.left(t, k); return r.Left < readLife/2 })
		began := s.storeTime(t)
		left := s.longer(t, store.Refresh{Key: k, Version: v, TTL: readLife})
		now := s.storeTime(t)
		if left == 0 && now.After(ends.Add(-precision)) {
			return false
		}
		if !s.about(t, left, readLife, began) {
			t.Fatalf("%v left, want %v", left, readLife)
		}
		ends = began.Add(left) // at least
		if !s.get(t, k).Live() && s.storeTime(t).Before(began.Add(readLife-precision)) {
			t.Fatal("it is gone before its longer life is over")
		}
	}
	_, first, last := s.left(t, k)
	s.awaitExpiryBetween(t, first, last, func() bool { return s.get(t, k).Found })
	return true
}

// Every process that reads a value asks when it is due: one of them prolongs it.
func (s *suite) refreshIsRare(t *testing.T) {
	k, v := s.newValue(t), s.clock.Now()
	began := s.storeTime(t)
	res := s.must(t, set(k, v, "x"), store.Applied)
	same := func(what string, r store.Refresh) {
		t.Helper()
		s.longer(t, r)
		if _, first, last := s.left(t, k); last.Before(res.ExpiresAt.Add(-precision)) || first.After(s.storeTime(t).Add(life)) {
			t.Errorf("%s: it ends between %v and %v, before at %v", what, first, last, res.ExpiresAt)
		}
	}
	same("at once", store.Refresh{Key: k, Version: v, TTL: life})
	// So much is left that it is not a quarter of the new life that has passed.
	if left := s.longer(t, store.Refresh{Key: k, Version: v, TTL: life * 5 / 4}); !s.about(t, left, life, began) {
		t.Errorf("not due: %v left, want %v", left, life)
	}
	ends := make(chan time.Duration, 16)
	var all sync.WaitGroup
	for range cap(ends) {
		all.Go(func() { ends <- s.longer(t, store.Refresh{Key: k, Version: v, TTL: 2 * life}) })
	}
	all.Wait()
	close(ends)
	for left := range ends {
		if !s.about(t, left, 2*life, began) {
			t.Errorf("%v left, want %v", left, 2*life)
		}
	}
}

func (s *suite) refreshNeverShortens(t *testing.T) {
	k, v := s.newValue(t), s.clock.Now()
	began := s.storeTime(t)
	s.must(t, set(k, v, "x"), store.Applied)
	for what, r := range map[string]store.Refresh{
		"a shorter life": {Key: k, Version: v, TTL: shortLife},
		"an early bound": {Key: k, Version: v, TTL: 2 * life, Until: began.Add(shortLife)},
		"a past bound":   {Key: k, Version: v, TTL: 2 * life, Until: began.Add(-life)},
	} {
		if left := s.longer(t, r); !s.about(t, left, life, began) {
			t.Errorf("%s: %v left, want %v", what, left, life)
		}
		if r, _, _ := s.left(t, k); !r.Live() || !s.about(t, r.Left, life, began) {
			t.Errorf("%s: %v left, want %v", what, r.Left, life)
		}
	}
}

// The bound is reached, however little is missing to it, and not exceeded.
func (s *suite) refreshIsBounded(t *testing.T) { s.inTime(t, s.bounded) }

func (s *suite) bounded(t *testing.T, k keys.Key, v clock.Version, ends time.Time) bool {
	bound := ends.Add(readLife / 10)
	r := store.Refresh{Key: k, Version: v, TTL: readLife, Until: bound}
	late := false
	eventually(t, "it lives until the bound", func() bool {
		before := s.storeTime(t)
		left := s.longer(t, r)
		late = left == 0 && s.storeTime(t).After(ends.Add(-precision))
		return late || left > 0 && before.Add(left).After(ends.Add(precision))
	})
	if late {
		return false
	}
	s.awaitExpiry(t, bound, func() bool {
		s.longer(t, r)
		return s.get(t, k).Found
	})
	return true
}

func (s *suite) refreshKnowsItsValue(t *testing.T) {
	v := s.versions(3)
	for what, change := range map[string]func(keys.Key) (generation uint64){
		"overwritten": func(k keys.Key) uint64 {
			s.must(t, lived(set(k, v[1], "later"), life), store.Applied)
			return 0
		},
		"deleted": func(k keys.Key) uint64 {
			s.must(t, lived(tombstone(k, v[1]), life), store.Applied)
			return 0
		},
		"deleted under the version that was read": func(k keys.Key) uint64 {
			s.must(t, under(lived(tombstone(k, v[0]), life), 1), store.Applied)
			return 0
		},
		"invalidated": func(k keys.Key) uint64 { return s.invalidate(t, k.Org(), 0) },
	} {
		k := s.newValue(t)
		began := s.storeTime(t)
		s.must(t, set(k, v[0], "x"), store.Applied)
		generation := change(k)
		before := s.get(t, k)
		left := s.longer(t, store.Refresh{Key: k, Version: v[0], Generation: generation, TTL: 2 * life})
		if left != 0 {
			t.Errorf("%s: %v left, want that it is not there", what, left)
		}
		r, _, _ := s.left(t, k)
		if !r.Found || r.Value.Version != before.Value.Version || r.Live() != before.Live() || !s.about(t, r.Left, life, began) {
			t.Errorf("%s: %+v, before %+v; want %v left", what, r, before, life)
		}
	}
	k := s.newValue(t)
	s.must(t, set(k, v[1], "x"), store.Applied)
	for what, version := range map[string]clock.Version{"older": v[0], "later": v[2], "no": {}} {
		if left := s.longer(t, store.Refresh{Key: k, Version: version, TTL: 2 * life}); left != 0 {
			t.Errorf("%s version: %v left", what, left)
		}
	}
	c := s.newConversation(t)
	s.must(t, appendOp(c, v[0], msg("a", "hi")), store.Applied)
	if left := s.longer(t, store.Refresh{Key: c, Version: v[0], TTL: 2 * life}); left != 0 {
		t.Errorf("a conversation: %v left", left)
	}
}

func (s *suite) refreshAfterLife(t *testing.T) {
	k, v := s.newValue(t), s.clock.Now()
	res := s.must(t, lived(set(k, v, "x"), shortLife), store.Applied)
	s.awaitExpiry(t, res.ExpiresAt, func() bool { return s.get(t, k).Found })
	if left := s.longer(t, store.Refresh{Key: k, Version: v, TTL: life}); left != 0 || s.get(t, k).Found {
		t.Errorf("%v left of what has expired", left)
	}
}
