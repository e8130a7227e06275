package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// coherenceWrites is the most writes of a round.
	coherenceWrites = 100
	// coherencePatience is how long the other instance is watched.
	coherencePatience = 2 * time.Second
	// Those who read their own writes back, who read everything meanwhile, and the
	// keys of each; the near tier has room for half of them.
	ownWriters, ownReaders, ownKeys = 16, 8, 4
)

// coherenceScene tells when an instance sees what another wrote, and whether one
// sees what it wrote itself.
var coherenceScene = scene{
	name: "coherence", warm: true,
	measures: []measure{
		{name: "ms from the acknowledgement until the other instance reads it, p50", of: "lag", fold: inMiddle, format: "%.2f"},
		{name: "the same, p99", of: "lag", fold: nearTop, format: "%.2f"},
		{name: "own writes read back stale", of: "stale", fold: onMean, format: "%.3f %%"},
	},
	start: startCoherence,
}

func startCoherence(s *stage) (trial, error) {
	a, b, err := s.openTwo(config{Near: peerTalks})
	if err != nil {
		return trial{}, err
	}
	small, err := s.open(config{Near: ownWriters * ownKeys / 2})
	if err != nil {
		a.Close()
		b.Close()
		return trial{}, err
	}
	return trial{
		close: func() { a.Close(); b.Close(); small.Close() },
		round: func(slice time.Duration) (sample, error) {
			lags, err := lags(a, b, slice)
			if err != nil {
				return nil, err
			}
			stale, err := ownStale(small, slice)
			return sample{"lag": lags, "stale": {stale}}, err
		},
	}, nil
}

// lags are how many ms after a's acknowledgement b read the new value; the first
// that is never read ends the round.
func lags(a, b peerClient, slice time.Duration) (all []float64, err error) {
	ctx, id := context.Background(), talkIDs()[0]
	for end := time.Now().Add(slice); len(all) == 0 || len(all) < coherenceWrites && time.Now().Before(end); {
		mark := "v" + strconv.FormatInt(serial.Add(1), 10)
		if _, err := b.Get(ctx, id); err != nil && !errors.Is(err, errAbsent) {
			return nil, err
		}
		seen := make(chan time.Time, 1)
		go func() { seen <- seeing(ctx, b, id, mark) }()
		err := a.Set(ctx, id, marked(mark))
		acknowledged := time.Now()
		at := <-seen
		if err != nil {
			return nil, err
		}
		if at.IsZero() {
			return append(all, math.Inf(1)), nil
		}
		all = append(all, max(0, float64(at.Sub(acknowledged).Microseconds())/1000))
	}
	return all, nil
}

// seeing returns when a client has read the value with that mark; the zero time:
// it has not.
func seeing(ctx context.Context, c peerClient, id, mark string) time.Time {
	for end := time.Now().Add(coherencePatience); time.Now().Before(end); runtime.Gosched() {
		if v, err := c.Get(ctx, id); err == nil && v.newest() == mark {
			return time.Now()
		}
	}
	return time.Time{}
}

// ownStale returns which percentage of the callers' own acknowledged writes the
// next read of the same caller did not return.
func ownStale(c peerClient, slice time.Duration) (float64, error) {
	ctx, ids := context.Background(), talkIDs()[1:1+ownWriters*ownKeys]
	var (
		writers, readers sync.WaitGroup
		over             atomic.Bool
		reads, stale     atomic.Int64
	)
	errs := make([]error, ownWriters)
	end := time.Now().Add(slice)
	for range ownReaders {
		readers.Go(func() {
			for n := 0; !over.Load(); n++ {
				_, _ = c.Get(ctx, ids[n%len(ids)]) // what others read is not counted
			}
		})
	}
	for w := range ownWriters {
		writers.Go(func() {
			for n := 0; errs[w] == nil && (n == 0 || time.Now().Before(end)); n++ {
				id, mark := ids[w*ownKeys+n%ownKeys], fmt.Sprintf("w%d-%d", w, serial.Add(1))
				if errs[w] = c.Set(ctx, id, marked(mark)); errs[w] != nil {
					return
				}
				v, err := c.Get(ctx, id)
				if err != nil && !errors.Is(err, errAbsent) {
					errs[w] = err
					return
				}
				reads.Add(1)
				if v.newest() != mark {
					stale.Add(1)
				}
			}
		})
	}
	writers.Wait()
	over.Store(true)
	readers.Wait()
	return 100 * float64(stale.Load()) / float64(max(1, reads.Load())), errors.Join(errs...)
}
