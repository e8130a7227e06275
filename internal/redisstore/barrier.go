package redisstore

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// Who has raised a generation writes a barrier after it, a key on the same
// server. Its change comes to each listener behind that of the generation, on the
// same connection, and each answers by a key of its own. Who does not answer has
// no proof any more, once its bound has passed since the generation was raised,
// that is from before.

const (
	// barrierTTL is the life of barriers and of answers to them.
	barrierTTL = 10 * time.Second
	// mostHeard is how many barriers of others may wait for their answer; who is not
	// answered waits for the bound.
	mostHeard = 1024
	// boundMargin is added to the bounds of others: their clocks run a little
	// differently.
	boundMargin = 10 * time.Millisecond
	// answerSoon and answerLate bound the time between two looks for answers.
	answerSoon, answerLate = 250 * time.Microsecond, 20 * time.Millisecond
	// listPatience is how long the list is asked for, and listPause the time between.
	listPatience, listPause = time.Second, 20 * time.Millisecond
)

// AwaitSeen implements store.Tracked.
func (s *Store) AwaitSeen(ctx context.Context, raised time.Time, os ...keys.Org) error {
	if len(os) == 0 {
		return nil
	}
	var all map[string]time.Time
	first := s.newWaiting(os[0])
	err := together(
		func() error { first.raise(ctx); return nil },
		func() (err error) { all, err = s.bounds(ctx, raised); return err },
	)
	if err != nil {
		return err
	}
	first.ends = maps.Clone(all)
	if err := first.wait(ctx); err != nil {
		return err
	}
	for _, o := range os[1:] {
		w := s.newWaiting(o)
		if w.ends = maps.Clone(all); !w.some(time.Now()) {
			return nil // for none of them from here on
		}
		w.raise(ctx)
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// bounds returns when no process is left that gives something as fresh that is
// older than raised, by process.
func (s *Store) bounds(ctx context.Context, raised time.Time) (map[string]time.Time, error) {
	for {
		ends, err := s.listeners(ctx, raised)
		if err == nil {
			return ends, nil
		}
		if time.Since(raised) > listPatience || !pause(ctx, listPause) {
			return nil, fmt.Errorf("%w: which there are cannot be found out: %w", store.ErrUnseen, classify(err, reading))
		}
	}
}

// waiting is for answers to a barrier.
type waiting struct {
	s       *Store
	barrier string
	raised  bool                 // it was written
	ends    map[string]time.Time // by process that has not answered: when no proof is left
	silent  bool                 // those who have not answered are suspended
	begun   time.Time            // when answers were first looked for
}

func (s *Store) newWaiting(o keys.Org) *waiting {
	return &waiting{s: s, barrier: s.opts.Space.Barrier(o, s.bootID, s.barriers.Add(1))}
}

// raise writes the barrier and takes it away in the same trip: it is told of, and
// nothing stays behind.
func (w *waiting) raise(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.s.opts.Timeout)
	defer cancel()
	err := w.s.on(ctx, w.barrier, call{"SET", 2}, func(c rueidis.Client) error {
		return c.DoMulti(ctx,
			c.B().Set().Key(w.barrier).Value("1").Px(barrierTTL).Build(),
			c.B().Del().Key(w.barrier).Build())[0].Error()
	})
	w.raised = err == nil
}

// wait returns when nobody is left to wait for.
func (w *waiting) wait(ctx context.Context) error {
	w.begun = time.Now()
	for rest := time.Duration(0); w.some(time.Now()); rest = min(max(2*rest, answerSoon), answerLate) {
		if !pause(ctx, min(rest, time.Until(w.soonest()))) {
			return fmt.Errorf("%w: %d of them have not answered: %w", store.ErrUnseen, len(w.ends), ctx.Err())
		}
		if w.look(ctx) && time.Since(w.begun) >= w.s.patience.now() {
			w.suspend()
		}
	}
	if !w.silent {
		w.s.patience.answered(time.Since(w.begun))
	}
	return nil
}

// suspend has those suspended who have not answered. Nobody waits for that.
func (w *waiting) suspend() {
	if w.silent {
		return
	}
	w.silent = true
	for id := range w.ends {
		if id != "" {
			w.s.background(func() { w.s.suspend(id) })
		}
	}
}

// some reports whether there is anybody to wait for.
func (w *waiting) some(now time.Time) bool {
	for id, end := range w.ends {
		if !now.Before(end) {
			delete(w.ends, id)
		}
	}
	return len(w.ends) > 0
}

func (w *waiting) soonest() time.Time {
	var first time.Time
	for _, end := range w.ends {
		if first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}

// look looks for answers, and reports whether that could be done: otherwise the
// bounds are waited for.
func (w *waiting) look(ctx context.Context) bool {
	if !w.raised {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, w.s.opts.Timeout)
	defer cancel()
	var ids, names []string
	for id := range w.ends {
		ids, names = append(ids, id), append(names, w.s.opts.Space.Seen(w.barrier, id))
	}
	var answers []rueidis.RedisMessage
	err := w.s.on(ctx, w.barrier, call{"MGET", 1}, func(c rueidis.Client) (err error) {
		answers, err = c.Do(ctx, c.B().Mget().Key(names...).Build()).ToArray()
		return err
	})
	if err != nil {
		return false
	}
	for i := range answers {
		if !answers[i].IsNil() {
			delete(w.ends, ids[i])
			if w.silent { // it lives
				w.s.patience.needed(time.Since(w.begun))
			}
		}
	}
	return true
}

// answer has the barriers of others answered that came by the tap, after what
// came with them was heard.
func (t *tap) answer(names []string) {
	for _, name := range names {
		if t.answers(name) {
			select {
			case t.n.s.heard <- strings.Clone(name):
			default: // who asks waits for the bound
			}
		}
	}
}

// answers reports whether a key is a barrier that is to be answered. One that does
// not come from the master that this process takes for that of the generation says
// nothing of what it gives as fresh.
func (t *tap) answers(name string) bool {
	s := t.n.s
	_, process, ok := s.opts.Space.AsBarrier(name)
	return ok && process != s.bootID && t.live.Load() && s.layout.Load().node(name) == t.n
}

// answerBarriers answers the barriers that were heard.
func (s *Store) answerBarriers() {
	for {
		select {
		case <-s.stop:
			return
		case name := <-s.heard:
			answers := []func() error{func() error { return s.answerBarrier(name) }}
			for len(s.heard) > 0 && len(answers) < 64 {
				next := <-s.heard
				answers = append(answers, func() error { return s.answerBarrier(next) })
			}
			if err := together(answers...); err != nil {
				s.opts.Logger.Debug("a barrier is not answered", "err", err)
			}
		}
	}
}

// answerBarrier answers one when the generation that was raised is known here: if
// Redis loses it before whoever raised it has restored it, what is written here
// counts as written after the invalidation all the same.
func (s *Store) answerBarrier(barrier string) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
	defer cancel()
	o, _, _ := s.opts.Space.AsBarrier(barrier)
	g, err := s.Generation(ctx, o)
	if err != nil {
		return err
	}
	s.opts.Listener.Ended(o, g)
	name := s.opts.Space.Seen(barrier, s.bootID)
	return s.on(ctx, name, call{"SET", 1}, func(c rueidis.Client) error {
		return c.Do(ctx, c.B().Set().Key(name).Value("1").Px(barrierTTL).Build()).Error()
	})
}
