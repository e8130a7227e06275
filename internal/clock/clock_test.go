package clock

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// wall is a host's clock that tests move. Safe for concurrent use.
type wall struct {
	mu sync.Mutex
	t  time.Time // guarded by mu
}

func newWall() *wall { return &wall{t: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.t
}

func (w *wall) move(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = w.t.Add(d)
}

func TestReadingsNeverRepeat(t *testing.T) {
	w := newWall()
	c := New(w.now, 7, nil)
	const writers, each = 16, 1000
	readings := make([][]Version, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range each {
				readings[i] = append(readings[i], c.Now())
				if n%100 == 0 { // the host's clock jumps, mostly back
					w.move(time.Duration(n%300-150) * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	var all []Version
	for i, r := range readings {
		if !slices.IsSortedFunc(r, Version.Compare) {
			t.Errorf("the readings of goroutine %d go back", i)
		}
		all = append(all, r...)
	}
	slices.SortFunc(all, Version.Compare)
	if distinct := len(slices.Compact(all)); distinct != writers*each {
		t.Errorf("%d distinct readings, want %d", distinct, writers*each)
	}
}

func TestReadingsFollowTheWall(t *testing.T) {
	w := newWall()
	c := New(w.now, 7, nil)
	if got, want := c.Now(), NewVersion(w.now().UnixMilli(), 0, 7); got != want {
		t.Errorf("first reading %s, want %s", got, want)
	}
	if got, want := c.Now(), NewVersion(w.now().UnixMilli(), 1, 7); got != want {
		t.Errorf("second reading %s, want %s", got, want)
	}
	w.move(time.Millisecond)
	if got, want := c.Now(), NewVersion(w.now().UnixMilli(), 0, 7); got != want {
		t.Errorf("a millisecond later %s, want %s", got, want)
	}
	// More readings than the counter holds go on in the next millisecond.
	last := c.Now()
	for range 1<<16 + 10 {
		v := c.Now()
		if v.Compare(last) <= 0 {
			t.Fatalf("%s after %s", v, last)
		}
		last = v
	}
	if ahead := last.Millis() - w.now().UnixMilli(); ahead != 1 {
		t.Errorf("%d ms ahead after 2^16 readings, want 1", ahead)
	}
}

func TestObserve(t *testing.T) {
	w := newWall()
	ms := w.now().UnixMilli()
	for _, c := range []struct {
		name     string
		observed Version
		adopted  bool
	}{
		{"older", NewVersion(ms-1, 9, 9), false},
		{"same instant, other node", NewVersion(ms, 0, 9), true},
		{"same instant, higher counter", NewVersion(ms, 500, 9), true},
		{"end of the counter", NewVersion(ms, 0xffff, 0xffff), true},
		{"later", NewVersion(ms+40, 3, 1), true},
		{"as late as a store accepts", NewVersion(ms+MaxAhead.Milliseconds(), 0, 9), true},
		{"later than any store accepts", NewVersion(ms+MaxAhead.Milliseconds()+1, 0, 9), false},
		{"poison", NewVersion(1<<48-1, 0xffff, 0xffff), false},
		{"none", Version{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := New(w.now, 1, nil)
			first := clock.Now()
			clock.Observe(c.observed)
			next := clock.Now()
			if next.Compare(first) <= 0 {
				t.Errorf("%s after %s", next, first)
			}
			if c.adopted && next.Compare(c.observed) <= 0 {
				t.Errorf("%s after %s was observed", next, c.observed)
			}
			if !c.adopted && next != NewVersion(ms, 1, 1) {
				t.Errorf("%s, want the observation ignored", next)
			}
		})
	}
}

// TestObserveAfterFollow: what is too far ahead is measured by the store's time.
func TestObserveAfterFollow(t *testing.T) {
	w := newWall()
	c := New(w.now, 1, nil)
	store := w.now().Add(time.Hour)
	c.Follow(store)
	within := NewVersion(store.Add(MaxAhead/2).UnixMilli(), 0, 2)
	c.Observe(within)
	if v := c.Now(); v.Compare(within) <= 0 {
		t.Errorf("%s after %s was observed", v, within)
	}
	c.Follow(w.now())
	c.Observe(within)
	if v := c.Now(); v.Compare(within) >= 0 {
		t.Errorf("%s, want %s ignored: it is an hour ahead", v, within)
	}
}

func TestFollow(t *testing.T) {
	w := newWall()
	c := New(w.now, 1, nil)
	for _, offset := range []time.Duration{time.Hour, -time.Hour, 35 * time.Millisecond, 0} {
		c.Follow(w.now().Add(offset))
		if c.Offset() != offset || !c.Time().Equal(w.now().Add(offset)) {
			t.Errorf("offset %v and time %v, want %v and %v", c.Offset(), c.Time(), offset, w.now().Add(offset))
		}
	}
}

func TestFollowBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		ahead time.Duration // of the host's clock
		back  bool          // do readings come back to the store's time
	}{
		{"a little", 50 * time.Millisecond, false},
		{"as far as a store accepts", MaxAhead, false},
		{"further than a store accepts", MaxAhead + 2*time.Millisecond, true},
		{"a day", 24 * time.Hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWall()
			store := w.now().Add(-c.ahead)
			clock := New(w.now, 1, nil)
			before := clock.Now()
			clock.Follow(store)
			after := clock.Now()
			if c.back {
				if ahead := after.WrittenAt().Sub(store); ahead < 0 || ahead > time.Millisecond {
					t.Errorf("%v ahead of the store, want none", ahead)
				}
			} else if after.Compare(before) <= 0 {
				t.Errorf("went back from %s to %s", before, after)
			}
			if ahead := after.WrittenAt().Sub(store); ahead > MaxAhead {
				t.Errorf("%v ahead of the store, which refuses it", ahead)
			}
			clock.Observe(NewVersion(store.Add(time.Second).UnixMilli(), 0, 2))
			if v := clock.Now(); v.Compare(after) <= 0 {
				t.Errorf("%s after %s", v, after)
			}
		})
	}
}

func TestSetNode(t *testing.T) {
	c := New(newWall().now, 0xffff, nil)
	before := c.Now()
	c.SetNode(3)
	after := c.Now()
	if c.Node() != 3 || after.Node() != 3 || after.Compare(before) <= 0 {
		t.Errorf("node %d: %s after %s", c.Node(), after, before)
	}
}
