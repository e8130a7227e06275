package near

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

var (
	stressSeed = flag.Uint64("near.seed", 0, "seed of the stress test; 0: a random one")
	stressTime = flag.Duration("near.for", 1500*time.Millisecond, "how long the stress test runs")
)

// TestNoStaleAsFresh races readers, fills, writers and invalidations, with
// connections that are late, end, or stand still. A fresh item is never older than
// what was told, or written here, before Get; nor than what was there a bound ago.
func TestNoStaleAsFresh(t *testing.T) {
	seed := *stressSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	const bound = 30 * time.Millisecond
	f := newFixture(t, Options{Bound: bound})
	m := newModel(f)
	s := &stress{f: f, m: m, bound: bound, stop: make(chan struct{})}
	for i := range uint64(6) {
		s.go_(seed, 1+i, s.reads)
	}
	for i := range uint64(2) {
		s.go_(seed, 11+i, s.writes)
	}
	for i, l := range []*link{m.values, m.ends} {
		s.go_(seed, 21+uint64(i), func(r *rand.Rand) { l.deliver(f.Tier, r, bound, s.stop) })
		s.go_(seed, 31+uint64(i), func(r *rand.Rand) { s.breaks(l, r, time.Duration(50+40*i)*time.Millisecond) })
		s.go_(seed, 41+uint64(i), func(*rand.Rand) { s.signals(l) })
	}
	enough := func() bool {
		st := f.Stats()
		return st.HitsFresh >= 100 && st.HitsStale >= 100 && st.Fills >= 100 && st.Rejected.Told > 0 && st.Rejected.OrgTold > 0 && st.Rejected.Broken > 0
	}
	<-time.After(*stressTime)
	poll(t, enough) // which takes longer on a busy machine
	close(s.stop)
	s.wg.Wait()

	st := f.Stats()
	t.Logf("%d changes; %d fresh, %d stale, %d none; %d kept, rejected %+v", m.changes.Load(), st.HitsFresh, st.HitsStale, st.Misses, st.Fills, st.Rejected)
	if n := s.wrong; n != [len(s.wrong)]int{} {
		t.Errorf("stale as fresh: told of the key %d, of the generation %d, beyond the bound %d, %d", n[0], n[1], n[2], n[3])
	}
}

func newModel(f *fixture) *model {
	m := &model{values: newLink(), ends: newLink(), perOrg: 50}
	m.covers = store.Covers{Key: m.values.cover, Generation: m.ends.cover}
	for i := range 16 {
		org := "org-" + id(i)
		m.orgs = append(m.orgs, &cell{name: f.space.Generation(f.org(org))})
		for i := range m.perOrg {
			k := f.key(org, id(i))
			m.keys = append(m.keys, &cell{key: k, name: k.String()})
		}
	}
	return m
}

// stress is one run.
type stress struct {
	f     *fixture
	m     *model
	bound time.Duration
	stop  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex // guards wrong
	wrong [4]int
}

func (s *stress) go_(seed, n uint64, run func(*rand.Rand)) {
	s.wg.Go(func() { run(rand.New(rand.NewPCG(seed, n))) })
}

func (s *stress) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// pick takes one of a few keys as often as any of the others: those show what is a
// matter of moments, these what lies long unread.
func (s *stress) pick(r *rand.Rand) int {
	i := r.IntN(len(s.m.keys))
	if r.IntN(2) == 0 {
		i -= i % s.m.perOrg
	}
	return i
}

// reads does what an engine does: Get, and when it is not fresh a read that may be
// slow, under a lease.
func (s *stress) reads(r *rand.Rand) {
	for !s.stopped() {
		i := s.pick(r)
		k := s.m.keys[i].key
		least := s.m.floor(i, s.bound)
		it, fresh := s.f.Get(k, s.m.covers)
		if it != nil && fresh {
			s.check(it.Value.([2]int64), least)
			continue
		}
		l := s.f.Lease(k, s.m.covers)
		read := s.m.read(i)
		if r.IntN(8) == 0 {
			wait(time.Duration(r.Int64N(int64(3*time.Millisecond))), s.stop)
		}
		s.f.Fill(k, l, read)
	}
}

func (s *stress) check(got [2]int64, least floor) {
	for i, bad := range []bool{got[0] < least.told, got[1] < least.toldGen, got[0] < least.old, got[1] < least.oldGen} {
		if bad {
			s.mu.Lock()
			s.wrong[i]++
			s.mu.Unlock()
		}
	}
}

// writes changes values and generations, some of them as this instance's own.
func (s *stress) writes(r *rand.Rand) {
	for !s.stopped() {
		wait(time.Duration(r.Int64N(int64(400*time.Microsecond))), s.stop)
		own := r.IntN(4) == 0
		if r.IntN(8) == 0 {
			i := r.IntN(len(s.m.orgs))
			n := s.raise(s.m.orgs[i], s.m.ends)
			if own {
				s.f.DropOrg(s.m.keys[i*s.m.perOrg].key.Org())
				raiseTo(&s.m.orgs[i].told, n)
			}
			continue
		}
		c := s.m.keys[s.pick(r)]
		n := s.raise(c, s.m.values)
		if own {
			s.f.Drop(c.key)
			raiseTo(&c.told, n)
		}
	}
}

func (s *stress) raise(c *cell, l *link) int64 {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.raise(c, l)
}

// breaks ends the connection now and then, and leaves it away for a moment in which
// changes are not told.
func (s *stress) breaks(l *link, r *rand.Rand, mean time.Duration) {
	for !s.stopped() {
		wait(time.Duration(r.Int64N(int64(2*mean))), s.stop)
		l.cut()
		wait(time.Duration(r.Int64N(int64(20*time.Millisecond))), s.stop)
		l.connect()
	}
}

func (s *stress) signals(l *link) {
	for !s.stopped() {
		l.signal()
		wait(s.bound/10, s.stop)
	}
}

// TestHotKey races fills of one key with what is told of it, each as fast as it can:
// the clock is raised before the copy goes, and compared under the lock of the
// bucket.
func TestHotKey(t *testing.T) {
	f := newFixture(t, Options{})
	k := f.key("a", "1")
	names := []string{k.String()}
	var stored, heard, wrong atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := heard.Load()
				if it, fresh := f.Get(k, f.c); fresh {
					if it.Value.(int64) < least {
						wrong.Add(1)
					}
					runtime.Gosched()
					continue
				}
				l := f.Lease(k, f.c)
				f.Fill(k, l, item(stored.Load()))
			}
		})
	}
	deadline := store.Now() + int64(*stressTime)/2
	longest := deadline + int64(20*time.Second) // a busy machine may not come to it
	little := func() bool { st := f.Stats(); return st.Fills == 0 || st.HitsFresh == 0 }
	for n := int64(1); store.Now() < deadline || little() && store.Now() < longest; n++ {
		stored.Store(n)
		f.Changed(names)
		heard.Store(n)
		// Every other time a fill gets the moment that it needs.
		for had, tries := f.counts.outcomes[kept].Load(), 0; n%2 == 0 && tries < 100 && f.counts.outcomes[kept].Load() == had; tries++ {
			runtime.Gosched()
		}
	}
	close(stop)
	wg.Wait()
	st := f.Stats()
	t.Logf("%d changes, %d fresh, %d kept, rejected %+v", st.Drops, st.HitsFresh, st.Fills, st.Rejected)
	if wrong.Load() != 0 {
		t.Errorf("%d stale as fresh", wrong.Load())
	}
	if st.Fills == 0 || st.HitsFresh == 0 {
		t.Errorf("too little happened: %+v", st)
	}
}
