package near

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func TestOptions(t *testing.T) {
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	good := Options{MaxBytes: 1, Share: 1, Bound: 1, Space: space}
	for name, set := range map[string]func(*Options){
		"MaxBytes": func(o *Options) { o.MaxBytes = 0 },
		"Share":    func(o *Options) { o.Share = math.NaN() },
		"Bound":    func(o *Options) { o.Bound = 0 },
		"Space":    func(o *Options) { o.Space = keys.Space{} },
	} {
		o := good
		set(&o)
		if _, err := New(o); err == nil || strings.Count(err.Error(), "allowed") != 1 || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, share := range []float64{0, -1, 1.01, math.Inf(1)} {
		o := good
		o.Share = share
		if _, err := New(o); err == nil {
			t.Errorf("share %v is taken", share)
		}
	}
	if _, err := New(Options{}); err == nil || strings.Count(err.Error(), "allowed") != 4 {
		t.Errorf("of four problems it says %v", err)
	}
}

func TestGet(t *testing.T) {
	f := newFixture(t, Options{})
	k := f.key("a", "1")
	f.want(k, 0, false)
	f.mustFill(k, item(1))
	f.want(k, 1, true)
	f.mustFill(k, Item{Absent: true, Generation: 1, TTL: time.Second})
	if it, fresh := f.Get(k, f.c); it == nil || !it.Absent || !fresh {
		t.Errorf("a negative entry is %+v, fresh %v", it, fresh)
	}
	if s := f.Stats(); s.HitsFresh != 2 || s.Misses != 1 || s.Fills != 2 || s.Entries != 1 || s.Orgs != 1 {
		t.Errorf("stats are %+v", s)
	}
}

// TestStale: whatever takes the proof away leaves the copy, as a stale one.
func TestStale(t *testing.T) {
	for name, spoil := range map[string]func(f *fixture){
		"no covers":             func(f *fixture) { f.c = store.Covers{} },
		"another node":          func(f *fixture) { f.c.Key = &store.Cover{}; prove(f.c.Key) },
		"generation moved":      func(f *fixture) { f.c.Generation = &store.Cover{}; prove(f.c.Generation) },
		"key's connection":      func(f *fixture) { f.c.Key.Break() },
		"generation connection": func(f *fixture) { f.c.Generation.Break() },
		"new key connection":    func(f *fixture) { f.c.Key.Break(); prove(f.c.Key) },
		"new generation connection": func(f *fixture) {
			f.c.Generation.Break()
			prove(f.c.Generation)
		},
	} {
		f := newFixture(t, Options{})
		k := f.key("a", "1")
		f.mustFill(k, item(1))
		f.want(k, 1, true)
		spoil(f)
		it, fresh := f.Get(k, f.c)
		if it == nil || fresh {
			t.Errorf("%s: got %v, fresh %v", name, it, fresh)
		}
		if s := f.Stats(); s.HitsStale != 1 {
			t.Errorf("%s: stats are %+v", name, s)
		}
	}
}

// TestBound: a copy is fresh as long as both proofs are younger than the bound.
func TestBound(t *testing.T) {
	const bound = 20 * time.Millisecond
	f := newFixture(t, Options{Bound: bound})
	k := f.key("a", "1")
	f.mustFill(k, item(1))
	for _, late := range []*store.Cover{f.c.Key, f.c.Generation} {
		poll(t, func() bool {
			prove(f.c.Key)
			prove(f.c.Generation)
			_, fresh := f.Get(k, f.c)
			return fresh
		})
		// From now on one of them proves nothing more.
		last := store.Now()
		poll(t, func() bool {
			for _, c := range []*store.Cover{f.c.Key, f.c.Generation} {
				if c != late {
					prove(c)
				}
			}
			before := store.Now()
			it, fresh := f.Get(k, f.c)
			if it == nil || fresh && before-last >= int64(bound) {
				t.Fatalf("after %v it has %v, fresh %v", time.Duration(before-last), it, fresh)
			}
			return !fresh && store.Now()-last >= int64(bound)
		})
	}
}

// TestTTL: a copy lives for its TTL, less a jitter of a tenth at most.
func TestTTL(t *testing.T) {
	for name, tc := range map[string]struct {
		random uint64
		life   time.Duration
	}{"no jitter": {0, 100 * time.Millisecond}, "most jitter": {uint64(10 * time.Millisecond), 90 * time.Millisecond}} {
		f := newFixture(t, Options{})
		f.random = func() uint64 { return tc.random }
		k := f.key("a", "1")
		it := item(1)
		it.TTL = 100 * time.Millisecond
		before := store.Now()
		f.mustFill(k, it)
		after := store.Now()
		poll(t, func() bool {
			at := store.Now()
			got, _ := f.Get(k, f.c)
			if got != nil && at-after >= int64(tc.life) || got == nil && store.Now()-before < int64(tc.life) {
				t.Fatalf("%s: %v after it was kept it has %v", name, time.Duration(at-before), got)
			}
			return got == nil
		})
		poll(t, func() bool { f.cache.CleanUp(); return f.Stats().Expirations == 1 })
		if s := f.Stats(); s.Entries != 0 || s.Bytes != 0 || s.Orgs != 0 {
			t.Errorf("%s: stats are %+v", name, s)
		}
		it.TTL = math.MaxInt64
		f.mustFill(k, it)
		f.want(k, 1, true)
		it.TTL = 0
		if f.fill(k, it) || f.Stats().Rejected.Expired != 1 {
			t.Error("what has no TTL is kept")
		}
	}
}

// TestJitter: the jitter is spread over a tenth of the TTL.
func TestJitter(t *testing.T) {
	f := newFixture(t, Options{})
	x := uint64(1)
	f.random = func() uint64 { x = x*6364136223846793005 + 1442695040888963407; return x >> 11 }
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		e := f.entry(Lease{}, Item{TTL: time.Hour}, 1)
		least, most = min(least, e.item.TTL), max(most, e.item.TTL)
	}
	if least < 54*time.Minute || least > 55*time.Minute || most > time.Hour || most < 59*time.Minute {
		t.Errorf("of an hour become %v to %v", least, most)
	}
}

// TestHitsDoNotAllocate: neither does what is told of keys that are not kept.
func TestHitsDoNotAllocate(t *testing.T) {
	f := newFixture(t, Options{})
	k := f.key("a", "1")
	f.mustFill(k, item(1))
	for name, h := range map[string]*Handle{"a hit": nil, "a hit with a handle": new(Handle)} {
		if n := testing.AllocsPerRun(1000, func() { f.Tier.Get(k.String(), h, f.c) }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	names := []string{f.key("b", "1").String(), f.space.Generation(f.org("b")), f.space.Meta(k), "jack:prod:lead:a:1", "x"}
	if n := testing.AllocsPerRun(1000, func() { f.Changed(names) }); n != 0 {
		t.Errorf("what is told allocates %v times", n)
	}
	f.want(k, 1, true)
}

func TestVersionsAreOrdered(t *testing.T) {
	old := Item{Generation: 2, Version: clock.NewVersion(5, 0, 0)}
	for it, want := range map[*Item]bool{
		{Generation: 2, Version: clock.NewVersion(5, 0, 0)}: false,
		{Generation: 2, Version: clock.NewVersion(5, 1, 0)}: true,
		{Generation: 3, Version: clock.NewVersion(1, 0, 0)}: true,
		{Generation: 1, Version: clock.NewVersion(9, 0, 0)}: false,
	} {
		if it.newer(&old) != want {
			t.Errorf("%+v is newer: %v", it, !want)
		}
	}
}
