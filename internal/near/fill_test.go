package near

import (
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// TestLease: what happens between a lease and its fill decides whether it is kept,
// and under which reason it is counted.
func TestLease(t *testing.T) {
	for name, tc := range map[string]struct {
		between func(f *fixture)
		why     func(r Rejected) uint64 // nil: it is kept
	}{
		"nothing":                {func(*fixture) {}, nil},
		"told of the key":        {func(f *fixture) { f.Changed([]string{"jack:dev:lead:a:1"}) }, func(r Rejected) uint64 { return r.Told }},
		"own write":              {func(f *fixture) { f.Drop(f.key("a", "1")) }, func(r Rejected) uint64 { return r.Told }},
		"told of the generation": {func(f *fixture) { f.Changed([]string{"jack:dev:__gen:a"}) }, func(r Rejected) uint64 { return r.OrgTold }},
		"own invalidation":       {func(f *fixture) { f.DropOrg(f.org("a")) }, func(r Rejected) uint64 { return r.OrgTold }},
		"key's connection":       {func(f *fixture) { f.c.Key.Break() }, func(r Rejected) uint64 { return r.Broken }},
		"generation connection":  {func(f *fixture) { f.c.Generation.Break(); prove(f.c.Generation) }, func(r Rejected) uint64 { return r.Broken }},
		"another key":            {func(f *fixture) { f.Changed([]string{"jack:dev:lead:a:2"}) }, nil},
		"another organisation":   {func(f *fixture) { f.Changed([]string{"jack:dev:__gen:b"}) }, nil},
		"another space":          {func(f *fixture) { f.Changed([]string{"jack:prod:lead:a:1", "jack:prod:__gen:a"}) }, nil},
		"housekeeping":           {func(f *fixture) { f.Changed([]string{f.space.Meta(f.key("a", "1")), "jack:dev:__beat:a", ""}) }, nil},
	} {
		f := newFixture(t, Options{})
		k := f.key("a", "1")
		if name[:7] == "another" {
			// Two names may share a clock: then this proves nothing.
			for f.told.of(f.seed, k.String()) == f.told.of(f.seed, "jack:dev:lead:a:2") || f.ended.of(f.seed, "jack:dev:__gen:a") == f.ended.of(f.seed, "jack:dev:__gen:b") {
				f = newFixture(t, Options{})
			}
		}
		l := f.Lease(k, f.c)
		tc.between(f)
		if got := f.Fill(k, l, item(1)); got != (tc.why == nil) {
			t.Errorf("%s: kept %v", name, got)
		}
		s := f.Stats()
		if tc.why != nil && (tc.why(s.Rejected) != 1 || s.Bytes != 0 || s.Orgs != 0) {
			t.Errorf("%s: stats are %+v", name, s)
		}
	}
}

// TestLeasesThatKeepNothing: without covers, for other keys, for keys of which no
// changes are heard.
func TestLeasesThatKeepNothing(t *testing.T) {
	f := newFixture(t, Options{})
	k, other := f.key("a", "1"), f.key("a", "2")
	for name, l := range map[string]Lease{
		"zero":               {},
		"no covers":          f.Lease(k, store.Covers{}),
		"no key cover":       f.Lease(k, store.Covers{Generation: f.c.Generation}),
		"no generation":      f.Lease(k, store.Covers{Key: f.c.Key}),
		"lease of other key": f.Lease(other, f.c),
	} {
		if f.Fill(k, l, item(1)) {
			t.Errorf("%s: it is kept", name)
		}
	}
	if forgotten := f.space.Forgotten(k); f.fill(forgotten, item(1)) {
		t.Error("housekeeping is kept")
	}
	if r := f.Stats().Rejected; r.Uncovered != 6 {
		t.Errorf("rejected are %+v", r)
	}
}

// TestUnproven: what was read before covers had proven anything may have been read
// before changes were told. It is there for who takes stale values, and is
// never fresh, whatever is proven later; the next fill replaces it.
func TestUnproven(t *testing.T) {
	f := newFixture(t, Options{})
	k := f.key("a", "1")
	f.c.Key.Break()
	l := f.Lease(k, f.c)
	if !f.Fill(k, l, item(7)) {
		t.Fatal("it is not kept")
	}
	prove(f.c.Key)
	f.want(k, 7, false)
	f.mustFill(k, item(3))
	f.want(k, 3, true)
}

// TestNewerStays: of the same epochs the later (generation, version) is kept.
func TestNewerStays(t *testing.T) {
	f := newFixture(t, Options{})
	k := f.key("a", "1")
	early := f.Lease(k, f.c)
	f.mustFill(k, item(5))
	if f.Fill(k, early, item(4)) || f.Fill(k, early, Item{Absent: true, TTL: time.Hour}) || f.Stats().Rejected.Outdated != 2 {
		t.Errorf("rejected are %+v", f.Stats().Rejected)
	}
	f.want(k, 5, true)
	if !f.Fill(k, early, item(5)) || !f.Fill(k, early, item(6)) {
		t.Error("what is as new, or newer, is not kept")
	}
	lower := item(1)
	lower.Generation = 1
	if !f.Fill(k, early, lower) {
		t.Error("a higher generation is not kept")
	}
	if f.Fill(k, early, item(9)) {
		t.Error("a lower generation is kept")
	}
	// What was kept before something may not have been told is no measure.
	f.c.Key.Break()
	prove(f.c.Key)
	f.mustFill(k, item(2))
	f.want(k, 2, true)
	// Nor what is of an ended generation.
	f.DropOrg(k.Org())
	f.want(k, 0, false)
	f.mustFill(k, item(1))
	f.want(k, 1, true)
}

// TestDropOrg: all of an organisation end at once, nothing of others does, and the
// room is regained.
func TestDropOrg(t *testing.T) {
	f := newFixture(t, Options{})
	const n = 500
	for i := range n {
		f.mustFill(f.key("a", id(i)), item(1))
	}
	b, dir := f.key("b", "1"), directory(t, f)
	f.mustFill(b, item(2))
	f.mustFill(dir, item(3))
	f.Changed([]string{f.space.Generation(f.org("a"))})
	for i := range n {
		f.want(f.key("a", id(i)), 0, false)
	}
	f.want(b, 2, true)
	f.want(dir, 3, true)
	poll(t, func() bool { return f.Stats().Swept == n })
	if s := f.Stats(); s.Entries != 2 || s.Orgs != 2 || s.OrgDrops != 1 {
		t.Errorf("stats are %+v", s)
	}
	f.mustFill(f.key("a", "0"), item(4))
	f.want(f.key("a", "0"), 4, true)
}

// TestLeaseOutlivesAccount: a lease holds nothing of the organisation, which may
// lose all it had, and its account, before the generation changes.
func TestLeaseOutlivesAccount(t *testing.T) {
	f := newFixture(t, Options{})
	k := f.key("a", "1")
	f.mustFill(k, item(1))
	l := f.Lease(k, f.c)
	other := f.key("a", "2")
	l2 := f.Lease(other, f.c)
	f.Drop(k)
	if n := f.Stats().Orgs; n != 0 {
		t.Fatalf("%d organisations have something", n)
	}
	f.DropOrg(k.Org())
	if f.Fill(k, l, item(1)) || f.Fill(other, l2, item(1)) || f.Stats().Rejected.OrgTold != 1 {
		t.Errorf("rejected are %+v", f.Stats().Rejected)
	}
}

// TestComparedUnderTheLock: what is told after Fill has begun counts, until the copy
// is in its place.
func TestComparedUnderTheLock(t *testing.T) {
	for name, happens := range map[string]func(f *fixture, k keys.Key){
		"told of the key":        func(f *fixture, k keys.Key) { f.Changed([]string{k.String()}) },
		"told of the generation": func(f *fixture, k keys.Key) { f.DropOrg(k.Org()) },
		"connection":             func(f *fixture, _ keys.Key) { f.c.Key.Break() },
		"generation connection":  func(f *fixture, _ keys.Key) { f.c.Generation.Break() },
	} {
		f := newFixture(t, Options{})
		k := f.key("a", "1")
		// The jitter is thrown after the first look at the lease.
		f.random = func() uint64 { happens(f, k); return 0 }
		if f.fill(k, item(1)) {
			t.Errorf("%s: it is kept", name)
		}
		if s := f.Stats(); s.Bytes != 0 || s.Orgs != 0 {
			t.Errorf("%s: stats are %+v", name, s)
		}
	}
}

// TestShares: what is being read is given to others as long as a copy of it would be.
func TestShares(t *testing.T) {
	const bound = 20 * time.Millisecond
	f := newFixture(t, Options{Bound: bound})
	k := f.key("a", "1")
	for _, late := range []*store.Cover{f.c.Key, f.c.Generation} {
		prove(f.c.Key)
		prove(f.c.Generation)
		read := f.Lease(k, f.c)
		if f.Shares(read, f.Lease(f.key("a", "2"), f.c)) {
			t.Fatal("with a reader of another key")
		}
		if f.Shares(read, f.Lease(k, store.Covers{Key: f.c.Key, Generation: new(store.Cover)})) {
			t.Fatal("with a reader whose calls go elsewhere")
		}
		if f.Shares(Lease{}, Lease{}) {
			t.Fatal("without leases")
		}
		// From now on one of them proves nothing more.
		last := store.Now()
		poll(t, func() bool {
			for _, c := range []*store.Cover{f.c.Key, f.c.Generation} {
				if c != late {
					prove(c)
				}
			}
			before := store.Now()
			shares := f.Shares(read, f.Lease(k, f.c))
			if shares && before-last >= int64(bound) {
				t.Fatalf("shared %v after the last proof", time.Duration(before-last))
			}
			return !shares && store.Now()-last >= int64(bound)
		})
	}
	read := f.Lease(k, f.c)
	f.c.Key.Break()
	prove(f.c.Key)
	prove(f.c.Generation)
	if f.Shares(read, f.Lease(k, f.c)) {
		t.Error("over a break")
	}
}
