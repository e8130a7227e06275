package engine

import (
	"context"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// InvalidateSeen is Invalidate, and returns only when every instance that gives
// copies as fresh has seen it, or gives none of before any more. One that waits
// for the store is not waited for. The wait is outside the budget.
//
// store.ErrUnseen: the invalidation is done, and whether all have seen it is not
// known.
func (e *Engine) InvalidateSeen(ctx context.Context, o keys.Org) (pending bool, err error) {
	if pending, err = e.Invalidate(ctx, o); err != nil || pending {
		return pending, err
	}
	return false, e.AwaitSeen(ctx, time.Now(), o)
}

// AwaitSeen returns when every instance that gives copies as fresh has seen the
// invalidations of some organisations that the store had by a time.
func (e *Engine) AwaitSeen(ctx context.Context, by time.Time, os ...keys.Org) error {
	if t := store.TrackedOf(e.cfg.Store); t != nil {
		return t.AwaitSeen(ctx, by, os...)
	}
	return nil
}
