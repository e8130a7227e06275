package replay

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
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
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return
	case !r.started && !s.Confirmed && r.j.Stats().Records == 0:
		s.Done() // nobody has written yet
		return
	case !r.started:
		r.early = append(r.early, s)
		return
	}
	r.done.Go(func() { r.restore(s) })
}

// restore applies again what was acknowledged after the last sign that the server
// had everything.
func (r *Replayer) restore(s store.Suspicion) {
	begun := time.Now()
	if r.j.Stats().Records > 0 {
		r.restoring(1)
		defer r.restoring(-1)
	}
	// Somebody may have been answered by the server as it was, and not have
	// recorded it yet.
	if !r.settle() {
		return
	}
	to := r.j.Position()
	if !s.Confirmed && (to <= s.From || r.j.Stats().Records == 0) {
		s.Done() // nothing was acknowledged after it
		return
	}
	r.counts.suspected.Add(1)
	if s.Confirmed {
		r.counts.confirmed.Add(1)
	}
	job := &restoration{Replayer: r, s: s, from: s.From, to: to, over: make(map[keys.Key]bool)}
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
	restored := job.applied > 0 || s.Confirmed
	if restored {
		r.opts.Restored() // first: who sees that the doubt is over sees this, too
	}
	s.Done()
	r.done.Go(job.lookAgain)
	if restored {
		r.opts.Logger.Info("what redis may have lost was applied again", "addr", s.Server, "reason", s.Reason,
			"confirmed", s.Confirmed, "operations", job.applied, "took", time.Since(begun).Round(time.Millisecond).String())
	}
}

// settle waits until what was answered is recorded, one restoration after the
// other. It reports false where the Replayer was closed.
func (r *Replayer) settle() bool {
	select {
	case r.settling <- struct{}{}:
	case <-r.ctx.Done():
		return false
	}
	defer func() { <-r.settling }()
	return r.j.Settle(r.ctx) == nil
}

// restoring counts a restoration, and its end.
func (r *Replayer) restoring(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restores += n
}

// restoration is one server's.
type restoration struct {
	*Replayer
	s store.Suspicion
	// from is up to where everything is applied. Should the server lose that again,
	// another suspicion follows.
	from, to journal.Position
	applied  int64

	mu sync.Mutex
	// late has what the server does not take yet, because its clock is behind.
	late []*journal.Record // guarded by mu
	// over has conversations whose life is over as far as this instance knows.
	// Others may have prolonged it.
	over map[keys.Key]bool // guarded by mu
}

// prolongedAfter is when it is looked again whether others have brought back
// conversations of which this instance has a part.
const prolongedAfter = 5 * time.Second

