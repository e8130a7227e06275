package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/sabotage"
	"github.com/jackcache/jackcache/internal/store"
)

// batch is how many records are read before they are applied.
const batch = 1024

// Suspect implements store.Witness: what a server may have lost is applied again.
func (r *Replayer) Suspect(s store.Suspicion) {
	if !s.Confirmed && (r.j.Position() <= s.From || r.j.Stats().Records == 0) {
		s.Done() // nothing was acknowledged after it
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return
	case !r.started:
		r.early = append(r.early, s)
		return
	}
	r.counts.suspected.Add(1)
	if s.Confirmed {
		r.counts.confirmed.Add(1)
	}
	r.restores++
	r.done.Go(func() {
		r.restore(s)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.restores--
	})
}

// restore applies again what was acknowledged after the last sign that the server
// had everything.
func (r *Replayer) restore(s store.Suspicion) {
	begun, to := time.Now(), r.j.Position()
	job := &restoration{Replayer: r, s: s, from: s.From, to: to}
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := job.run()
		if err == nil {
			break
		}
		r.counts.trouble(err)
		if !r.pause(wait) {
			return
		}
	}
	s.Done()
	if job.applied > 0 || s.Confirmed {
		r.opts.Logger.Info("what redis may have lost was applied again", "addr", s.Server, "reason", s.Reason,
			"confirmed", s.Confirmed, "operations", job.applied, "took", time.Since(begun).Round(time.Millisecond).String())
	}
}

// restoration is one server's.
type restoration struct {
	*Replayer
	s store.Suspicion
	// from is up to where everything is applied. Should the server lose that again,
	// another suspicion follows.
	from, to journal.Position
	applied  int64
}

// run goes through the rest of the journal.
func (w *restoration) run() error {
	if err := w.raiseAll(); err != nil {
		return err
	}
	page := make([]*journal.Record, 0, batch)
	err := w.j.Scan(w.ctx, w.from, w.to, func(rec *journal.Record) error {
		if !w.wanted(rec) {
			return nil
		}
		if page = append(page, rec); len(page) < batch {
			return nil
		}
		err := w.applyPage(page)
		page = make([]*journal.Record, 0, batch)
		return err
	})
	if err == nil {
		err = w.applyPage(page)
	}
	return err
}

// raiseAll raises the generations first: nothing that was invalidated may be seen
// while the rest is applied.
func (w *restoration) raiseAll() error {
	all := make(map[keys.Org]uint64)
	if w.s.From == 0 {
		all = w.j.Generations()
	} else {
		err := w.j.Scan(w.ctx, w.s.From, w.to, func(rec *journal.Record) error {
			if rec.Kind == journal.Generation {
				all[rec.Org] = max(all[rec.Org], rec.Generation)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	var orgs []keys.Org
	for o, g := range all {
		if g > 0 && w.s.Covers(w.opts.Space.Generation(o)) {
			orgs = append(orgs, o)
		}
	}
	var first firstError
	each(len(orgs), func(i int) {
		if first.get() != nil || w.limit.Wait(w.ctx) != nil {
			return
		}
		ctx, cancel := context.WithTimeout(w.ctx, callTime)
		defer cancel()
		g, err := w.store.RaiseGeneration(ctx, orgs[i], all[orgs[i]])
		if err == nil {
			w.opts.Observed(orgs[i], store.Result{Generation: g})
		}
		first.set(err)
	})
	return first.get()
}

// wanted reports whether a record has to be applied again.
func (w *restoration) wanted(rec *journal.Record) bool {
	if rec.Kind != journal.Applied || !w.s.Covers(rec.Op.Key.String()) {
		return false
	}
	if rec.Op.Generation < w.opts.Known(rec.Op.Key.Org()) && rec.Op.Action != store.Replace {
		return false // invalidated since
	}
	if sabotage.On("floor") {
		return rec.Op.Action != store.Replace
	}
	return w.j.Newest(rec)
}

func (w *restoration) applyPage(page []*journal.Record) error {
	var first firstError
	now := w.opts.Now()
	each(len(page), func(i int) {
		op := w.again(page[i])
		if first.get() != nil || !now.Before(op.ExpiresAt) {
			return
		}
		_, err := w.apply(op)
		if errors.Is(err, store.ErrRejected) && !errors.Is(err, store.ErrFull) && !systemic(err) {
			// One record that is refused for good must not keep the others away. It
			// stays in the journal.
			w.counts.trouble(fmt.Errorf("%s: %w", op.Key, err))
			w.counts.rejected.Add(1)
			return
		}
		first.set(err)
	})
	if err := first.get(); err != nil {
		return err
	}
	if len(page) > 0 {
		w.applied += int64(len(page))
		w.from = page[len(page)-1].Position
	}
	return nil
}

// firstError keeps the first of several errors.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
