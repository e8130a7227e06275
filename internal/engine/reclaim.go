package engine

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// reclaimAfter is the time in which organisations are gathered that one scan is
	// for, and reclaimAgain the time after which one that failed is repeated.
	reclaimAfter = 2 * time.Second
	reclaimAgain = 10 * time.Second
	// mostQueued bounds the organisations that wait. What those beyond it took is
	// given back as lives end.
	mostQueued = 10_000
)

// reclaimer gives back in the background what invalidated organisations took in
// the store. What it does not get to, because it fails or the process ends, goes
// as lives end.
type reclaimer struct {
	store store.Reclaimer // nil: nothing is reclaimed
	kick  chan struct{}

	mu     sync.Mutex
	queued map[keys.Org]bool // guarded by mu
	taken  int               // guarded by mu: organisations that a scan is under way for

	removed, looked, scans, dropped atomic.Uint64
}

// Reclaiming tells of what is given back to the store in the background.
type Reclaiming struct {
	Queued                          int // organisations
	Removed, Looked, Scans, Dropped uint64
}

func (e *Engine) openReclaim() {
	if e.cfg.ReclaimRate <= 0 {
		return
	}
	r := &e.reclaims
	if r.store = store.ReclaimerOf(e.cfg.Store); r.store == nil {
		return
	}
	r.kick, r.queued = make(chan struct{}, 1), make(map[keys.Org]bool)
	e.done.Add(1)
	go e.reclaimAll()
}

// Reclaim has the space given back, some time later, that an organisation takes in
// the store below its generation. It does not wait.
func (e *Engine) Reclaim(o keys.Org) {
	if e.reclaims.store != nil {
		e.reclaims.add(o)
	}
}

// Reclaims tells what became of that since the start; false: it is off, or the
// store does it by itself.
func (e *Engine) Reclaims() (Reclaiming, bool) {
	r := &e.reclaims
	if r.store == nil {
		return Reclaiming{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return Reclaiming{
		Queued: len(r.queued) + r.taken, Removed: r.removed.Load(), Looked: r.looked.Load(),
		Scans: r.scans.Load(), Dropped: r.dropped.Load(),
	}, true
}

func (r *reclaimer) add(os ...keys.Org) {
	r.mu.Lock()
	for _, o := range os {
		if len(r.queued) >= mostQueued && !r.queued[o] {
			r.dropped.Add(1)
			continue
		}
		r.queued[o] = true
	}
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default: // it is known
	}
}

// take returns those that wait. Who is invalidated from here on waits for the next
// scan: this one may have passed.
func (r *reclaimer) take() []keys.Org {
	r.mu.Lock()
	defer r.mu.Unlock()
	os := slices.Collect(maps.Keys(r.queued))
	clear(r.queued)
	r.taken = len(os)
	return os
}

func (r *reclaimer) put() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = 0
}

// reclaimAll reclaims until the engine is closed.
func (e *Engine) reclaimAll() {
	defer e.done.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e.done.Add(1)
	go func() { defer e.done.Done(); <-e.stop; cancel() }()
	for wait := reclaimAfter; ; {
		select {
		case <-e.stop:
			return
		case <-e.reclaims.kick:
		}
		select {
		case <-e.stop:
			return
		case <-time.After(wait):
		}
		wait = reclaimAfter
		if !e.reclaimOnce(ctx) {
			wait = reclaimAgain
		}
	}
}

// reclaimOnce scans for all organisations that wait, and reports whether it could.
func (e *Engine) reclaimOnce(ctx context.Context) bool {
	r := &e.reclaims
	all := r.take()
	defer r.put()
	ready, later := all[:0:0], all[:0:0]
	for _, o := range all {
		if e.journal != nil && e.isEnding(o) { // the store does not know of it yet
			later = append(later, o)
		} else {
			ready = append(ready, o)
		}
	}
	began := time.Now()
	did, err := r.store.Reclaim(ctx, ready, e.cfg.ReclaimRate)
	r.removed.Add(uint64(did.Removed))
	r.looked.Add(uint64(did.Looked))
	if err != nil {
		if ctx.Err() == nil {
			e.cfg.Logger.Debug("what invalidated organisations took is not given back yet", "organisations", len(ready), "err", err)
		}
		later = all
	} else if len(ready) > 0 {
		r.scans.Add(1)
		e.cfg.Logger.Info("what invalidated organisations took in the store is given back", "organisations", len(ready),
			"removed", did.Removed, "looked", did.Looked, "took", time.Since(began).Round(time.Millisecond).String())
	}
	if len(later) > 0 {
		r.add(later...)
	}
	return len(later) == 0
}
