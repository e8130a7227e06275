package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// A generation that is learned may be one that the store had lost, and somebody has
// restored. What was written here in between is adopted by it then, see package
// replay; until that is decided, a read must not take it for invalidated.

// learned has the organisations of which that is not decided.
type learned struct {
	m sync.Map // keys.Org → *undecided
	n atomic.Int64
}

// undecided says behind which position what was recorded may be concerned.
type undecided struct{ after journal.Position }

// recordedBefore is how much earlier than an invalidation the time in the journal may
// be of what was written after it: clocks differ.
const recordedBefore = time.Second

// errLearned: the store knew a higher generation than the operation had, and another
// try must wait for what that adopts.
var errLearned = errors.New("a generation was learned")

// add notes an organisation before anybody acts on its generation.
func (l *learned) add(o keys.Org, after journal.Position) {
	if l.n.Load() >= maxGenerations {
		return
	}
	if _, was := l.m.Swap(o, &undecided{after}); !was {
		l.n.Add(1)
	}
}

// Adopting is called before it is looked what generations adopt of what was written here.
// What it returns tells that it is decided for the organisations that were learned
// before, but for those for which it failed, and those that were added again since.
func (e *Engine) Adopting() (decided func(failed func(keys.Org) bool)) {
	if e.learned.n.Load() == 0 {
		return func(func(keys.Org) bool) {}
	}
	all := make(map[any]any)
	e.learned.m.Range(func(o, u any) bool {
		all[o] = u
		return true
	})
	return func(failed func(keys.Org) bool) {
		for o, u := range all {
			if !failed(o.(keys.Org)) && e.learned.m.CompareAndDelete(o, u) {
				e.learned.n.Add(-1)
			}
		}
	}
}

// Adopts tells that an organisation's generation is about to adopt what was written
// here, whenever that was.
func (e *Engine) Adopts(o keys.Org) { e.learned.add(o, 0) }

// adopted reports whether the store has to be asked again, because what this instance
// has written of a key may have been adopted since it answered with a generation. It
// waits until that is decided; an error means that it is not.
func (e *Engine) adopted(ctx context.Context, k keys.Key, begun outset) (again bool, err error) {
	if e.journal == nil {
		return false, nil
	}
	var u *undecided
	if e.learned.n.Load() > 0 {
		if v, ok := e.learned.m.Load(k.Org()); ok {
			u = v.(*undecided)
		}
	}
	if u == nil && e.restored.Load() == begun.restored {
		return false, nil
	}
	g := e.known(k.Org())
	after := journal.Position(0) // something was restored meanwhile
	if u != nil {
		after = u.after
	}
	// A value that was adopted since the read began has taken the place of what it was.
	if !e.journal.WrittenBelow(k, g, after) && e.journal.Latest(k, g, e.cfg.Clock.Time()).Position <= begun.at {
		return false, nil
	}
	if u == nil {
		return true, nil
	}
	switch err := e.cfg.Journaling.Look(ctx, k.Org()); {
	case err == nil:
		return true, nil
	case errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil:
		return false, nil // whether it was lost cannot be found out; it hardly was
	default:
		return false, fmt.Errorf("%w: what was written while an invalidation was lost is being applied: %w", store.ErrUnavailable, err)
	}
}
