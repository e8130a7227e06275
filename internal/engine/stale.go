package engine

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackcache/jackcache/internal/flight"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/store"
)

// miss is what one who has to load was told by the store.
type miss struct {
	seen  seenValue
	began int64 // before it was asked, as store.Now
	err   error // why it was not told anything
}

// staleness says whether a copy may be given that need not be current.
type staleness uint8

const (
	none    staleness = iota // there is none, or it must not be given
	current                  // it may, by what is known
	unheard                  // something was told of the key, and the store was not asked since
)

// stale returns a copy of a value for a kind that may be served so, where nothing
// better is to be had. What was deleted, invalidated or forgotten is never given, as
// far as this process can know: of a copy of which something was told only a read
// that began later says whether it has expired. While the store is away that
// cannot be asked, and what was not told about is given.
func (e *Engine) stale(k keys.Key, p Policy, m miss) (v Value, st staleness) {
	if !p.Stale || !e.keeps(p) {
		return v, none
	}
	covers := e.copies.tracked.Covers(k.String(), k.Org())
	s, ok := e.copies.tier.Stale(k, covers)
	if !ok || e.journal != nil && (e.waits(&k) || e.isEnding(k.Org())) {
		return v, none
	}
	asked := m.err == nil && m.began > s.ToldAt
	switch {
	case s.ToldAt != 0 && !asked:
		return v, unheard
	case asked && !outlives(s, m.seen):
		return v, none
	}
	c, ok := s.Item.Value.(*Copy)
	if !ok {
		return v, none
	}
	if p.Sliding {
		e.touch(&k, &p, c)
	}
	v = c.value
	v.Source, v.Age = FromStale, e.copies.tier.Age(k, covers, s.Item)
	return v, current
}

// outlives reports whether a copy may be given although the store has nothing: it was
// not deleted, and its organisation was not invalidated since.
func outlives(s near.Stale, r seenValue) bool {
	generation := max(r.Generation, r.Value.Generation)
	return !(r.Found && r.Value.IsTombstone()) && s.Item.Generation >= generation
}

// instead is stale for one who waits for a load, and asks the store once more where
// only that tells what may be given, but not beyond the hard bound. It may find a value.
func (e *Engine) instead(ctx context.Context, k keys.Key, p Policy, m miss, b bounds) (v Value, ok bool) {
	v, st := e.stale(k, p, m)
	if st == unheard {
		if !b.hard.IsZero() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, b.hard)
			defer cancel()
		}
		m.began = store.Now()
		if m.seen, m.err = e.ask(ctx, k); m.err == nil {
			if v, err := e.read(k, m.seen, p); err == nil && v.Found {
				return v, true
			}
		}
		v, st = e.stale(k, p, m)
	}
	return v, st == current
}

// Rescue is why a copy was given that need not be current.
type Rescue uint8

// The reasons.
const (
	RescueAway   Rescue = iota // the store was away
	RescueSlow                 // the load took longer than the SoftTimeout or the HardTimeout
	RescueFailed               // the load failed
	rescueReasons
)

// rescues counts the loads for which a stale value was given instead.
type rescues [rescueReasons]atomic.Uint64

// Rescues returns for how many calls of GetOrLoad and ids of GetOrLoadMany a stale
// value was given, for a reason.
func (e *Engine) Rescues(r Rescue) uint64 { return e.rescues[r].Load() }

// rescue gives a stale value instead of an error.
func (e *Engine) rescue(ctx context.Context, k keys.Key, p Policy, m miss, b bounds, why Rescue) (v Value, ok bool) {
	if v, ok = e.instead(ctx, k, p, m, b); ok && v.Source == FromStale {
		e.rescues[why].Add(1)
	}
	return v, ok
}

// rescued is rescue for a load that failed: unless its caller gave up, or it said
// that there is nothing.
func (e *Engine) rescued(ctx context.Context, k keys.Key, p Policy, m miss, b bounds, err error) (Value, error) {
	if !p.Stale || ctx.Err() != nil || foundNothing(err) || !loadFailed(err) {
		return Value{}, err
	}
	if v, ok := e.rescue(ctx, k, p, m, b, RescueFailed); ok {
		return v, nil
	}
	return Value{}, err
}

// loadFailed reports whether an error is that of a load, or that it took too long.
func loadFailed(err error) bool {
	return errors.As(err, new(*LoadError)) || errors.As(err, new(*flight.PanicError)) || errors.Is(err, context.DeadlineExceeded)
}
