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
	epoch  atomic.Uint64
	proven atomic.Int64 // when the last signal that came back was sent, as Now; 0: none did
}

var started = time.Now()

// Now is a monotonic time for Covers, in nanoseconds, never zero.
func Now() int64 { return int64(time.Since(started)) + 1 }

// Epoch is raised whenever something may not have been told.
func (c *Cover) Epoch() uint64 { return c.epoch.Load() }

// Break says that something may not have been told: the connection ended, or
// another server answers.
func (c *Cover) Break() {
	c.epoch.Add(1)
	c.proven.Store(0)
}

// Prove says that a signal which was sent at a time, as Now, came back by the way
// on which changes are told, and that nothing broke since epoch was read, which
// was before the signal was sent.
func (c *Cover) Prove(epoch uint64, sent int64) {
	if c.epoch.Load() != epoch {
		return
	}
	for {
		old := c.proven.Load()
		if old >= sent {
			return
		}
		if c.proven.CompareAndSwap(old, sent) {
			break
		}
	}
	// Break raises the epoch first: where it came between, the proof goes.
	if c.epoch.Load() != epoch {
		c.proven.CompareAndSwap(sent, 0)
	}
}

// Fresh reports whether what was read under an epoch is as new at least as now
// minus bound.
func (c *Cover) Fresh(epoch uint64, now int64, bound time.Duration) bool {
	p := c.proven.Load()
	return p != 0 && now-p < int64(bound) && c.epoch.Load() == epoch
}

// Age returns how old what is served as fresh may be; false: nothing is proven.
func (c *Cover) Age(now int64) (time.Duration, bool) {
	p := c.proven.Load()
	return time.Duration(now - p), p != 0
}
