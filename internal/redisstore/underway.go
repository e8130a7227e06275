package redisstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// underway counts calls, so that one can wait for those that have begun. A call
// enters before it looks who has its key. The zero value has none.
type underway struct {
	phase atomic.Uint32
	calls [2]atomic.Int64 // by the phase in which they began
	mu    sync.Mutex      // held while one waits
}

// enter begins a call; leave ends it.
func (u *underway) enter() (phase uint32) {
	phase = u.phase.Load() % 2
	u.calls[phase].Add(1)
	return phase
}

func (u *underway) leave(phase uint32) { u.calls[phase].Add(-1) }

// drain waits until the calls that have begun have ended, or ctx has.
func (u *underway) drain(ctx context.Context) {
	u.mu.Lock()
	defer u.mu.Unlock()
	begun := &u.calls[(u.phase.Add(1)-1)%2]
	for begun.Load() > 0 && pause(ctx, time.Millisecond) {
	}
}
