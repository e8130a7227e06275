package replay

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/sabotage"
	"github.com/jackcache/jackcache/internal/store"
)

// A server that loses an invalidation is given it back by an instance that knows of
// it, maybe much later. What others have written in between, and did not know of it,
// lies under a lower generation then, as if it had been invalidated. Whoever wrote it
// adopts it: applies it again, under the generation that was restored.
//
// Which that is follows from the time. While a generation is there, nothing is
// acknowledged under a lower one. So what was, and after the invalidation, was
// acknowledged when the generation was not there.

const (
	// adoptEvery is how often it is looked for generations that were restored.
	adoptEvery = time.Second
	// adoptWithin is how long one that was noted may take to be restored.
	adoptWithin = time.Minute
)

// adoption is what a Replayer knows of generations that were restored.
type adoption struct {
	asked chan chan error
	upTo  string // which were read; of the one who looks

	mu     sync.Mutex
	raised map[keys.Org]*raised // guarded by mu: the highest of each organisation
}

// raised is a generation that was restored.
type raised struct {
	store.Raised
	// due: what was written while it was missing is not adopted yet, until that time
	// if it has not been restored.
	due   bool
	until time.Time
}

func newAdoption() adoption {
	return adoption{asked: make(chan chan error), raised: make(map[keys.Org]*raised)}
}

// Look adopts what there is to adopt of the organisations whose generations were
// learned before the call. An error means that it is not known whether there is
// anything, or that it could not be done.
func (r *Replayer) Look(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case r.adoption.asked <- answer:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// adopt looks for generations that were restored, until the end.
func (r *Replayer) adopt() {
	tick := time.NewTicker(adoptEvery)
	defer tick.Stop()
	for {
		var waiting []chan error
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		case c := <-r.adoption.asked:
			waiting = append(waiting, c)
		}
		for more := true; more; {
			select {
			case c := <-r.adoption.asked:
				waiting = append(waiting, c)
			default:
				more = false
			}
		}
		learned := r.opts.Learned()
		err := r.lookForRaised()
		if err == nil {
			r.opts.Adopted(learned)
		} else if len(waiting) > 0 {
			r.counts.trouble(err)
		}
		for _, c := range waiting {
			c <- err
		}
	}
}

// lookForRaised adopts what was written while generations were missing that are there
// again.
func (r *Replayer) lookForRaised() error {
	if !r.reachable() {
		return fmt.Errorf("%w: generations that were restored cannot be looked for", store.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	all, upTo, err := r.store.Raised(ctx, r.adoption.upTo)
	cancel()
	if err != nil {
		return err
	}
	r.adoption.note(all, time.Now())
	r.adoption.upTo = upTo
	due, err := r.present(r.adoption.due())
	if len(due) > 0 {
		if failed := r.adoptAll(due); failed != nil {
			return failed
		}
		r.adoption.done(due)
	}
	return err
}

func (a *adoption) note(all []store.Raised, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range all {
		if old := a.raised[g.Org]; old == nil || old.Generation < g.Generation {
			_, told := g.At()
			a.raised[g.Org] = &raised{Raised: g, due: told, until: now.Add(adoptWithin)}
		}
	}
}

func (a *adoption) due() (due []store.Raised) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.raised {
		if g.due {
			due = append(due, g.Raised)
		}
	}
	return due
}

func (a *adoption) done(due []store.Raised) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range due {
		if now := a.raised[g.Org]; now.Raised == g {
			now.due = false
		}
	}
}

// again has it looked again what of an organisation is to be adopted, if its generation
// is one that was restored. It reports whether it is.
func (a *adoption) again(o keys.Org, g uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.raised[o]
	if now == nil || now.Generation != g {
		return false
	}
	_, now.due = now.At()
	return now.due
}

// present returns those of the generations that are the current ones. Who has noted
// one may not have restored it yet; and what is above it was an invalidation of its
// own, that ends all before it.
func (r *Replayer) present(due []store.Raised) (there []store.Raised, err error) {
	var mu sync.Mutex
	var first firstError
	each(len(due), func(i int) {
		ctx, cancel := context.WithTimeout(r.ctx, callTime)
		defer cancel()
		g, err := r.store.Generation(ctx, due[i].Org)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			first.set(err)
		case g == due[i].Generation:
			there = append(there, due[i])
		case g > due[i].Generation, r.adoption.over(due[i]):
			r.adoption.done(due[i : i+1])
		}
	})
	return there, first.get()
}

