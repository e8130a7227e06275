package storetest

import (
	"testing"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func testConditions(t *testing.T, s *suite) {
	t.Run("by what is stored", s.conditions)
	t.Run("order of the answers", s.conditionFirst)
	t.Run("seen and expired", s.seenThenExpired)
}

// conditions tries each condition on each thing that may be stored.
func (s *suite) conditions(t *testing.T) {
	const generation = 5 // of the operation
	v := s.versions(3)
	stored, other := v[0], v[1]
	absent := func(keys.Key) {}
	value := func(generation uint64) func(keys.Key) {
		return func(k keys.Key) { s.must(t, under(set(k, stored, "stored"), generation), store.Applied) }
	}
	deleted := func(generation uint64) func(keys.Key) {
		return func(k keys.Key) { s.must(t, under(tombstone(k, stored), generation), store.Applied) }
	}
	ifAbsent := store.Condition{Kind: store.IfAbsent}
	ifStored := store.Condition{Kind: store.IfVersion, Version: stored}
	ifOther := store.Condition{Kind: store.IfVersion, Version: other}
	seenStored := store.Condition{Kind: store.IfSeen, Version: stored}
	seenOther := store.Condition{Kind: store.IfSeen, Version: other}
	seenNothing := store.Condition{Kind: store.IfSeen}
	for _, c := range []struct {
		name    string
		prepare func(keys.Key)
		holds   map[store.Condition]bool
	}{
		{"nothing", absent, map[store.Condition]bool{ifAbsent: true, seenNothing: true}},
		{"a value", value(generation), map[store.Condition]bool{ifStored: true, seenStored: true}},
		{"a value of a lower generation", value(generation - 1), map[store.Condition]bool{ifAbsent: true, seenStored: true}},
		{"a tombstone", deleted(generation), map[store.Condition]bool{ifAbsent: true, seenStored: true}},
		{"a tombstone of a lower generation", deleted(generation - 1), map[store.Condition]bool{ifAbsent: true, seenStored: true}},
	} {
		for _, cond := range []store.Condition{ifAbsent, ifStored, ifOther, seenStored, seenOther, seenNothing} {
			k := s.newValue(t)
			c.prepare(k)
			before := s.get(t, k)
			op := under(set(k, v[2], "new"), generation)
			op.If = cond
			if c.holds[cond] {
				s.must(t, op, store.Applied)
				s.wantValue(t, k, "new")
				continue
			}
			res := s.apply(t, op)
			if res.Status != store.ConditionFail {
				t.Errorf("%s, condition %+v: %s, want the condition to fail", c.name, cond, name(res.Status))
			}
			if res.Version != before.Value.Version {
				t.Errorf("%s, condition %+v: answers version %s, want %s", c.name, cond, res.Version, before.Value.Version)
			}
			if after := s.get(t, k); after.Found != before.Found || after.Value.Version != before.Value.Version {
				t.Errorf("%s, condition %+v failed and changed %+v to %+v", c.name, cond, before, after)
			}
		}
	}
}

// conditionFirst: a condition that holds does not make an older version win,
// and one that fails is told before anything else about the record.
func (s *suite) conditionFirst(t *testing.T) {
	k, v := s.newValue(t), s.versions(4)
	s.must(t, tombstone(k, v[2]), store.Applied)
	old := set(k, v[1], "old")
	old.If = store.Condition{Kind: store.IfAbsent}
	if res := s.must(t, old, store.Superseded); res.Version != v[2] {
		t.Errorf("superseded by %s, want the tombstone's %s", res.Version, v[2])
	}
	seen := set(k, v[0], "load")
	seen.If = store.Condition{Kind: store.IfSeen, Version: v[2]}
	s.must(t, seen, store.Superseded)
	s.must(t, set(k, v[3], "value"), store.Applied)
	s.must(t, old, store.ConditionFail)
	higher := under(set(k, v[3], "value"), 2)
	s.must(t, higher, store.Applied)
	absent := under(set(k, v[3], "value"), 1)
	absent.If = store.Condition{Kind: store.IfAbsent}
	s.must(t, absent, store.ConditionFail) // a higher generation is there for a reader
	stale := under(set(k, v[3], "value"), 1)
	stale.If = store.Condition{Kind: store.IfVersion, Version: v[3]}
	s.must(t, stale, store.Stale)
}

func (s *suite) seenThenExpired(t *testing.T) {
	k, v := s.newValue(t), s.versions(3)
	short := set(k, v[0], "short")
	short.TTL = shortLife
	res := s.must(t, short, store.Applied)
	s.awaitExpiry(t, res.ExpiresAt, func() bool { return s.get(t, k).Found })
	fill := set(k, v[1], "fill")
	fill.If = store.Condition{Kind: store.IfSeen, Version: v[0]}
	if res := s.must(t, fill, store.ConditionFail); !res.Version.IsZero() {
		t.Errorf("answers version %s of what has expired", res.Version)
	}
	fill.If = store.Condition{Kind: store.IfVersion, Version: v[0]}
	s.must(t, fill, store.ConditionFail)
	fill.If = store.Condition{Kind: store.IfSeen}
	fill.Version = clock.Historic(s.storeTime(t), 1) // lower than what expired
	s.must(t, fill, store.Applied)
	s.wantValue(t, k, "fill")
	again := set(k, v[2], "again")
	again.If = store.Condition{Kind: store.IfSeen, Version: fill.Version}
	s.must(t, again, store.Applied)
}
