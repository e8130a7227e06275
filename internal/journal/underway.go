package journal

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// settleEvery is how often Settle looks whether the writes have ended.
const settleEvery = 200 * time.Microsecond

// underway counts writes between their begin, before the store is asked, and
// their end, when what the store answered is recorded.
type underway struct {
	turn   atomic.Uint32
	counts [2]atomic.Int64 // of those that began in an even and in an odd turn
	mu     sync.Mutex      // held by Settle
}

// Begin notes a write that the store is about to be asked for. Its End must
// follow, after what became of it is recorded.
func (j *Journal) Begin() (turn uint32) { return j.underway.begin() }

// End notes the end of a write; turn is what Begin returned.
func (j *Journal) End(turn uint32) { j.underway.counts[turn%2].Add(-1) }

// Settle waits until every write that began before the call has ended, or ctx
// ends: what the store acknowledged before the call is then recorded at or before
// Position. Writes that begin meanwhile are not waited for.
func (j *Journal) Settle(ctx context.Context) error { return j.underway.settle(ctx) }

func (u *underway) begin() uint32 {
	for {
		turn := u.turn.Load()
		u.counts[turn%2].Add(1)
		if u.turn.Load() == turn {
			return turn
		}
		u.counts[turn%2].Add(-1) // Settle may not have seen it
	}
}

func (u *underway) settle(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	// Both turns: a settling that was given up may have left the other one.
	for range 2 {
		before := u.turn.Add(1) - 1
		tick := time.NewTicker(settleEvery)
		for u.counts[before%2].Load() != 0 {
			select {
			case <-ctx.Done():
				tick.Stop()
				return ctx.Err()
			case <-tick.C:
			}
		}
		tick.Stop()
	}
	return nil
}
