package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
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

// acceptEnd keeps an invalidation until the store has it.
func (e *Engine) acceptEnd(ctx context.Context, r *journal.Record) error {
	err := e.keep(ctx, true, r)
	if err != nil && (r.Position == 0 || !errors.Is(err, store.ErrUnknown)) {
		return err
	}
	// One that was too slow may be kept all the same: what is written from now on
	// must come after it.
	e.ended.Store(r.Org, r.Position)
	e.awaitEnd(&waitingEnd{Record: r, unsure: err != nil})
	return err
}

// waitingEnd is an invalidation that waits for the store.
type waitingEnd struct {
	*journal.Record
	unsure bool // whether the journal has it
}

// awaitEnd notes an invalidation that waits for the store.
func (e *Engine) awaitEnd(w *waitingEnd) {
	if _, loaded := e.ending.Swap(w.Org, w); !loaded {
		e.endings.Add(1)
	}
}

// end records that the store has an invalidation.
func (e *Engine) end(ctx context.Context, r *journal.Record, g uint64) error {
	e.learn(r.Org, g)
	done := &journal.Record{Kind: journal.Generation, Time: e.cfg.Clock.Time(), Org: r.Org, Generation: g}
	if r.Position != 0 {
		done.Resolves = []journal.Position{r.Position}
		if at, ok := e.ending.Load(r.Org); ok && at.(*waitingEnd).Record == r && e.ending.CompareAndDelete(r.Org, at) {
			e.endings.Add(-1)
		}
	}
	return e.record(ctx, false, done)
}

// isEnding reports whether an invalidation of the organisation waits here. What
// the replay had begun to apply before it is recorded after it.
func (e *Engine) isEnding(o keys.Org) bool {
	at, ok := e.ending.Load(o)
	if !ok {
		return false
	}
	r := at.(*waitingEnd)
	return r.unsure || e.journal.Waits(r.Position)
}

// endPending brings an invalidation of the organisation that waits here to the
// store: what is written and read after it must not be mistaken for what it
// ended. An error means that the store is away.
func (e *Engine) endPending(ctx context.Context, o keys.Org) error {
	if e.journal == nil || e.endings.Load() == 0 {
		return nil
	}
	at, ok := e.ending.Load(o)
	if !ok {
		return nil
	}
	r := at.(*waitingEnd)
	if !r.unsure && !e.journal.Waits(r.Position) {
		if e.ending.CompareAndDelete(o, at) { // it was replayed
			e.endings.Add(-1)
		}
		return nil
	}
	g, err := e.shared.InvalidateOnce(ctx, o, r.Generation, r.Token)
	if err != nil {
		return fmt.Errorf("%w: an invalidation of the organisation waits: %w", store.ErrUnavailable, err)
	}
	later, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return e.end(later, r.Record, g)
}
