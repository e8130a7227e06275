package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// Who waits for the load of another process asks after firstPoll, and then after
	// an eighth of the time it has waited: that is how much longer than the load
	// itself it waits where nothing wakes it. It asks at least every lastPoll.
	firstPoll = 5 * time.Millisecond
	lastPoll  = 50 * time.Millisecond
	pollShare = 8
	// maxUnanswered is how many questions in a row the store may leave unanswered
	// before who waits loads by itself.
	maxUnanswered = 3
)

// loadTogether loads what is missing unless another process does, which it waits
// for then.
func (e *Engine) loadTogether(ctx context.Context, k keys.Key, p Policy, seen seenValue, load Loader) (Value, error) {
	who := strconv.FormatUint(rand.Uint64(), 36)
	w := patience{e: e, k: k}
	defer w.end()
	for {
		token := store.LoadToken(seen.Read, who)
		now, left, missing := e.claim(ctx, k, token, seen)
		if left == 0 && (missing == nil || !w.goesOn(missing)) {
			if missing == nil && !now.Live() && store.Miss(now.Read) > store.Miss(seen.Read) {
				seen = now // those who missed this must not load beside us
				continue
			}
			return e.loadHolding(ctx, k, p, token, now, missing, load)
		}
		if err := w.wait(ctx, left); err != nil {
			return Value{}, err
		}
		if now, missing = e.ask(ctx, k); missing == nil {
			if v, ok, err := e.answers(k, p, now); ok {
				return v, err
			}
			seen = now
		}
		if !w.goesOn(missing) {
			return e.loadBeside(ctx, k, p, seen, missing, load)
		}
	}
}

// loadBeside loads although another process may do so, too: where it comes to
// nothing here, for want of time or otherwise, the other may have left the value.
func (e *Engine) loadBeside(ctx context.Context, k keys.Key, p Policy, seen seenValue, missing error, load Loader) (Value, error) {
	v, err := e.loadHere(ctx, k, p, seen, missing, load)
	if err == nil {
		return v, nil
	}
	if now, missing := e.ask(context.WithoutCancel(ctx), k); missing == nil {
		if v, err := e.read(k, now, p); err == nil && v.Found {
			return v, nil
		}
	}
	return Value{}, err
}

// claim asks for the lease, and where it is not another's reads the key once more,
// within one budget: who had it before may have left the value. A left above zero
// is what another's lease has left. Missing says that the store cannot be asked; one
// that only refuses leases is not waited for.
func (e *Engine) claim(ctx context.Context, k keys.Key, token string, seen seenValue) (now seenValue, left time.Duration, missing error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	held, left, err := e.leaser.LeaseLoad(ctx, k, token, e.leaseLife())
	switch {
	case err == nil && !held:
		return seen, max(left, time.Millisecond), nil
	case err != nil && away(err):
		return seen, 0, err
	}
	now, missing = e.ask(ctx, k)
	return now, 0, missing
}

// loadHolding loads under a lease, or where it may be held, unless the value came
// before it.
func (e *Engine) loadHolding(ctx context.Context, k keys.Key, p Policy, token string, now seenValue, missing error, load Loader) (Value, error) {
	defer e.keepLease(ctx, k, token)()
	if missing == nil {
		if v, ok, err := e.answers(k, p, now); ok {
			return v, err
		}
	}
	return e.loadHere(ctx, k, p, now, missing, load)
}

// ask is seen for one who asks on behalf of a caller who has asked: the store
// itself, and not counted.
func (e *Engine) ask(ctx context.Context, k keys.Key) (r seenValue, err error) {
	ctx, cancel := context.WithTimeout(e.withoutSpan(ctx), e.cfg.Timeout)
	defer cancel()
	return e.asked(ctx, k, false)
}

// patience is that of one who waits for the load of another process.
type patience struct {
	e          *Engine
	k          keys.Key
	began      time.Time // zero: nobody was waited for yet
	woken      <-chan struct{}
	cancel     func()
	unanswered int // questions in a row
}

// wait returns when it is time to ask again.
func (w *patience) wait(ctx context.Context, left time.Duration) error {
	if w.began.IsZero() {
		w.began = time.Now()
		w.woken, w.cancel = w.e.wake.wait(w.k.String())
	}
	poll := min(max(time.Since(w.began)/pollShare, firstPoll), lastPoll)
	if left > 0 {
		poll = min(poll, left)
	}
	timer := time.NewTimer(poll)
	defer timer.Stop()
	select {
	case <-w.woken:
	case <-timer.C:
	case <-w.e.stop:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("another process loads it: %w", ctx.Err())
	}
	return nil
}

// goesOn reports whether one who has waited waits on, after a question that was
// answered with err.
func (w *patience) goesOn(err error) bool {
	switch {
	case w.began.IsZero():
		return false
	case err == nil:
		w.unanswered = 0
	case !away(err):
		return false
	default:
		w.unanswered++
	}
	return w.unanswered < maxUnanswered && time.Since(w.began) < w.e.cfg.LoadTimeout/2
}

func (w *patience) end() {
	if w.cancel != nil {
		w.cancel()
	}
}
