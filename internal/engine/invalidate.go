package engine

import (
	"context"
	"fmt"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
)

// Invalidate makes everything of an organisation that was written before it
// invisible. It returns whether it waits for the store.
//
// Where anything waits here the invalidation is recorded before the store is
// asked: what was accepted before it ends with it, and no replay that learns of
// the new generation can apply it under that one.
func (e *Engine) Invalidate(caller context.Context, o keys.Org) (pending bool, err error) {
	if err := e.check(); err != nil {
		return false, err
	}
	t := e.taps.beginAt(caller, OpInvalidate, "", o)
	defer func() { t.end(err) }()
	caller, m := e.measure(caller, OpInvalidate, "")
	defer func() { m.end(err) }()
	ctx, cancel := context.WithTimeout(caller, e.cfg.Timeout)
	defer cancel()
	if e.journal == nil {
		g, err := e.cfg.Store.Invalidate(ctx, o, e.known(o))
		if err == nil {
			e.learn(o, g)
		}
		return false, err
	}
	if err := e.journalTakes(false); err != nil {
		return false, err
	}
	defer e.journal.End(e.journal.Begin())
	whole, stop := context.WithTimeout(caller, e.cfg.Journaling.Budget)
	defer stop()
	r := &journal.Record{
		Kind: journal.Invalidation, Time: e.cfg.Clock.Time(), Org: o, Token: e.cfg.Clock.Now(), Generation: e.known(o),
	}
	if e.journal.PendingCount() > 0 {
		if err := e.acceptEnd(whole, r); err != nil {
			return false, err
		}
	}
	g, err := e.shared.InvalidateOnce(ctx, o, r.Generation, r.Token)
	switch {
	case err == nil:
		return false, e.end(whole, r, g)
	case r.Position != 0 && mayWait(err):
	case caller.Err() != nil || !mayWait(err):
		return false, err
	default:
		if kept := e.acceptEnd(whole, r); kept != nil {
			return false, fmt.Errorf("%w; and the store: %w", kept, err)
		}
	}
	e.accepted.Add(1)
	noteWaits(caller)
	t.pending(Written{Pending: true})
	e.cfg.Journaling.Kick()
	return true, nil
}
