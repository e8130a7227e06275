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
	mu     sync.Mutex      // held by the Settle that counts; others try until they get it
}

// Begin notes a write that the store is about to be asked for. Its End must
// follow, after what became of it is recorded.
func (j *Journal) Begin() (turn uint32) { return j.underway.begin() }

// End notes the end of a write; turn is what Begin returned.
func (j *Journal) End(turn uint32) { j.underway.counts[turn%2].Add(-1) }

// Settle waits until every write that began before the call has ended, or ctx
// ends: what the store acknowledged before the call is then recorded at or before
// Position. Of the writes that begin meanwhile it waits for some, never for one
// after the other without end.
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
	if err := until(ctx, u.mu.TryLock); err != nil {
		return err
	}
	defer u.mu.Unlock()
	// Both turns: a settling that was given up may have left the other one.
	for range 2 {
		before := u.turn.Add(1) - 1
		if err := until(ctx, func() bool { return u.counts[before%2].Load() == 0 }); err != nil {
			return err
		}
	}
	return nil
}

// until looks again and again until ok, or ctx ends.
func until(ctx context.Context, ok func() bool) error {
	if ok() {
		return nil
	}
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if ok() {
			return nil
		}
	}
}
