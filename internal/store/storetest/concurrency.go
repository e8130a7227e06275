package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/store"
)

const writers = 32

func testConcurrency(t *testing.T, s *suite) {
	t.Run("appends are all there once", s.concurrentAppends)
	t.Run("one delivery counts", s.concurrentRepetitions)
	t.Run("one creation wins", s.concurrentCreations)
	t.Run("readers never go back", s.concurrentSets)
	t.Run("invalidations are distinct", s.concurrentInvalidations)
	t.Run("appends beside clears", s.concurrentClears)
}

// together runs f once per writer, each with a clock of its own.
func (s *suite) together(f func(n int, c *clock.Clock)) {
	var wg sync.WaitGroup
	for n := range writers {
		offset := time.Duration(n-writers/2) * 3 * time.Millisecond
		c := clock.New(func() time.Time { return s.clock.Time().Add(offset) }, uint16(n+1), nil)
		wg.Go(func() { f(n, c) })
	}
	wg.Wait()
}

// live applies op as a waiting caller does: it adopts what it is told and
// sends again. It returns the operation that was acknowledged.
func (s *suite) live(t tb, c *clock.Clock, op store.Op) (store.Op, store.Result) {
	for range 1000 {
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		res, err := s.Apply(ctx, op)
		cancel()
		if err != nil {
			t.Errorf("apply %s: %v", describe(op), err)
			return op, res
		}
		c.Observe(res.Version)
		superseded, later := res.Status == store.Superseded, res.Generation > op.Generation
		switch {
		case res.Status == store.Stale && !later || superseded && res.Version.Compare(op.Version) < 0:
			t.Errorf("%s: %s, by version %s and generation %d", describe(op), name(res.Status), res.Version, res.Generation)
			return op, res
		case !superseded && !later:
			return op, res
		case superseded:
			op.Version = c.Now()
		}
		op.Generation = max(op.Generation, res.Generation)
	}
	t.Errorf("%s: not acknowledged after 1000 tries", describe(op))
	return op, store.Result{}
}

func (s *suite) concurrentAppends(t *testing.T) {
	const each = 100
	k := s.newConversation(t)
	s.together(func(n int, c *clock.Clock) {
		for i := range each {
			_, res := s.live(t, c, appendOp(k, c.Now(), msg(fmt.Sprintf("%d-%d", n, i), "hi")))
			if res.Status != store.Applied || res.Placed[0].Duplicate || res.Placed[0].Dropped {
				t.Errorf("append %d of %d: %s", i, n, name(res.Status))
			}
		}
	})
	l := s.log(t, k, 0)
	if len(l.Messages) != writers*each {
		t.Fatalf("%d messages, want %d", len(l.Messages), writers*each)
	}
	next := make([]int, writers)
	for _, m := range l.Messages {
		var n, i int
		if _, err := fmt.Sscanf(m.ID, "%d-%d", &n, &i); err != nil {
			t.Fatal(err)
		}
		if i != next[n] {
			t.Fatalf("writer %d: message %d stands where %d should", n, i, next[n])
		}
		next[n]++
	}
}

func (s *suite) concurrentRepetitions(t *testing.T) {
	const ids = 100
	k := s.newConversation(t)
	var mu sync.Mutex
	first := map[string]int{} // guarded by mu: how often an id was new
	s.together(func(n int, c *clock.Clock) {
		for i := range ids {
			id := fmt.Sprint("m", (i+n*3)%ids)
			_, res := s.live(t, c, appendOp(k, c.Now(), msg(id, "hi")))
			if len(res.Placed) == 1 && !res.Placed[0].Duplicate {
				mu.Lock()
				first[id]++
				mu.Unlock()
			}
		}
	})
	if n := len(s.log(t, k, 0).Messages); n != ids {
		t.Errorf("%d messages, want %d", n, ids)
	}
	for id, n := range first {
		if n != 1 {
			t.Errorf("%s was new %d times", id, n)
		}
	}
}

