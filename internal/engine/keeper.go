package engine

import (
	"context"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

const (
	// longestLease is the life of a lease to load: about so long the others wait for
	// a process that was killed. It is a quarter of the time that a load may take,
	// where that is less, but at least shortestLease.
	longestLease  = time.Second
	shortestLease = 20 * time.Millisecond
)

// leaseLife is that of the leases of this engine.
func (e *Engine) leaseLife() time.Duration {
	return min(longestLease, max(e.cfg.LoadTimeout/4, shortestLease))
}

// keepers are the goroutines that prolong the leases of loads under way. The zero
// value is ready.
type keepers struct {
	mu      sync.Mutex // held where running grows and closed is set
	closed  bool       // guarded by mu
	running sync.WaitGroup
}

// start runs f and reports whether it does: not after close.
func (k *keepers) start(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.running.Go(f)
	return true
}

// close waits for all that run. They end because the engine has stopped.
func (k *keepers) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.running.Wait()
}

// keepLease prolongs a lease until end is called, ctx is over or the engine closes,
// and gives it back then; end does not wait for that. A lease that is lost is not
// asked for again: whoever has it now loads, too, or has loaded.
func (e *Engine) keepLease(ctx context.Context, k keys.Key, token string) (end func()) {
	ended := make(chan struct{})
	// What is asked for the lease is no part of the caller's trace.
	calls := e.withoutSpan(context.WithoutCancel(ctx))
	e.keepers.start(func() {
		e.prolong(ctx, ended, func() bool { return e.prolonged(calls, k, token) })
		// The last prolonging has been answered, or nobody waits for it any more:
		// where it arrives after this, the lease ends by itself.
		calls, cancel := context.WithTimeout(calls, e.leaseTrip())
		defer cancel()
		_ = e.leaser.ReleaseLoad(calls, k, token) // it ends by itself
	})
	return sync.OnceFunc(func() { close(ended) })
}

// prolong calls again every third of a lease's life while it returns true.
func (e *Engine) prolong(ctx context.Context, ended <-chan struct{}, again func() bool) {
	tick := time.NewTicker(e.leaseLife() / 3)
	defer tick.Stop()
	for {
		select {
		case <-ended:
		case <-ctx.Done():
		case <-e.stop:
		case <-tick.C:
			if again() {
				continue
			}
		}
		return
	}
}

// prolonged reports whether the lease is held, as far as is known.
func (e *Engine) prolonged(ctx context.Context, k keys.Key, token string) bool {
	ctx, cancel := context.WithTimeout(ctx, e.leaseTrip())
	defer cancel()
	held, _, err := e.leaser.LeaseLoad(ctx, k, token, e.leaseLife())
	return held || err != nil
}

// leaseTrip bounds a call for a lease that nobody waits for: later it would be
// of no use.
func (e *Engine) leaseTrip() time.Duration { return min(e.cfg.Timeout, e.leaseLife()) }
