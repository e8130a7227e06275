package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// A generation that is learned may be one that the store had lost, and somebody has
// restored. What was written here in between is adopted by it then, see package
// replay; until that is decided, a read must not take it for invalidated.

// learned has the generations of which that is not decided, by organisation.
type learned struct {
	m sync.Map // keys.Org → uint64
	n atomic.Int64
}

// writtenBefore is how much earlier than an invalidation the version may say that
// something was written which was written after it: clocks differ.
const writtenBefore = time.Second

// add notes a generation, before anybody acts on it.
func (l *learned) add(o keys.Org, g uint64) {
	if l.n.Load() >= maxGenerations {
		return
	}
	if _, was := l.m.Swap(o, g); !was {
		l.n.Add(1)
	}
}

// Learned returns the generations of which it is not decided whether they adopt what
// was written before they were learned.
func (e *Engine) Learned() map[keys.Org]uint64 {
	all := make(map[keys.Org]uint64)
	if e.learned.n.Load() > 0 {
		e.learned.m.Range(func(o, g any) bool {
			all[o.(keys.Org)] = g.(uint64)
			return true
		})
	}
	return all
}

// Adopted tells that generations have adopted what they had to.
func (e *Engine) Adopted(all map[keys.Org]uint64) {
	for o, g := range all {
		if e.learned.m.CompareAndDelete(o, g) {
			e.learned.n.Add(-1)
		}
	}
}

// adopted reports whether the store has to be asked again, because what this instance
// has written of a key may have been adopted since it answered with a generation. It
// waits until that is decided; an error means that ctx has ended before.
func (e *Engine) adopted(ctx context.Context, k keys.Key, begun outset) (again bool, err error) {
	if e.journal == nil {
		return false, nil
	}
	undecided := false
	if e.learned.n.Load() > 0 {
		_, undecided = e.learned.m.Load(k.Org())
	}
	if !undecided && e.restored.Load() == begun.restored {
		return false, nil
	}
	g := e.known(k.Org())
	at, told := store.Raised{Org: k.Org(), Generation: g}.At()
	if !told || !e.journal.WrittenSince(k, at.Add(-writtenBefore), g) {
		return false, nil
	}
	if undecided {
		if err := e.cfg.Journaling.Look(ctx); err != nil {
			if ctx.Err() != nil {
				return false, fmt.Errorf("%w: what was written while an invalidation was lost is looked for: %w", store.ErrUnavailable, err)
			}
			// Whether it was lost cannot be found out. It hardly was.
			return false, nil
		}
	}
	return true, nil
}