// over reports whether a generation that was noted was not restored in time.
func (a *adoption) over(g store.Raised) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Now().After(a.raised[g.Org].until)
}

// adoptAll adopts what was written while generations were missing.
func (r *Replayer) adoptAll(all []store.Raised) error {
	if sabotage.On("adopt") {
		return nil
	}
	from := r.opts.Now()
	byOrg := make(map[keys.Org]store.Raised, len(all))
	for _, g := range all {
		byOrg[g.Org] = g
		if at, _ := g.At(); at.Before(from) {
			from = at
		}
		r.opts.Observed(g.Org, store.Result{Generation: g.Generation})
	}
	// What was acknowledged under a lower one may not be recorded yet.
	if !r.settle() {
		return r.ctx.Err()
	}
	var page []*journal.Record
	adopted := 0
	apply := func() error {
		n, err := r.adoptPage(page)
		adopted += n
		page = nil
		return err
	}
	err := r.j.Scan(r.ctx, r.j.Before(from), r.j.Position(), func(rec *journal.Record) error {
		if rec.Kind != journal.Applied {
			return nil
		}
		g, ok := byOrg[rec.Op.Key.Org()]
		if at, _ := g.At(); !ok || rec.Op.Generation >= g.Generation || !rec.Time.After(at) {
			return nil
		}
		rec.Op.Generation = g.Generation
		if r.j.Holds(rec) {
			return nil
		}
		if page = append(page, rec); len(page) < batch {
			return nil
		}
		return apply()
	})
	if err == nil {
		err = apply()
	}
	if adopted > 0 {
		r.opts.Restored() // what a reader did not find is there
		r.opts.Logger.Info("what was written while an invalidation was lost counts after it", "organisations", len(all), "operations", adopted)
	}
	return err
}

// adoptPage applies records under the generation that they have now, and records that.
func (r *Replayer) adoptPage(page []*journal.Record) (adopted int, err error) {
	defer r.j.End(r.j.Begin())
	byKey := runs(page)
	var mu sync.Mutex
	var first firstError
	each(len(byKey), func(i int) {
		for _, records := range byKey[i] {
			news, err := r.adoptRun(records)
			if err == nil && len(news) > 0 {
				err = r.append(news...)
			}
			if err != nil {
				first.set(err)
				return
			}
			mu.Lock()
			adopted += len(news)
			mu.Unlock()
		}
	})
	return adopted, first.get()
}

// adoptRun applies records together, and returns what is to be recorded of them:
// nothing where they have no place any more.
func (r *Replayer) adoptRun(records run) ([]*journal.Record, error) {
	op := r.op(records)
	if over := !r.opts.Now().Before(op.ExpiresAt); over && (op.Action != store.Replace || op.Keep == 0) {
		return nil, nil
	}
	if op.Action == store.Set {
		later, err := r.later(op)
		if later || err != nil {
			return nil, err
		}
	}
	res, err := r.apply(op)
	switch {
	case poisoned(err):
		// It must not keep the others away; it stays in the journal.
		r.counts.trouble(fmt.Errorf("%s: %w", op.Key, err))
		r.counts.rejected.Add(int64(len(records)))
		return nil, nil
	case err != nil:
		return nil, err
	case res.Generation > op.Generation:
		return nil, nil // invalidated since
	case res.Status == store.Ahead:
		return nil, ahead(res)
	case res.Status != store.Applied && res.Status != store.Unchanged && res.Status != store.Superseded:
		return nil, nil
	}
	news := r.marks(records, op, res)
	for i, n := range news {
		n.Time, n.Resolves = records[i].Time, nil
	}
	return news, nil
}

// later reports whether another instance has written a value since, or deleted it, and
// did not know of the invalidation either: it adopts its own, and until then what was
// before it must not be seen.
func (r *Replayer) later(op store.Op) (bool, error) {
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	defer cancel()
	now, err := r.store.Get(ctx, op.Key)
	if err != nil {
		return false, err
	}
	return now.Found && now.Value.Generation < op.Generation && now.Value.Version.Compare(op.Version) > 0, nil
}
