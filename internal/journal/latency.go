package journal

import (
	"slices"
	"sync"
	"time"
)

const (
	latencies   = 1024
	latencySpan = 5 * time.Minute
)

// latency has how long the last syncs took. Safe for concurrent use.
type latency struct {
	mu    sync.Mutex
	count uint64 // guarded by mu: of all syncs
	ring  [latencies]struct {
		at   time.Time
		took time.Duration
	} // guarded by mu
}

func (l *latency) add(at time.Time, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slot := &l.ring[l.count%latencies]
	slot.at, slot.took = at, took
	l.count++
}

// fill sets the fields of s about syncs.
func (l *latency) fill(s *Stats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Syncs = l.count
	var took []time.Duration
	for _, slot := range l.ring[:min(l.count, latencies)] {
		if time.Since(slot.at) < latencySpan {
			took = append(took, slot.took)
		}
	}
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	s.SyncP50 = took[(len(took)-1)/2]
	s.SyncP99 = took[(len(took)-1)*99/100]
	s.SyncMax = took[len(took)-1]
}
