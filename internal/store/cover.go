package store

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

// Listener is told which keys a server has changed, by whomever, expiry and
// eviction included. It is called by who reads the connection: it must be quick
// and never block. The slice and its strings count during the call alone.
type Listener interface {
	Changed(names []string)
	// Ended tells that another process has raised the generation of an organisation,
	// to g or more, before that process hears that this one knows.
	Ended(o keys.Org, g uint64)
}

// Tracked is a Shared store that may tell a Listener what changes.
type Tracked interface {
	Shared
	// Covers returns the covers of the servers that have a key and the
	// generation of its organisation, zero for none, mostly the same; nil where nothing is told of
	// changes, or nobody has it. It never waits.
	Covers(key string, o keys.Org) Covers
	// AwaitSeen returns when no process, this one excepted, gives a copy as fresh
	// that is older than what the generations of some organisations were by raised,
	// a time in the past: each has answered, or has no proof any more that is as
	// old. Without other processes it does not wait. ErrUnseen: ctx ended first, or
	// it could not be found out which processes there are.
	AwaitSeen(ctx context.Context, raised time.Time, os ...keys.Org) error
}

// Covers are those of a key, and of the generation of its organisation.
type Covers struct{ Key, Generation *Cover }

// Cover is the proof that a process hears of every change on a server. What was
// read from the server is current as long as nothing was told about it since
// before the read, the epoch is the one from before the read, and the last signal
// that came back was sent not longer ago than the bound. The zero Cover has
// proven nothing. Safe for concurrent use.
type Cover struct {
	epoch atomic.Uint64
	// proof is when the last signal that came back was sent, as Now, its last
	// epochBits those of the epoch that it counts for; 0: none did. A proof and what
	// ends it so cannot be seen half: between the two steps of a Break the new epoch
	// has none.
	proof atomic.Int64
}

// epochBits is how much of a time is given up for the epoch: 65 µs.
const epochBits = 16

func tagOf(epoch uint64) int64 { return int64(epoch & (1<<epochBits - 1)) }

func proofOf(epoch uint64, sent int64) int64 { return sent>>epochBits<<epochBits | tagOf(epoch) }

// sentAt returns when the signal of a proof was sent, at most epochBits too early;
// false: it is none for the epoch.
func sentAt(proof int64, epoch uint64) (int64, bool) {
	sent := proof >> epochBits << epochBits
	return sent, sent != 0 && proof-sent == tagOf(epoch)
}

var started = time.Now()

// Now is a monotonic time for Covers, in nanoseconds, never zero,
// rounded as in a Cover or not.
func Now() int64 { return int64(time.Since(started)) + 1<<epochBits }

// Epoch is raised whenever something may not have been told.
func (c *Cover) Epoch() uint64 { return c.epoch.Load() }

// Break says that something may not have been told: the connection ended, or
// another server answers.
func (c *Cover) Break() {
	c.epoch.Add(1)
	c.proof.Store(0)
}

// Prove says that a signal which was sent at a time, as Now, came back by the way
// on which changes are told, and that nothing broke since epoch was read, which
// was before the signal was sent.
func (c *Cover) Prove(epoch uint64, sent int64) {
	for {
		old := c.proof.Load()
		if last, ok := sentAt(old, epoch); ok && last >= sent || c.epoch.Load() != epoch {
			return
		}
		// Where it broke since, this is a proof of what is over.
		if c.proof.CompareAndSwap(old, proofOf(epoch, sent)) {
			return
		}
	}
}

// Fresh reports whether what was read under an epoch is as new at least as now
// minus bound.
func (c *Cover) Fresh(epoch uint64, now int64, bound time.Duration) bool {
	sent, ok := sentAt(c.proof.Load(), epoch)
	return ok && now-sent < int64(bound) && c.epoch.Load() == epoch
}

// Age returns how old what is served as fresh may be; false: nothing is proven.
func (c *Cover) Age(now int64) (time.Duration, bool) {
	sent, ok := sentAt(c.proof.Load(), c.epoch.Load())
	return time.Duration(now - sent), ok
}
