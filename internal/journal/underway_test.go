package journal

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSettle: no write that began before is under way afterwards, however many
// begin meanwhile.
func TestSettle(t *testing.T) {
	var (
		u       underway
		stopped atomic.Bool
		started atomic.Uint64
		ended   [1 << 16]atomic.Bool
		all     sync.WaitGroup
	)
	for range 8 {
		all.Go(func() {
			for !stopped.Load() {
				turn := u.begin()
				n := started.Add(1)
				ended[n%uint64(len(ended))].Store(false)
				ended[n%uint64(len(ended))].Store(true)
				u.counts[turn%2].Add(-1)
			}
		})
	}
	for range 200 {
		before := started.Load()
		if err := u.settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n := max(before, 1000) - 999; n <= before; n++ {
			if n > 0 && !ended[n%uint64(len(ended))].Load() && started.Load()-n < uint64(len(ended)) {
				t.Fatalf("write %d of %d has not ended", n, before)
			}
		}
	}
	stopped.Store(true)
	all.Wait()
}

// TestSettleGivenUp: a write that hangs is waited for until the caller has
// enough, and by the next caller again.
func TestSettleGivenUp(t *testing.T) {
	var u underway
	turn := u.begin()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if err := u.settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("settled with a write under way: %v", err)
		}
		cancel()
	}
	u.counts[turn%2].Add(-1)
	if err := u.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
}
