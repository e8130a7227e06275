package engine

import (
	"context"

	"github.com/jackcache/jackcache/internal/keys"
)

// Sweep removes from the store what an organisation, or with a zero Org each,
// has below its generation. It is outside the budget.
func (e *Engine) Sweep(ctx context.Context, o keys.Org) (int, error) {
	if err := e.check(); err != nil {
		return 0, err
	}
	return e.cfg.Store.Sweep(ctx, o)
}

// Orgs returns the organisations that have data in the store. It is outside the
// budget.
func (e *Engine) Orgs(ctx context.Context) ([]keys.Org, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return e.cfg.Store.Orgs(ctx)
}
