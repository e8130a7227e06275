package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/openloop"
	"github.com/jackcache/jackcache/internal/redistest"
)

const (
	replayAppends = 200_000
	replayTalks   = 2_000
	// Calls on other keys while it is replayed, half reads and half writes.
	foregroundCallers = 10
	foregroundRate    = 50 // calls a second of each
	// anyRate is a bound of the replay that does not bound it.
	anyRate = 1_000_000
)

// replayed measures how fast Redis gets what waits for it, and what those feel
// who call meanwhile.
func replayed(dir string) error {
	away, back := (*redistest.Server).Freeze, func(s *redistest.Server) error { s.Thaw(); return nil }
	for _, c := range []struct {
		name string
		rate int
		away func(*redistest.Server)
		back func(*redistest.Server) error
	}{
		{fmt.Sprintf("Redis stopped and continued, at most %d operations/s", jackcache.DefaultReplayRate), jackcache.DefaultReplayRate, away, back},
		{"Redis stopped and continued, as fast as it goes", anyRate, away, back},
		{"Redis killed and started empty, as fast as it goes", anyRate, (*redistest.Server).Kill, func(s *redistest.Server) error { return s.Restart() }},
	} {
		r, err := newRig(filepath.Join(dir, "replay"), jackcache.Options{Journal: jackcache.JournalOptions{ReplayRate: c.rate}})
		if err != nil {
			return err
		}
		err = replayOnce(r, c.name, c.away, c.back)
		r.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func replayOnce(r *rig, name string, away func(*redistest.Server), back func(*redistest.Server) error) error {
	call, err := foreground(r)
	if err != nil {
		return err
	}
	away(r.redis)
	took, err := appendAway(r)
	if err != nil {
		return err
	}
	fmt.Printf("| replay, %s: %d appends to %d conversations of %d organisations, accepted at | %.0f/s |\n",
		name, replayAppends, replayTalks, journalOrgs, replayAppends/took.Seconds())
	waiting, server := r.pending(), r.redis.CPU()
	if err := back(r.redis); err != nil {
		return err
	}
	start, client := time.Now(), processCPU()
	var done atomic.Int64 // when nothing was pending, in ns after start
	var waited sync.WaitGroup
	var late error
	waited.Go(func() {
		late = r.drained(2 * time.Minute)
		done.Store(int64(time.Since(start)))
	})
	during := serve(call, func() bool { return done.Load() == 0 })
	waited.Wait()
	took = time.Duration(done.Load())
	n := float64(waiting - r.pending())
	fmt.Printf("| replayed, aim ≥ 20,000 operations/s; CPU each, of Redis, foreground included | %.0f/s; %.1f µs, %.1f µs |\n", n/took.Seconds(),
		float64((processCPU()-client).Microseconds())/n, float64((r.redis.CPU()-server).Microseconds())/n)
	if s := r.Cache.Stats().Journal; s.Suspected+s.Confirmed > 0 {
		fmt.Printf("| times that Redis was suspected to have lost something; had | %d; %d |\n", s.Suspected, s.Confirmed)
	}
	if late != nil {
		fmt.Printf("| not done | %v |\n", late)
	}
	fmt.Printf("| meanwhile %d calls at %d/s on other keys, %d failed; p50 / p99 / p99.9 / max from the intended start, aim p99 ≤ 5 ms | %s |\n",
		during.Calls, foregroundCallers*foregroundRate, during.Errors, quantiles(during.Latency))
	if during.FirstErr != nil {
		fmt.Printf("| the first error | %v |\n", during.FirstErr)
	}
	fmt.Printf("| the same schedule with nothing to do | %s |\n", quantiles(during.Control))
	if late != nil {
		return nil // it is still replayed: there is nothing to compare with
	}
	calm := time.Now().Add(3 * time.Second)
	after := serve(call, func() bool { return time.Now().Before(calm) })
	fmt.Printf("| the same calls afterwards, when nothing is replayed | %s |\n", quantiles(after.Latency))
	return nil
}

// foreground returns calls on keys that nothing is pending of.
func foreground(r *rig) (func(caller, n int) error, error) {
	ctx := context.Background()
	talks := make([]jackcache.Conversation, foregroundCallers)
	for i := range talks {
		talks[i] = r.Cache.Org("foreground").Conversation(fmt.Sprintf("+1604555%04d", i))
		if err := fill(ctx, talks[i], 20); err != nil {
			return nil, err
		}
	}
	return func(caller, n int) error {
		if n%2 != 0 {
			return say(ctx, talks[caller], strconv.FormatInt(serial.Add(1), 10))
		}
		_, err := talks[caller].Raw(ctx, jackcache.ReadOptions{Last: 20})
		return err
	}, nil
}

// appendAway appends while Redis is away, and returns how long that took.
func appendAway(r *rig) (time.Duration, error) {
	var (
		next  atomic.Int64
		first atomic.Pointer[error]
		all   sync.WaitGroup
	)
	start := time.Now()
	for range journalCallers {
		all.Go(func() {
			for n := int(next.Add(1)); n <= replayAppends && first.Load() == nil; n = int(next.Add(1)) {
				c := r.Cache.Org(fmt.Sprintf("org-%d", n%journalOrgs)).Conversation(fmt.Sprintf("+160455%05d", n%replayTalks))
				if err := insist(func() error { return say(context.Background(), c, strconv.Itoa(n)) }); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := first.Load(); err != nil {
		return 0, *err
	}
	return time.Since(start), nil
}

// serve makes calls on a schedule, piece after piece, as long as more says so.
func serve(call func(caller, n int) error, more func() bool) openloop.Result {
	sum := openloop.Result{Latency: hdrhistogram.New(1, time.Minute.Microseconds(), 3), Control: hdrhistogram.New(1, time.Minute.Microseconds(), 3)}
	for more() {
		res := openloop.Run(openloop.Schedule{Callers: foregroundCallers, Rate: foregroundRate, For: 250 * time.Millisecond}, call)
		sum.Latency.Merge(res.Latency)
		sum.Control.Merge(res.Control)
		sum.Calls += res.Calls
		sum.Errors += res.Errors
		if sum.FirstErr == nil {
			sum.FirstErr = res.FirstErr
		}
	}
	return sum
}
