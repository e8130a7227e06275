package engine

import (
	"context"
	"sync/atomic"
)

// Receipt tells whether something that was written with its context waits for
// the shared store. Safe for concurrent use.
type Receipt struct{ pending atomic.Bool }

type receiptKey struct{}

// WithReceipt returns a context for writes, and what tells of them.
func WithReceipt(ctx context.Context) (context.Context, *Receipt) {
	r := &Receipt{}
	return context.WithValue(ctx, receiptKey{}, r), r
}

// Pending reports whether a write waits for the shared store.
func (r *Receipt) Pending() bool { return r.pending.Load() }

// noteWaits notes that a write of ctx waits for the shared store.
func noteWaits(ctx context.Context) {
	if r, ok := ctx.Value(receiptKey{}).(*Receipt); ok {
		r.pending.Store(true)
	}
}