func (s *suite) concurrentCreations(t *testing.T) {
	for range 10 {
		k := s.newValue(t)
		var mu sync.Mutex
		var won []string // guarded by mu
		s.together(func(n int, c *clock.Clock) {
			op := set(k, c.Now(), fmt.Sprint("writer ", n))
			op.If = store.Condition{Kind: store.IfAbsent}
			if res := s.apply(t, op); res.Status == store.Applied {
				mu.Lock()
				won = append(won, string(op.Payload))
				mu.Unlock()
			}
		})
		if len(won) != 1 {
			t.Fatalf("%q created %s", won, k)
		}
		s.wantValue(t, k, won[0])
	}
}

func (s *suite) concurrentSets(t *testing.T) {
	k := s.newValue(t)
	var mu sync.Mutex
	var highest clock.Version // guarded by mu: of what was acknowledged
	s.together(func(n int, c *clock.Clock) {
		var read clock.Version
		for range 20 {
			op, res := s.live(t, c, set(k, c.Now(), fmt.Sprint("writer ", n)))
			if res.Status != store.Applied {
				t.Errorf("%s: %s", describe(op), name(res.Status))
			}
			r := s.get(t, k)
			if r.Value.Version.Compare(op.Version) < 0 || r.Value.Version.Compare(read) < 0 {
				t.Errorf("read %s after %s was acknowledged and %s read", r.Value.Version, op.Version, read)
			}
			read = r.Value.Version
			mu.Lock()
			if highest.Compare(op.Version) < 0 {
				highest = op.Version
			}
			mu.Unlock()
		}
	})
	if r := s.get(t, k); r.Value.Version != highest {
		t.Errorf("%s stands, want the highest acknowledged, %s", r.Value.Version, highest)
	}
}

func (s *suite) concurrentInvalidations(t *testing.T) {
	o := s.newOrg(t)
	var mu sync.Mutex
	given := map[uint64]bool{} // guarded by mu
	var highest uint64         // guarded by mu
	s.together(func(n int, _ *clock.Clock) {
		for range 5 {
			g, err := s.Invalidate(context.Background(), o, uint64(n))
			mu.Lock()
			if err != nil || given[g] || g <= uint64(n) {
				t.Errorf("invalidate(known %d): %d, %v", n, g, err)
			}
			given[g] = true
			highest = max(highest, g)
			mu.Unlock()
		}
	})
	if g := s.generation(t, o); g != highest {
		t.Errorf("generation %d, want the highest given, %d", g, highest)
	}
}

// concurrentClears: what was acknowledged above the last clear is there, and
// nothing below it.
func (s *suite) concurrentClears(t *testing.T) {
	k := s.newConversation(t)
	var mu sync.Mutex
	var floor clock.Version                // guarded by mu: highest acknowledged clear
	appended := map[string]clock.Version{} // guarded by mu
	s.together(func(n int, c *clock.Clock) {
		for i := range 20 {
			op := appendOp(k, c.Now(), msg(fmt.Sprintf("%d-%d", n, i), "hi"))
			if (n+i)%20 == 0 {
				op = replaceOp(k, c.Now())
			}
			op, res := s.live(t, c, op)
			if res.Status != store.Applied {
				t.Errorf("%s: %s", describe(op), name(res.Status))
			}
			mu.Lock()
			if op.Action == store.Append {
				appended[op.Messages[0].ID] = op.Version
			} else if floor.Compare(op.Version) < 0 {
				floor = op.Version
			}
			mu.Unlock()
		}
	})
	there := map[string]bool{}
	for _, m := range s.log(t, k, 0).Messages {
		there[m.ID] = true
	}
	for id, v := range appended {
		if want := v.Compare(floor) >= 0; there[id] != want {
			t.Errorf("%s at %s with the floor at %s: there is %v", id, v, floor, there[id])
		}
	}
}
