package storetest

import (
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// shortLife is the TTL of what is to expire while a test waits.
const shortLife = 250 * time.Millisecond

func testLives(t *testing.T, s *suite) {
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"values expire", s.valuesExpire},
		{"tombstones expire", s.tombstonesExpire},
		{"conversations expire", s.conversationsExpire},
		{"appends slide", s.appendsSlide},
		{"repetitions do not slide", s.repetitionsDoNotSlide},
		{"no write shortens a life", s.neverShorter},
		{"a life is bounded", s.maxLife},
		{"merges carry an instant", s.mergesDoNotProlong},
		{"expired operations are skipped", s.expiredMessages},
		{"expired operations join a life", s.joinsLife},
		{"expired floors are kept", s.floorWithoutLife},
		{"what is merged was created before", s.creationReturns},
		{"floors outlive messages", s.floorIsKept},
		{"floors are kept by clears of nothing", s.floorOfNothing},
		{"a life begins anew above a floor", s.newLifeAboveFloor},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

// awaitExpiry polls until there is nothing there, and checks by the store's
// time that this happens at the instant.
func (s *suite) awaitExpiry(t tb, at time.Time, there func() bool) {
	t.Helper()
	s.awaitExpiryBetween(t, at, at, there)
}

// awaitExpiryBetween is awaitExpiry of what is known to end between two instants.
func (s *suite) awaitExpiryBetween(t tb, first, last time.Time, there func() bool) {
	t.Helper()
	eventually(t, "expiry", func() bool {
		before := s.storeTime(t)
		still := there()
		after := s.storeTime(t)
		if still && before.After(last.Add(precision)) {
			t.Fatalf("still there at %v, expired at %v", before, last)
		}
		if !still && after.Before(first.Add(-precision)) {
			t.Fatalf("gone before %v, expires at %v", after, first)
		}
		return !still
	})
}

func (s *suite) awaitMessagesExpiry(t tb, k keys.Key, at time.Time) {
	t.Helper()
	s.awaitExpiry(t, at, func() bool { return len(s.log(t, k, 0).Messages) > 0 })
}

// lived returns op with a TTL.
func lived(op store.Op, ttl time.Duration) store.Op {
	op.TTL, op.ExpiresAt = ttl, time.Time{}
	return op
}

func (s *suite) valuesExpire(t *testing.T) {
	k, v := s.newValue(t), s.versions(3)
	res := s.must(t, lived(set(k, v[1], "short"), shortLife), store.Applied)
	s.awaitExpiry(t, res.ExpiresAt, func() bool { return s.get(t, k).Found })
	if r := s.many(t, []keys.Key{k})[0]; r.Found {
		t.Errorf("several: still there: %+v", r)
	}
	s.must(t, set(k, v[0], "older"), store.Applied) // what has expired is not remembered
	s.wantValue(t, k, "older")

	until := s.merged(set(s.newValue(t), v[2], "until"))
	eventually(t, "a write before its instant", func() bool { // a slow machine may be past it
		until.ExpiresAt = s.storeTime(t).Add(shortLife)
		res = s.apply(t, until)
		return res.Status != store.Expired
	})
	if res.Status != store.Applied || !near(res.ExpiresAt, until.ExpiresAt) {
		t.Fatalf("merged: %s, expires at %v, want %v", name(res.Status), res.ExpiresAt, until.ExpiresAt)
	}
	s.awaitExpiry(t, res.ExpiresAt, func() bool { return s.get(t, until.Key).Found })

	// The life of a record is its own: a newer one may live shorter or longer.
	k = s.newValue(t)
	s.must(t, set(k, v[0], "long"), store.Applied)
	res = s.must(t, lived(set(k, v[1], "short"), shortLife), store.Applied)
	s.awaitExpiry(t, res.ExpiresAt, func() bool { return s.get(t, k).Found })
}

func (s *suite) tombstonesExpire(t *testing.T) {
	k, v := s.newValue(t), s.versions(2)
	s.must(t, set(k, v[0], "value"), store.Applied)
	res := s.must(t, lived(tombstone(k, v[1]), shortLife), store.Applied)
	s.awaitExpiry(t, res.ExpiresAt, func() bool { return s.get(t, k).Found })
}

func (s *suite) conversationsExpire(t *testing.T) {
	k, v := s.newConversation(t), s.versions(3)
	first := s.must(t, lived(appendOp(k, v[1], msg("a", "hi"), msg("b", "hi")), shortLife), store.Applied)
	if !near(first.ExpiresAt, first.StoreTime.Add(shortLife)) {
		t.Errorf("expires at %v, want %v after %v", first.ExpiresAt, shortLife, first.StoreTime)
	}
	arrival := first.StoreTime.UnixMicro()
	s.awaitMessagesExpiry(t, k, first.ExpiresAt)
	// The ids have gone with the messages.
	res := s.must(t, appendOp(k, v[2], msg("b", "other")), store.Applied)
	if res.Placed[0].Duplicate {
		t.Errorf("after the end of a life: %+v, want a new message", res.Placed[0])
	}
	s.wantMessages(t, k, "b")
	if got := s.log(t, k, 0).Messages[0].Arrival; got <= arrival {
		t.Errorf("arrival %d after the end of a life, %d before", got, arrival)
	}
	s.must(t, appendOp(k, v[0], msg("c", "older than what has expired")), store.Applied)
	s.wantMessages(t, k, "c", "b")
}

func (s *suite) appendsSlide(t *testing.T) {
	k := s.newConversation(t)
	var res store.Result
	for range 4 {
		res = s.must(t, lived(appendOp(k, s.clock.Now(), msg(s.clock.Now().String(), "hi")), shortLife), store.Applied)
		if !near(res.ExpiresAt, res.StoreTime.Add(shortLife)) {
			t.Errorf("expires at %v, want %v after %v", res.ExpiresAt, shortLife, res.StoreTime)
		}
		half := res.StoreTime.Add(shortLife / 2)
		eventually(t, "half of a life", func() bool { return s.storeTime(t).After(half) })
	}
	s.awaitMessagesExpiry(t, k, res.ExpiresAt)
}

func (s *suite) repetitionsDoNotSlide(t *testing.T) {
	k, v := s.newConversation(t), s.versions(2)
	first := s.must(t, lived(appendOp(k, v[0], msg("a", "hi")), life), store.Applied)
	again := s.must(t, lived(appendOp(k, v[1], msg("a", "hi")), 2*life), store.Unchanged)
	if !near(again.ExpiresAt, first.ExpiresAt) {
		t.Errorf("a repetition moved the end of life from %v to %v", first.ExpiresAt, again.ExpiresAt)
	}
}

func (s *suite) neverShorter(t *testing.T) {
	k := s.newConversation(t)
	long := s.must(t, appendOp(k, s.clock.Now(), msg("a", "hi")), store.Applied)
	for _, op := range []store.Op{
		appendOp(k, s.clock.Now(), msg("b", "hi")),
		replaceOp(k, s.clock.Now(), msg("c", "hi")),
		replaceOp(k, s.clock.Now()),
		appendOp(k, s.clock.Now(), msg("d", "hi")),
	} {
		if res := s.must(t, lived(op, time.Second), store.Applied); !near(res.ExpiresAt, long.ExpiresAt) {
			t.Errorf("%s with a TTL of a second: expires at %v, want %v", describe(op), res.ExpiresAt, long.ExpiresAt)
		}
	}
	soon := s.merged(appendOp(k, s.clock.Now(), msg("e", "hi")))
	soon.ExpiresAt = s.storeTime(t).Add(time.Minute)
	if res := s.must(t, soon, store.Applied); !near(res.ExpiresAt, long.ExpiresAt) {
		t.Errorf("merged: expires at %v, want %v", res.ExpiresAt, long.ExpiresAt)
	}
}

func (s *suite) maxLife(t *testing.T) {
	const bound = 10 * time.Minute
	k := s.newConversation(t)
	op := func(id string, ttl time.Duration) store.Op {
		op := lived(appendOp(k, s.clock.Now(), msg(id, "hi")), ttl)
		op.MaxLife = bound
		return op
	}
	created := s.must(t, op("a", 4*time.Minute), store.Applied)
	if want := created.StoreTime.Add(4 * time.Minute); !near(created.ExpiresAt, want) {
		t.Errorf("expires at %v, want %v", created.ExpiresAt, want)
	}
	end := created.StoreTime.Add(bound)
	later := created.StoreTime.Add(10 * precision)
	eventually(t, "some time", func() bool { return s.storeTime(t).After(later) })
	if res := s.must(t, op("b", 9*time.Minute), store.Applied); res.ExpiresAt.After(end.Add(precision)) {
		t.Errorf("expires at %v, bound by %v", res.ExpiresAt, end)
	}
	if res := s.must(t, op("c", life), store.Applied); !near(res.ExpiresAt, end) {
		t.Errorf("expires at %v, want the bound %v", res.ExpiresAt, end)
	}
	replay := s.merged(appendOp(s.newConversation(t), s.clock.Now(), msg("a", "hi")))
	replay.MaxLife = bound
	if res := s.must(t, replay, store.Applied); !near(res.ExpiresAt, time.UnixMilli(replay.Version.Millis()).Add(bound)) {
		t.Errorf("merged: expires at %v, want the bound %v after %s", res.ExpiresAt, bound, replay.Version)
	}
	short := s.newConversation(t)
	first := lived(appendOp(short, s.clock.Now(), msg("a", "hi")), life)
	first.MaxLife = shortLife
	s.awaitMessagesExpiry(t, short, s.must(t, first, store.Applied).ExpiresAt)
	// What comes after the end of a life is created anew.
	again := lived(appendOp(short, s.clock.Now(), msg("b", "hi")), life)
	again.MaxLife = bound
	if res := s.must(t, again, store.Applied); !near(res.ExpiresAt, res.StoreTime.Add(bound)) {
		t.Errorf("created anew at %v: expires at %v, want %v later", res.StoreTime, res.ExpiresAt, bound)
	}
}

func (s *suite) mergesDoNotProlong(t *testing.T) {
	k := s.newConversation(t)
	at := s.storeTime(t).Add(shortLife).Truncate(time.Millisecond)
	op := func(id string) store.Op {
		op := s.merged(appendOp(k, s.clock.Now(), msg(id, "hi")))
		op.ExpiresAt = at
		return op
	}
	// A slow machine may be past the instant at any of these.
	for _, id := range []string{"a", "b", "c"} {
		if res := s.apply(t, op(id)); res.Status == store.Applied && !near(res.ExpiresAt, at) {
			t.Errorf("merged %q: expires at %v, want %v", id, res.ExpiresAt, at)
		}
	}
	s.awaitMessagesExpiry(t, k, at)
	s.must(t, op("d"), store.Expired)
	s.wantMessages(t, k)
}

func (s *suite) floorIsKept(t *testing.T) {
	k, v := s.newConversation(t), s.versions(4)
	s.must(t, lived(appendOp(k, v[0], msg("a", "hi")), shortLife), store.Applied)
	replace := lived(under(replaceOp(k, v[2], msg("b", "hi")), 1), shortLife)
	replace.Keep = life
	s.raise(t, k.Org(), 1)
	res := s.must(t, replace, store.Applied)
	if !near(res.ExpiresAt, res.StoreTime.Add(shortLife)) {
		t.Errorf("a Replace that is kept expires at %v, want %v after %v", res.ExpiresAt, shortLife, res.StoreTime)
	}
	s.awaitMessagesExpiry(t, k, res.ExpiresAt)
	if got := s.list(t, store.Query{Type: keys.Conversations, Org: k.Org()}); len(got) != 0 {
		t.Errorf("a floor is listed: %v", got)
	}
	old := under(appendOp(k, v[1], msg("c", "hi")), 1)
	if res := s.must(t, old, store.Superseded); res.Version.Compare(v[2]) < 0 {
		t.Errorf("superseded by %s, want at least the floor %s", res.Version, v[2])
	}
	if res := s.apply(t, s.merged(old)); !res.Placed[0].Dropped {
		t.Errorf("merged below the floor: %+v, want it dropped", res.Placed[0])
	}
	s.must(t, appendOp(k, v[3], msg("c", "hi")), store.Stale) // the generation is kept with it
	s.wantMessages(t, k)
	s.must(t, under(appendOp(k, v[3], msg("b", "other")), 1), store.Applied)
	s.wantMessages(t, k, "b")
}

func (s *suite) floorOfNothing(t *testing.T) {
	k, v := s.newConversation(t), s.versions(3)
	clear := lived(replaceOp(k, v[1]), shortLife)
	clear.Keep = life
	res := s.must(t, clear, store.Applied)
	end := res.StoreTime.Add(2 * shortLife)
	eventually(t, "the end of the life", func() bool { return s.storeTime(t).After(end) })
	s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Superseded)
	if res := s.apply(t, s.merged(appendOp(k, v[0], msg("a", "hi")))); !res.Placed[0].Dropped {
		t.Errorf("merged below the floor: %+v, want it dropped", res.Placed[0])
	}
	s.must(t, appendOp(k, v[2], msg("a", "hi")), store.Applied)
	s.wantMessages(t, k, "a")
}

func (s *suite) newLifeAboveFloor(t *testing.T) {
	k, v := s.newConversation(t), s.versions(2)
	const bound = 10 * time.Minute
	replace := lived(replaceOp(k, v[0], msg("a", "hi")), shortLife)
	replace.Keep = life
	s.awaitMessagesExpiry(t, k, s.must(t, replace, store.Applied).ExpiresAt)
	op := lived(appendOp(k, v[1], msg("b", "hi")), life)
	op.MaxLife = bound
	if res := s.must(t, op, store.Applied); !near(res.ExpiresAt, res.StoreTime.Add(bound)) {
		t.Errorf("expires at %v, want %v after %v", res.ExpiresAt, bound, res.StoreTime)
	}
	s.wantMessages(t, k, "b")
}
