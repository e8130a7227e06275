package near

import (
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

// retained is an item of 100 bytes that may be given as stale for an hour.
func retained(version int64) Item {
	it := item(version)
	it.Retain = time.Hour
	return it
}

// stale checks what Stale gives: version 0 is none.
func (f *fixture) stale(k keys.Key, version int64, told bool) {
	f.t.Helper()
	s, ok := f.Stale(k, f.c)
	switch {
	case version == 0 && ok:
		f.t.Errorf("%s has %v as stale, want none", k, s.Item.Value)
	case version == 0:
	case !ok:
		f.t.Errorf("%s has none as stale, want %d", k, version)
	case s.Item.Value != version || s.ToldAt != 0 != told:
		f.t.Errorf("%s has %v as stale, told at %d; want %d, told %v", k, s.Item.Value, s.ToldAt, version, told)
	}
}

// What is retained is never given as fresh once something was told of it, and not
// at all once it was told of twice, was dropped, or its organisation has ended.
func TestRetain(t *testing.T) {
	f := newFixture(t, Options{})
	k := f.key("a", "1")
	name := []string{k.String()}
	f.stale(k, 0, false)
	f.mustFill(k, retained(1))
	f.want(k, 1, true)
	f.stale(k, 1, false)

	old := f.Lease(k, f.c)
	f.Changed(name)
	f.want(k, 0, false)
	f.stale(k, 1, true)
	if f.Fill(k, old, retained(2)) {
		t.Error("what was read before it was told is kept")
	}
	f.stale(k, 1, true)
	f.Changed(name)
	f.stale(k, 0, false)

	f.mustFill(k, retained(3))
	f.Changed(name)
	f.mustFill(k, retained(4))
	f.want(k, 4, true)
	f.stale(k, 4, false)
	f.Drop(k)
	f.stale(k, 0, false)

	for what, end := range map[string]func(){
		"dropped":                 func() { f.Drop(k) },
		"of an organisation":      func() { f.DropOrg(f.org("a")) },
		"of a generation changed": func() { f.Changed([]string{f.space.Generation(f.org("a"))}) },
	} {
		for _, told := range []bool{false, true} {
			f.mustFill(k, retained(5))
			if told {
				f.Changed(name)
			}
			end()
			if s, ok := f.Stale(k, f.c); ok {
				t.Errorf("%s, told %v: %+v", what, told, s)
			}
		}
	}

	f.mustFill(k, item(6))
	f.stale(k, 6, false)
	f.Changed(name)
	f.stale(k, 0, false)
	f.mustFill(k, Item{Absent: true, TTL: time.Hour, Retain: time.Hour})
	f.stale(k, 0, false)
}

// A copy outlives its TTL for as long as it is retained, from when it was last known
// to be current.
func TestRetainEnds(t *testing.T) {
	f := newFixture(t, Options{})
	k := f.key("a", "1")
	it := retained(1)
	it.TTL = time.Millisecond
	f.mustFill(k, it)
	poll(t, func() bool { got, _ := f.Get(k, f.c); return got == nil })
	f.stale(k, 1, false)

	it = retained(2)
	it.Retain = 4 * time.Duration(knowEvery)
	f.retainsSinceCurrent(k, it, func() { f.Changed([]string{k.String()}) }, true)
	f.retainsSinceCurrent(k, it, func() { f.c.Key.Break() }, false)
	f.want(k, 2, false) // its TTL is not over
}

// retainsSinceCurrent checks that a copy which is read all the time is there beyond what
// it is retained for, when something ends that, and not for ever. A busy machine may
// let that pass before it looks; not each time.
func (f *fixture) retainsSinceCurrent(k keys.Key, it Item, end func(), told bool) {
	f.t.Helper()
	for range 10 {
		f.mustFill(k, it)
		last := time.Now()
		for began := last; time.Since(began) < 2*it.Retain; {
			last = time.Now()
			f.want(k, 2, true)
		}
		end()
		s, ok := f.Stale(k, f.c)
		late := time.Since(last) >= it.Retain-time.Duration(knowEvery) // so exactly it is known
		if ok && (s.Item.Value != int64(2) || s.ToldAt != 0 != told) {
			f.t.Errorf("%v is given as stale, told at %d; want 2, told %v", s.Item.Value, s.ToldAt, told)
		}
		poll(f.t, func() bool { _, ok := f.Stale(k, f.c); return !ok })
		if ok {
			return
		}
		if !late {
			f.t.Errorf("it is gone %v after it was last known to be current", time.Since(last))
			return
		}
		prove(f.c.Key)
	}
	f.t.Error("it was gone each time")
}
