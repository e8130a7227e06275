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

// waitingEnd is an invalidation that waits for the store.
type waitingEnd struct {
	*journal.Record
	unsure bool // whether the journal has it
}

// acceptance is an invalidation that the journal is asked to keep. From when it has
// it what waited is not found there any more, and only at the end it is known what
// ended it: who reads meanwhile waits, or would be given what was there before.
type acceptance struct {
	decided chan struct{} // closed when it is known whether the journal keeps it
}

// acceptEnd keeps an invalidation until the store has it. One of an organisation is
// accepted at a time: the last one that the journal has is that which waits.
func (e *Engine) acceptEnd(ctx context.Context, r *journal.Record) error {
	a := &acceptance{decided: make(chan struct{})}
	for {
		if _, taken := e.accepting.LoadOrStore(r.Org, a); !taken {
			break
		}
		if err := e.awaitAcceptance(ctx, r.Org); err != nil {
			return err
		}
	}
	e.endings.Add(1)
	defer func() {
		e.accepting.Delete(r.Org)
		e.endings.Add(-1)
		close(a.decided)
	}()
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

// awaitAcceptance waits until no invalidation of the organisation is being accepted.
// An error means that ctx has ended before.
func (e *Engine) awaitAcceptance(ctx context.Context, o keys.Org) error {
	for {
		at, ok := e.accepting.Load(o)
		if !ok {
			return nil
		}
		select {
		case <-at.(*acceptance).decided:
		case <-ctx.Done():
			return fmt.Errorf("%w: an invalidation of the organisation is being accepted: %w", store.ErrUnavailable, ctx.Err())
		}
	}
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

// isEnding reports whether an invalidation of the organisation waits here, or is
// being accepted. What the replay had begun to apply before it is recorded after it.
func (e *Engine) isEnding(o keys.Org) bool {
	if _, ok := e.accepting.Load(o); ok { // first: it waits before it is not accepted any more
		return true
	}
	at, ok := e.ending.Load(o)
	if !ok {
		return false
	}
	r := at.(*waitingEnd)
	return r.unsure || e.journal.Waits(r.Position)
}

// endedAt returns up to where what was recorded of an organisation was ended here.
func (e *Engine) endedAt(o keys.Org) journal.Position {
	if at, ok := e.ended.Load(o); ok {
		return at.(journal.Position)
	}
	return 0
}

// overtaken reports whether an invalidation of the organisation was accepted since a
// read began, or is, and something waited for the key then. What waited is not found
// any more, and the store may have answered with what was there before it.
func (e *Engine) overtaken(o keys.Org, begun outset) bool {
	if !begun.pending {
		return false
	}
	if _, ok := e.accepting.Load(o); ok {
		return true
	}
	return e.endedAt(o) != begun.ended
}

// endPending brings an invalidation of the organisation that waits here to the
// store: what is written and read after it must not be mistaken for what it
// ended. One that is being accepted it waits for. An error means that the store is
// away, or ctx has ended.
func (e *Engine) endPending(ctx context.Context, o keys.Org) error {
	if e.journal == nil || e.endings.Load() == 0 {
		return nil
	}
	if err := e.awaitAcceptance(ctx, o); err != nil {
		return err
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
