package jackcache

import (
	"context"

	"github.com/jackcache/jackcache/internal/engine"
)

// Receipt tells what became of the writes of a context. Safe for concurrent use.
type Receipt struct{ r *engine.Receipt }

// WithReceipt returns a context for writes, and what tells afterwards whether
// one of them waits for Redis. It is for callers who want to know; nothing else
// depends on it.
func WithReceipt(ctx context.Context) (context.Context, *Receipt) {
	ctx, r := engine.WithReceipt(ctx)
	return ctx, &Receipt{r: r}
}

// Pending reports whether a write was acknowledged that is kept in the journal
// of this instance, and that Redis may not have.
func (r *Receipt) Pending() bool { return r.r.Pending() }
