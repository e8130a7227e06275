package engine

import (
	"context"
	"sync"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
)

// trips are reads of the store that are under way, each of which may be given to those
// who want the same and come later: it is as good as a copy that is not kept yet.
type trips[T any] struct {
	mu sync.Mutex
	of map[string]*trip[T] // guarded by mu: by key, the last one that was begun
}

// trip is one of them.
type trip[T any] struct {
	lease near.Lease // of before it was begun
	most  int        // how much is read
	done  chan struct{}
	got   T
	kept  bool // got counts for all; valid when done is closed
}

// join returns the trip that a read of a key shares, and false where it has to make it,
// and to end it. The lease is the one that the read has just taken.
func (ts *trips[T]) join(e *Engine, k keys.Key, l near.Lease, most int) (t *trip[T], shared bool) {
	// What waits for the store is not in what others read of it.
	alone := e.journal != nil && (e.waits(&k) || e.endings.Load() > 0 && e.isEnding(k.Org()))
	name := k.String()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.of[name]; t != nil && !alone && t.most == most && e.copies.tier.Shares(t.lease, l) {
		return t, true
	}
	if ts.of == nil {
		ts.of = make(map[string]*trip[T])
	}
	t = &trip[T]{lease: l, most: most, done: make(chan struct{})}
	ts.of[name] = t
	return t, false
}

// end tells those who share a trip what came of it, where kept says that it is what the
// store answered.
func (ts *trips[T]) end(k keys.Key, t *trip[T], got T, kept bool) {
	name := k.String()
	ts.mu.Lock()
	if ts.of[name] == t {
		delete(ts.of, name)
	}
	ts.mu.Unlock()
	t.got, t.kept = got, kept
	close(t.done)
}

// await returns what came of the trip of another; false: nothing did that counts for
// all, or ctx has ended.
func (t *trip[T]) await(ctx context.Context) (got T, kept bool) {
	select {
	case <-t.done:
		return t.got, t.kept
	case <-ctx.Done():
		return got, false
	}
}
