package replay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is what a Replayer knows of itself. Counts are since the start.
type Stats struct {
	Applied   uint64  // operations sent to the store and answered
	Rate      float64 // of them per second, in the last seconds
	Replayed  uint64  // pending records that are in the store now
	Expired   uint64  // pending records whose life was over before they could be applied
	SetAside  int64   // lines in the file of what the store refused for good
	Rejected  uint64  // records that it refused when they were applied again
	Suspected uint64  // times that a server may have lost something
	Confirmed uint64  // times that one had
	// Restoring is to how many servers is applied again now what they may have lost, at
	// least one where something is that was written while an invalidation was lost.
	Restoring int
	Problem   string // of the last seconds; empty: none
}

// problemFor is how long the last failure is told.
const problemFor = 5 * time.Second

type counts struct {
	applied, replayed, expired, rejected, suspected, confirmed atomic.Int64

	mu      sync.Mutex
	problem string    // guarded by mu
	at      time.Time // guarded by mu: of problem
	rate    float64   // guarded by mu
	before  int64     // guarded by mu: applied when the rate was measured
	since   time.Time // guarded by mu
}

// trouble notes a failure for health.
func (c *counts) trouble(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem, c.at = err.Error(), time.Now()
}

// perSecond measures the rate over a second or more.
func (c *counts) perSecond() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, applied := time.Now(), c.applied.Load()
	if over := now.Sub(c.since); over >= time.Second {
		c.rate = float64(applied-c.before) / over.Seconds()
		if c.since.IsZero() {
			c.rate = 0
		}
		c.before, c.since = applied, now
	}
	return c.rate
}

// Stats does not wait.
func (r *Replayer) Stats() Stats {
	c := &r.counts
	s := Stats{
		Applied: uint64(c.applied.Load()), Rate: c.perSecond(), Replayed: uint64(c.replayed.Load()), Expired: uint64(c.expired.Load()),
		Rejected: uint64(c.rejected.Load()), SetAside: r.aside.n.Load(),
		Suspected: uint64(c.suspected.Load()), Confirmed: uint64(c.confirmed.Load()),
	}
	r.mu.Lock()
	s.Restoring = r.restores
	if r.adoption.busy() {
		s.Restoring = max(s.Restoring, 1)
	}
	r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) < problemFor {
		s.Problem = c.problem
	}
	return s
}