// run goes through the rest of the journal.
func (w *restoration) run() error {
	if err := w.raiseAll(); err != nil {
		return err
	}
	page := make([]*journal.Record, 0, batch)
	read := 0
	err := w.j.Scan(w.ctx, w.from, w.to, func(rec *journal.Record) error {
		if read++; read%together == 0 {
			runtime.Gosched() // those who are served go first
		}
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
	if err == nil {
		err = w.applyLate()
	}
	if err == nil {
		err = w.applyOver()
	}
	return err
}

// applyLate applies what the server's clock was behind for, when it is not any
// more.
func (w *restoration) applyLate() error {
	late := w.late
	w.late = nil
	return w.insist(len(late), func(i int) error {
		op := w.again(late[i])
		if op.Action == store.Set && !w.opts.Now().Before(op.ExpiresAt) {
			return nil
		}
		res, err := w.apply(op, 1)
		if err == nil {
			err = ahead(res)
		}
		if poisoned(err) {
			return nil
		}
		return err
	})
}

// applyOver applies the parts of conversations that are alive on the server.
func (w *restoration) applyOver() error {
	all := slices.Collect(maps.Keys(w.over))
	return w.insist(len(all), func(i int) error {
		if err := w.pace.question(w.ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(w.ctx, callTime)
		defer cancel()
		_, _, exists, err := w.store.Bounds(ctx, all[i])
		if err != nil || !exists {
			return err
		}
		rs, err := w.j.Known(all[i])
		if err != nil {
			return err
		}
		for _, rec := range rs {
			if rec.Kind != journal.Applied || sabotage.On("floor") {
				continue
			}
			if _, err := w.apply(w.again(rec), 1); err != nil && !poisoned(err) {
				return err
			}
		}
		return nil
	})
}

// lookAgain is for those that another instance restores meanwhile.
func (w *restoration) lookAgain() {
	if len(w.over) == 0 || !w.pause(prolongedAfter) {
		return
	}
	if err := w.applyOver(); err != nil {
		w.counts.trouble(err)
	}
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
	return w.insist(len(orgs), func(i int) error {
		if err := w.pace.question(w.ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(w.ctx, callTime)
		defer cancel()
		g, err := w.store.RaiseGeneration(ctx, orgs[i], all[orgs[i]])
		if err == nil {
			w.opts.Observed(orgs[i], store.Result{Generation: g})
		}
		return err
	})
}

// wanted reports whether a record has to be applied again.
func (w *restoration) wanted(rec *journal.Record) bool {
	if rec.Kind != journal.Applied || !w.s.Covers(rec.Op.Key.String()) {
		return false
	}
	if w.ends(rec) && rec.Op.Action != store.Replace {
		return false // invalidated since
	}
	if sabotage.On("floor") {
		return rec.Op.Action != store.Replace
	}
	return w.j.Newest(rec)
}

// ends reports whether a record is of a lower generation than the one that is known. If
// it was written after the invalidation that led to that, it was acknowledged by a server
// that did not have it, and is adopted.
func (w *restoration) ends(rec *journal.Record) bool {
	o := rec.Op.Key.Org()
	g := w.opts.Known(o)
	if w.s.Confirmed && after(rec, store.Raised{Org: o, Generation: g}) {
		w.adoption.lost(o, g)
		w.opts.Adopts(o)
	}
	return rec.Op.Generation < g
}

func (w *restoration) applyPage(page []*journal.Record) error {
	byKey := runs(page)
	done := make([]int, len(byKey)) // runs of each key that are applied
	err := w.insist(len(byKey), func(i int) error {
		for ; done[i] < len(byKey[i]); done[i]++ {
			if err := w.applyAgain(byKey[i][done[i]]); err != nil {
				return err
			}
		}
		return nil
	})
	for _, rec := range page {
		w.ends(rec) // another one may have restored a generation meanwhile
	}
	if err == nil && len(page) > 0 {
		w.applied += int64(len(page))
		w.from = page[len(page)-1].Position
	}
	return err
}

// applyAgain applies records together.
func (w *restoration) applyAgain(records run) error {
	op := w.op(records)
	if over := !w.opts.Now().Before(op.ExpiresAt); over && (op.Action != store.Replace || op.Keep == 0) {
		w.passed(op)
		return nil
	}
	res, err := w.apply(op, len(records))
	switch {
	case poisoned(err):
		// What is refused for good must not keep the others away. It stays in the
		// journal.
		w.counts.trouble(fmt.Errorf("%s: %w", op.Key, err))
		w.counts.rejected.Add(int64(len(records)))
		return nil
	case err != nil:
		return err
	case res.Status == store.Ahead:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.late = append(w.late, records...)
	case res.Status == store.Expired:
		w.passed(op)
	}
	return nil
}

// passed notes a conversation whose life is over here.
func (w *restoration) passed(op store.Op) {
	if op.Action == store.Set {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over[op.Key] = true
}

// insist calls f with each of n numbers until it has succeeded with all, with a
// pause after a failure. Its error is that of the Replayer's end.
func (w *restoration) insist(n int, f func(i int) error) error {
	left := make([]int, n)
	for i := range left {
		left[i] = i
	}
	for wait := retryFirst; len(left) > 0; wait = min(2*wait, retryMost) {
		failed, err := try(left, f)
		if err == nil {
			return nil
		}
		w.counts.trouble(err)
		if len(failed) < len(left) {
			wait = retryFirst
		}
		left = failed
		if !w.pause(wait) {
			return w.ctx.Err()
		}
	}
	return nil
}

// try calls f with numbers until the first error, and returns those that it did
// not succeed with.
func try(numbers []int, f func(i int) error) (failed []int, err error) {
	var first firstError
	var mu sync.Mutex
	each(len(numbers), func(i int) {
		if first.get() == nil {
			err := f(numbers[i])
			if err == nil {
				return
			}
			first.set(err)
		}
		mu.Lock()
		defer mu.Unlock()
		failed = append(failed, numbers[i])
	})
	return failed, first.get()
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
