package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// mostRefreshes bounds the refreshes that wait, and refreshers those that are
	// under way.
	mostRefreshes = 1024
	refreshers    = 4
	// A refresh of a copy that was of no avail is tried again after againPart of the
	// TTL, at most againLatest: until the copy is read anew.
	againPart   = 16
	againLatest = 5 * time.Second
	// soon is a difference of two lives that may come from how they are measured.
	soon = 2 * time.Millisecond
)

// Refreshes counts what reads ask for longer lives since the start.
type Refreshes struct {
	// Done were answered by the store. Dropped were not, or never sent: nobody tries
	// again but who reads next.
	Done, Dropped uint64
}

// refreshes are on their way to the store, behind the reads that want them.
type refreshes struct {
	ctx  context.Context // of the calls
	stop context.CancelFunc

	mu      sync.Mutex
	waiting []refresh         // guarded by mu
	known   map[keys.Key]bool // guarded by mu: waiting, or under way
	running int               // guarded by mu: how many refreshers there are

	done, dropped atomic.Uint64
}

// refresh is one of them.
type refresh struct {
	store.Refresh
	copy   *Copy // that was read; nil: there is none
	policy Policy
}

func (r *refreshes) open() {
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.known = make(map[keys.Key]bool)
}

// Refreshes returns the counters.
func (e *Engine) Refreshes() Refreshes {
	return Refreshes{Done: e.refreshes.done.Load(), Dropped: e.refreshes.dropped.Load()}
}

// closeRefreshes waits for what is on its way, but no longer than for one call.
func (e *Engine) closeRefreshes() {
	late := time.AfterFunc(e.cfg.Timeout, e.refreshes.stop)
	defer late.Stop()
	e.keepers.close()
	e.refreshes.stop()
}

// wasRead prolongs the life of a value that the store gave, behind the read, if a
// good part of it has passed. The copy, if there is one, knows then when it is to be
// prolonged the next time.
func (e *Engine) wasRead(k keys.Key, p Policy, r seenValue, v *Value) {
	if !p.Sliding || p.LocalOnly || !v.Found || r.source != FromShared || r.Left <= 0 {
		return
	}
	in, ever := e.dueIn(p, v.Version, r.Left)
	if v.Copy != nil {
		v.Copy.dueIn(in, ever)
	}
	if ever && in <= 0 {
		if v.Copy != nil {
			v.Copy.dueIn(again(p), true)
		}
		e.refresh(k, p, v.Version, v.Copy)
	}
}

// touch is wasRead for a copy: in nearly all cases it compares two numbers.
func (e *Engine) touch(k *keys.Key, p *Policy, c *Copy) {
	due := c.due.Load()
	if due == 0 {
		return
	}
	now := store.Now()
	if now < due || !c.due.CompareAndSwap(due, now+int64(again(*p))) {
		return
	}
	e.refresh(*k, *p, c.value.Version, c)
}

// dueIn sets when the copy is to be prolonged.
func (c *Copy) dueIn(in time.Duration, ever bool) {
	if ever {
		c.due.Store(store.Now() + int64(in))
	} else {
		c.due.Store(0)
	}
}

func again(p Policy) time.Duration { return min(p.TTL/againPart, againLatest) }

// dueIn returns when a life of which so much is left is to be prolonged; ever is
// false where it ends as late as it may.
func (e *Engine) dueIn(p Policy, v clock.Version, left time.Duration) (in time.Duration, ever bool) {
	if until := lifeEnds(p, v); !until.IsZero() && until.Sub(e.cfg.Clock.Time()) <= left+soon {
		return 0, false
	}
	return left - (p.TTL - p.TTL/store.RefreshPart), true
}

// lifeEnds is when the life of what was written under a version ends, however often
// it is read; zero: that is not known.
func lifeEnds(p Policy, v clock.Version) time.Time {
	if at := v.WrittenAt(); !at.IsZero() {
		return at.Add(p.MaxLife)
	}
	return time.Time{}
}

// refresh has a refresh sent, unless one of the key is on its way.
func (e *Engine) refresh(k keys.Key, p Policy, v clock.Version, c *Copy) {
	job := refresh{copy: c, policy: p, Refresh: store.Refresh{
		Key: k, Version: v, Generation: e.known(k.Org()), TTL: p.TTL, Until: lifeEnds(p, v),
	}}
	r := &e.refreshes
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.known[k]:
		return
	case len(r.waiting) >= mostRefreshes:
		r.dropped.Add(1)
		return
	case r.running < refreshers:
		if !e.keepers.start(e.sendRefreshes) {
			r.dropped.Add(1)
			return
		}
		r.running++
	}
	r.known[k] = true
	r.waiting = append(r.waiting, job)
}

// sendRefreshes sends what waits until nothing does.
func (e *Engine) sendRefreshes() {
	r := &e.refreshes
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.running--
			r.waiting = nil
			r.mu.Unlock()
			return
		}
		job := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
		e.sendRefresh(job)
		r.mu.Lock()
		delete(r.known, job.Key)
		r.mu.Unlock()
	}
}

// sendRefresh sends one. What fails is not kept: who reads next asks again.
func (e *Engine) sendRefresh(job refresh) {
	ctx, cancel := context.WithTimeout(e.refreshes.ctx, e.cfg.Timeout)
	defer cancel()
	left, err := e.cfg.Store.Refresh(ctx, job.Refresh)
	if err != nil {
		e.refreshes.dropped.Add(1)
		return
	}
	e.refreshes.done.Add(1)
	if job.copy != nil && left > 0 {
		job.copy.dueIn(e.dueIn(job.policy, job.Version, left))
	}
}
