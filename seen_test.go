package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// seen invalidates an organisation by one instance after the other, and judges at
// once what the others give.
type seen struct {
	t  *testing.T
	as []*assistant.Assistant

	done atomic.Int64 // the last value that was invalidated
	gone atomic.Int64 // reads that found nothing after an invalidation
	near atomic.Int64 // reads that a copy answered
}

// read reads as an instance. What was invalidated before the read began must not come.
func (s *seen) read(a *assistant.Assistant) {
	ended := s.done.Load()
	e, err := a.Kinds.AgentConfig.Entry(s.t.Context(), a.Cache.Org("org-1"), "x")
	switch {
	case errors.Is(err, jackcache.ErrNotFound):
		s.gone.Add(1)
		return
	case err != nil:
		return // redis is away
	}
	if e.Source == jackcache.SourceNear {
		s.near.Add(1)
	}
	var n int64
	if _, err := fmt.Sscan(string(e.Value), &n); err != nil {
		s.t.Error(err)
	}
	if n <= ended && e.Source != jackcache.SourceStale {
		s.t.Errorf("%d from %v after the invalidation of %d had returned", n, e.Source, ended)
	}
}

// run writes a value, has it copied where that is possible, and invalidates it, for some
// time and as long as the flag says, while all instances read all the time. It returns how long Invalidate took.
func (s *seen) run(least time.Duration, trouble func(ctx context.Context, r *rand.Rand)) (took []time.Duration) {
	s.t.Helper()
	seed := rand.Uint64()
	s.t.Log("seed", seed)
	ctx, cancel := context.WithTimeout(s.t.Context(), max(*coherenceFor, least))
	defer cancel()
	var running sync.WaitGroup
	for i, a := range s.as {
		for j := range 2 {
			r := rand.New(rand.NewPCG(seed, uint64(2+2*i+j)))
			running.Go(func() {
				for !s.t.Failed() && doze(ctx, r, 300*time.Microsecond) {
					s.read(a)
				}
			})
		}
	}
	if trouble != nil {
		running.Go(func() { trouble(ctx, rand.New(rand.NewPCG(seed, 1))) })
	}
	for n := int64(1); ctx.Err() == nil && !s.t.Failed(); n++ {
		a := s.as[int(n)%len(s.as)]
		org := a.Cache.Org("org-1")
		if _, err := a.Kinds.AgentConfig.Set(ctx, org, "x", raw(fmt.Sprint(n))); err != nil {
			continue
		}
		copied := time.Now()
		for near := s.near.Load(); s.near.Load() < near+20 && time.Since(copied) < 50*time.Millisecond; {
			s.read(a)
		}
		begun := time.Now()
		wctx, receipt := jackcache.WithReceipt(s.t.Context())
		if err := org.Invalidate(wctx); err != nil || receipt.Pending() {
			continue
		}
		s.done.Store(n)
		took = append(took, time.Since(begun))
		for _, other := range s.as {
			s.read(other)
		}
	}
	running.Wait()
	slices.Sort(took)
	if len(took) < 3 || s.near.Load() < 100 || s.gone.Load() == 0 {
		s.t.Fatalf("nothing was tested: %d invalidations, %d reads of copies, %d of nothing", len(took), s.near.Load(), s.gone.Load())
	}
	s.t.Logf("%d invalidations, p50 %v, p99 %v, at most %v; %d reads of copies",
		len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], s.near.Load())
	return took
}

// When Invalidate has returned no instance gives what was there before, whatever
// becomes of the connections on which it is told of changes.
func TestInvalidateIsSeen(t *testing.T) {
	t.Parallel() // most of it is waiting
	troubles := map[string]func(fs []*tapFaults) func(ctx context.Context, r *rand.Rand){
		"well": func([]*tapFaults) func(context.Context, *rand.Rand) { return nil },
		"taps die": func(fs []*tapFaults) func(context.Context, *rand.Rand) {
			return func(ctx context.Context, r *rand.Rand) {
				for doze(ctx, r, 100*time.Millisecond) {
					fs[r.IntN(len(fs))].cut()
				}
			}
		},
		"taps hang": func(fs []*tapFaults) func(ctx context.Context, r *rand.Rand) { // until who hears nothing is suspended
			return func(ctx context.Context, r *rand.Rand) {
				for doze(ctx, r, 300*time.Millisecond) {
					f := fs[r.IntN(len(fs))]
					f.hold()
					doze(ctx, r, 3*freshness)
					f.resume()
				}
			}
		},
		"taps stall": func(fs []*tapFaults) func(context.Context, *rand.Rand) {
			return func(ctx context.Context, r *rand.Rand) {
				for doze(ctx, r, 500*time.Millisecond) {
					f := fs[r.IntN(len(fs))]
					f.hold()
					doze(ctx, r, 800*time.Millisecond)
					f.resume()
				}
			}
		},
	}
	cl := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	for place, redis := range map[string]jackcache.RedisOptions{
		"standalone": standalone(redistest.Start(t)),
		"cluster":    {Mode: jackcache.Cluster, Addrs: cl.Addrs()},
	} {
		for name, trouble := range troubles {
			t.Run(place+"/"+name, func(t *testing.T) {
				as, fs := faulty(t, redis, 3)
				s := &seen{t: t, as: as}
				least := 4 * time.Second
				if name == "well" || name == "taps die" {
					least /= 2 // nobody waits long
				}
				took := s.run(least, trouble(fs))
				if limit := 2 * freshness; took[len(took)-1] > limit {
					t.Errorf("one took %v; the bound is %v", took[len(took)-1], freshness)
				}
			})
		}
	}
}

// doze pauses for at most so much, and reports whether ctx goes on.
func doze(ctx context.Context, r *rand.Rand, most time.Duration) bool {
	timer := time.NewTimer(time.Duration(r.Int64N(int64(most))) + 1)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
