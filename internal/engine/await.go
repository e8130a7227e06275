package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/flight"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// ErrTimeout says that the HardTimeout of the kind has passed. The load goes on.
var ErrTimeout = errors.New("the load takes longer than the hard timeout")

// errSlow stands for the answer of a store for which nobody waits any longer.
var errSlow = fmt.Errorf("%w: it does not answer within the timeout of the kind", store.ErrUnavailable)

// bounds are until when one waits who would load; zero: as long as it takes.
type bounds struct {
	soft, hard time.Time
}

func (p Policy) bounds() (b bounds) {
	if p.SoftTimeout == 0 && p.HardTimeout == 0 {
		return b
	}
	now := time.Now()
	if p.SoftTimeout > 0 {
		b.soft = now.Add(p.SoftTimeout)
	}
	if p.HardTimeout > 0 {
		b.hard = now.Add(p.HardTimeout)
	}
	return b
}

// first is the earlier of the bounds.
func (b bounds) first() time.Time {
	if b.soft.IsZero() || !b.hard.IsZero() && b.hard.Before(b.soft) {
		return b.hard
	}
	return b.soft
}

// within reads, and does not wait beyond the first bound. What takes no longer than
// that anyway is waited for: most takes a fraction.
func within[T any](ctx context.Context, b bounds, most time.Duration, read func(context.Context) (T, error)) (T, error) {
	first := b.first()
	if first.IsZero() || time.Until(first) > most {
		return read(ctx)
	}
	type answer struct {
		value T
		err   error
	}
	came := make(chan answer, 1)
	go func() {
		v, err := read(ctx)
		came <- answer{v, err}
	}()
	timer := time.NewTimer(time.Until(first))
	defer timer.Stop()
	select {
	case a := <-came:
		return a.value, a.err
	case <-timer.C:
		var zero T
		return zero, errSlow
	}
}

// await waits for a load within the bounds, and gives a stale value where one may be
// given: after the soft bound, after the hard one, or where the load fails.
func (e *Engine) await(ctx context.Context, k keys.Key, p Policy, m miss, b bounds, call *flight.Call[Value]) (Value, error) {
	soft, stopSoft := at(b.soft)
	defer stopSoft()
	hard, stopHard := at(b.hard)
	defer stopHard()
	for {
		select {
		case <-call.Done():
			return e.landed(ctx, k, p, m, b, call)
		case <-ctx.Done():
			return Value{}, ctx.Err()
		case <-soft:
			soft = nil
			if v, ok := e.rescue(ctx, k, p, m, b, RescueSlow); ok {
				return v, nil
			}
		case <-hard:
			return e.overdue(ctx, k, p, m, b, call)
		}
	}
}

// overdue answers one whose hard bound has come.
func (e *Engine) overdue(ctx context.Context, k keys.Key, p Policy, m miss, b bounds, call *flight.Call[Value]) (Value, error) {
	select {
	case <-call.Done():
		return e.landed(ctx, k, p, m, b, call)
	default:
	}
	if v, ok := e.rescue(ctx, k, p, m, b, RescueSlow); ok {
		return v, nil
	}
	return Value{}, fmt.Errorf("%w of %v", ErrTimeout, p.HardTimeout)
}

// landed is what came of a load that is over.
func (e *Engine) landed(ctx context.Context, k keys.Key, p Policy, m miss, b bounds, call *flight.Call[Value]) (Value, error) {
	v, err := call.Result()
	if err != nil {
		return e.rescued(ctx, k, p, m, b, err)
	}
	v.Shared = true
	return v, nil
}

// at returns a channel that tells of a time, nil for the zero time.
func at(t time.Time) (<-chan time.Time, func()) {
	if t.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(t))
	return timer.C, func() { timer.Stop() }
}
