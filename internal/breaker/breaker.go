// Package breaker decides whether a node is worth asking. While it is open
// nobody asks but one prober, so that callers are refused at once instead of
// each waiting for the end of its budget.
//
// It is not the breaker of a library: those let callers through to find out
// whether the node is back, and each of them would pay with its budget.
package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// State of a Breaker.
type State int32

// The states.
const (
	Closed   State = iota // traffic
	Open                  // no traffic
	HalfOpen              // no traffic, the last probes succeeded
)

// Breaker counts failures in a row. Make it with New. Safe for concurrent use;
// Allow and Success cost an atomic load each.
type Breaker struct {
	threshold int32
	probes    int32
	now       func() time.Time
	opened    chan struct{}

	state atomic.Int32
	fails atomic.Int32 // in a row

	mu        sync.Mutex
	succeeded int32     // guarded by mu: probes in a row
	since     time.Time // guarded by mu: of state
	reason    string    // guarded by mu: why it opened
	openings  int64     // guarded by mu
}

// New returns a breaker that opens after threshold failures in a row and closes
// after probes successful probes in a row. Nil now means time.Now. It starts
// open when startOpen is given a reason.
func New(threshold, probes int, now func() time.Time, startOpen string) *Breaker {
	if now == nil {
		now = time.Now
	}
	b := &Breaker{
		threshold: int32(threshold), probes: int32(probes), now: now,
		opened: make(chan struct{}, 1), since: now(),
	}
	if startOpen != "" {
		b.Trip(startOpen)
	}
	return b
}

// Allow reports whether traffic may go.
func (b *Breaker) Allow() bool { return State(b.state.Load()) == Closed }

// Success ends a row of failures.
func (b *Breaker) Success() {
	if b.fails.Load() != 0 {
		b.fails.Store(0)
	}
}

// Failure counts one more failure in a row and opens at the threshold.
func (b *Breaker) Failure(reason string) {
	if b.fails.Add(1) >= b.threshold {
		b.Trip(reason)
	}
}

// Trip opens at once.
func (b *Breaker) Trip(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if State(b.state.Load()) != Closed {
		return
	}
	b.reason, b.succeeded = reason, 0
	b.openings++
	b.setLocked(Open)
	select {
	case b.opened <- struct{}{}:
	default: // the prober has not taken the last one yet
	}
}

// Probe tells the outcome of a probe while traffic is stopped, and reports
// whether the breaker closed by it.
func (b *Breaker) Probe(err error) (closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if State(b.state.Load()) == Closed {
		return false
	}
	if err != nil {
		b.succeeded, b.reason = 0, err.Error()
		if State(b.state.Load()) == HalfOpen {
			b.setLocked(Open)
		}
		return false
	}
	b.succeeded++
	if b.succeeded < b.probes {
		if State(b.state.Load()) == Open {
			b.setLocked(HalfOpen)
		}
		return false
	}
	b.fails.Store(0)
	b.reason = ""
	b.setLocked(Closed)
	return true
}

func (b *Breaker) setLocked(s State) {
	if s != HalfOpen {
		b.since = b.now()
	}
	b.state.Store(int32(s))
}

// Opened gets a value when the breaker opens.
func (b *Breaker) Opened() <-chan struct{} { return b.opened }

// Snapshot tells the state, since when traffic flows or is stopped, why it is
// stopped, and how often it was.
func (b *Breaker) Snapshot() (s State, since time.Time, reason string, openings int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return State(b.state.Load()), b.since, b.reason, b.openings
}
