package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	// adoptSoon is the time between two looks for somebody who waits for a generation
	// that is about to be restored.
	adoptSoon = 5 * time.Millisecond
	// adoptWithin is how long one that was noted may take to be restored.
	adoptWithin = time.Minute
	// adoptRest is for how many times as long as reading the journal took it is not
	// read again, at most for adoptRestMost.
	adoptRest     = 4
	adoptRestMost = 5 * time.Second
	// adoptLate is the longest pause after a failure.
	adoptLate = 5 * time.Second
	// mostRaised is how many generations that have adopted what they had to are
	// remembered.
	mostRaised = 100_000
	// notesAgain is for how long a note is read again: after a failover their numbers
	// come from another server's clock.
	notesAgain = 10 * time.Second
)

var (
	// errResting: it was tried a moment ago.
	errResting = errors.New("it is tried again in a moment")
	// errMissing: who has noted a generation has not restored it yet.
	errMissing = errors.New("its generation is not there yet")
)

// adoption is what a Replayer knows of generations that were restored.
type adoption struct {
	asked chan look
	last  uint64    // the highest number of a note; of the one who looks
	rests time.Time // until then the journal is not read; of the one who looks

	mu     sync.Mutex
	raised map[keys.Org]*raised // guarded by mu: the highest of each organisation
	number uint64               // guarded by mu: the last that was given
}

// raised is a generation that was restored.
type raised struct {
	store.Raised
	// due is not zero where what was written while it was missing is not adopted yet.
	due     uint64
	until   time.Time     // when it has to be restored, or it is none
	retry   time.Time     // until then it is not tried again
	backoff time.Duration // before the next try
}

// look is somebody who waits for what an organisation's generation adopts.
type look struct {
	ctx    context.Context // of who waits
	org    keys.Org
	answer chan error
}

func newAdoption() adoption {
	return adoption{asked: make(chan look), raised: make(map[keys.Org]*raised)}
}

// Look adopts what there is to adopt of an organisation whose generation was learned
// before the call. ErrUnavailable: whether there is anything cannot be found out. With
// any other error there is something, or may be, and it is tried again.
func (r *Replayer) Look(ctx context.Context, o keys.Org) error {
	l := look{ctx, o, make(chan error, 1)}
	select {
	case r.adoption.asked <- l:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	select {
	case err := <-l.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// adopt looks for generations that were restored, until the end.
func (r *Replayer) adopt() {
	tick := time.NewTicker(adoptEvery)
	defer tick.Stop()
	var waiting []look
	for {
		var soon <-chan time.Time
		if len(waiting) > 0 {
			soon = time.After(adoptSoon)
		}
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		case <-soon:
		case l := <-r.adoption.asked:
			waiting = append(waiting, l)
		}
		for more := true; more; {
			select {
			case l := <-r.adoption.asked:
				waiting = append(waiting, l)
			default:
				more = false
			}
		}
		decided := r.opts.Adopting()
		failed, err := r.lookForRaised()
		if err == nil {
			decided(func(o keys.Org) bool { return failed[o] != nil })
		}
		waiting = slices.DeleteFunc(waiting, func(l look) bool {
			switch at := failed[l.org]; {
			case err != nil:
				l.answer <- err
			case errors.Is(at, errMissing) && l.ctx.Err() == nil:
				return false
			case at != nil:
				l.answer <- fmt.Errorf("not yet: %v", at) // there is something to adopt: no ErrUnavailable
			default:
				l.answer <- nil
			}
			return true
		})
	}
}

// lookForRaised adopts what was written while generations were missing that are there
// again. It returns the organisations for which that failed, or why it is not known
// which there are.
func (r *Replayer) lookForRaised() (failed map[keys.Org]error, err error) {
	if !r.reachable() {
		return nil, fmt.Errorf("%w: generations that were restored cannot be looked for", store.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	all, err := r.store.Raised(ctx, min(r.adoption.last, uint64(r.opts.Now().Add(-notesAgain).UnixMicro())))
	cancel()
	if err != nil {
		return nil, fmt.Errorf("%w: generations that were restored: %v", store.ErrUnavailable, err)
	}
	r.adoption.note(all, time.Now())
	failed = make(map[keys.Org]error)
	due, unread := r.present(r.adoption.due(time.Now(), failed), failed)
	switch {
	case len(due) == 0:
	case time.Now().Before(r.adoption.rests):
		for _, g := range due {
			failed[g.Org] = errResting
		}
		due = nil
	default:
		took := r.adoptAll(due, failed)
		r.adoption.rests = time.Now().Add(min(adoptRest*took, adoptRestMost))
	}
	r.adoption.done(append(due, unread...), failed)
	for o, err := range failed {
		if !errors.Is(err, errResting) && !errors.Is(err, errMissing) {
			r.counts.trouble(fmt.Errorf("what was written to %s while an invalidation was lost: %w", o, err))
		}
	}
	return failed, nil
}

// note remembers generations that were raised. A number above that of a former note says
// that one was lost again.
func (a *adoption) note(all []store.Raised, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.raised) > mostRaised {
		maps.DeleteFunc(a.raised, func(_ keys.Org, g *raised) bool { return g.due == 0 && now.After(g.until) })
	}
	for _, g := range all {
		a.last = max(a.last, g.Note)
		if old := a.raised[g.Org]; old == nil || old.Generation < g.Generation || old.Generation == g.Generation && old.Note != g.Note {
			a.raised[g.Org] = &raised{Raised: g, until: now.Add(adoptWithin)}
			a.dueLocked(g.Org)
		}
	}
}

// dueLocked notes that something of an organisation is to be adopted, if its generation
// tells what.
func (a *adoption) dueLocked(o keys.Org) bool {
	_, told := a.raised[o].At()
	if told {
		a.number++
		a.raised[o].due = a.number
	}
	return told
}

// due returns what is to be tried now; failed gets the others that are due.
func (a *adoption) due(now time.Time, failed map[keys.Org]error) (due []raised) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for o, g := range a.raised {
		switch {
		case g.due == 0:
		case now.Before(g.retry):
			failed[o] = errResting
		default:
			due = append(due, *g)
		}
	}
	return due
}

// done notes what is adopted, or that nothing is to be; what failed is tried again.
func (a *adoption) done(due []raised, failed map[keys.Org]error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range due {
		now := a.raised[g.Org]
		switch {
		case now == nil:
		case failed[g.Org] != nil:
			now.backoff = min(max(2*now.backoff, adoptEvery), adoptLate)
			now.retry = time.Now().Add(now.backoff)
		case now.due == g.due:
			now.due, now.backoff = 0, 0
		}
	}
}

// busy reports whether something is due.
func (a *adoption) busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.raised {
		if g.due != 0 {
			return true
		}
	}
	return false
}

// again has it looked again what of an organisation is to be adopted, if its generation
// is one that was restored. It reports whether it is.
func (a *adoption) again(o keys.Org, g uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.raised[o]
	return now != nil && now.Generation == g && a.dueLocked(o)
}

// lost has what was written while a generation was missing adopted: a server that had
// acknowledged it has lost something, so it may have been another one than that of the
// generation.
func (a *adoption) lost(o keys.Org, g uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.raised[o]; old == nil || old.Generation < g {
		a.raised[o] = &raised{Raised: store.Raised{Org: o, Generation: g}, until: time.Now().Add(adoptWithin)}
	}
	if a.raised[o].Generation == g {
		a.dueLocked(o)
	}
}

// present returns those of the generations that are the current ones. Who has noted
// one may not have restored it yet; and what is above it was an invalidation of its
// own, that ends all before it. unread are those that could not be asked for.
func (r *Replayer) present(due []raised, failed map[keys.Org]error) (there, unread []raised) {
	var mu sync.Mutex
	var over []raised
	each(len(due), func(i int) {
		g, err := r.generationOf(due[i].Org)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			failed[due[i].Org] = err
			unread = append(unread, due[i])
		case g == due[i].Generation:
			there = append(there, due[i])
		case g > due[i].Generation, time.Now().After(due[i].until):
			over = append(over, due[i])
		default:
			failed[due[i].Org] = errMissing
		}
	})
	r.adoption.done(over, nil)
	return there, unread
}

func (r *Replayer) generationOf(o keys.Org) (uint64, error) {
	if err := r.pace.question(r.ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	defer cancel()
	return r.store.Generation(ctx, o)
}

// adoptAll adopts what was written while generations were missing. It returns how long
// reading the journal took.
func (r *Replayer) adoptAll(all []raised, failed map[keys.Org]error) (took time.Duration) {
	if sabotage.On("adopt") {
		return 0
	}
	from := r.opts.Now()
	byOrg := make(map[keys.Org]raised, len(all))
	for _, g := range all {
		byOrg[g.Org] = g
		if at, _ := g.At(); at.Before(from) {
			from = at
		}
		r.opts.Observed(g.Org, store.Result{Generation: g.Generation})
	}
	fail := func(err error) {
		for _, g := range all {
			failed[g.Org] = err
		}
	}
	// What was acknowledged under a lower one may not be recorded yet.
	if !r.settle() {
		fail(r.ctx.Err())
		return 0
	}
	var page []*journal.Record
	adopted, begun := 0, time.Now()
	applying := time.Duration(0)
	apply := func() {
		begun := time.Now()
		adopted += r.adoptPage(page, failed)
		applying += time.Since(begun)
		page = nil
	}
	err := r.j.Scan(r.ctx, r.j.Before(from), r.j.Position(), func(rec *journal.Record) error {
		if rec.Kind != journal.Applied {
			return nil
		}
		g, ok := byOrg[rec.Op.Key.Org()]
		if !ok || !after(rec, g.Raised) || r.j.Holds(rec, g.Generation) {
			return nil
		}
		rec.Op.Generation = g.Generation
		if page = append(page, rec); len(page) >= batch {
			apply()
		}
		return nil
	})
	apply()
	if err != nil {
		fail(err)
	}
	if adopted > 0 {
		r.opts.Restored() // what a reader did not find is there
		r.opts.Logger.Info("what was written while an invalidation was lost counts after it", "organisations", len(all), "operations", adopted)
	}
	return time.Since(begun) - applying
}

// after reports whether a record was written after the invalidation that led to a
// generation, under a lower one.
func after(rec *journal.Record, g store.Raised) bool {
	at, told := g.At()
	return told && rec.Op.Generation < g.Generation && rec.Time.After(at)
}

// adoptPage applies records under the generation that they have now, and records that.
// failed gets the organisations where it failed.
func (r *Replayer) adoptPage(page []*journal.Record, failed map[keys.Org]error) (adopted int) {
	defer r.j.End(r.j.Begin())
	byKey := runs(page)
	var mu sync.Mutex
	each(len(byKey), func(i int) {
		for _, records := range byKey[i] {
			news, err := r.adoptRun(records)
			if err == nil && len(news) > 0 {
				err = r.append(news...)
			}
			mu.Lock()
			if err != nil {
				failed[records[0].Op.Key.Org()] = err
			} else {
				adopted += len(news)
			}
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	return adopted
}

// adoptRun applies records together, and returns what is to be recorded of them:
// nothing where they have no place any more.
func (r *Replayer) adoptRun(records run) ([]*journal.Record, error) {
	op := r.op(records)
	if over := !r.opts.Now().Before(op.ExpiresAt); over && (op.Action != store.Replace || op.Keep == 0) {
		return nil, nil
	}
	if !r.store.Serves(op.Key) {
		return nil, fmt.Errorf("%w: nothing is sent for %s", store.ErrUnavailable, op.Key)
	}
	res, err := store.Result{}, error(nil)
	if op.Action == store.Set {
		op, err = r.latest(op)
	}
	if err == nil {
		res, err = r.apply(op, len(records))
	}
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

// latest returns the operation that sets a value: what another instance has written
// since, or deleted, and did not know of the invalidation either, takes its place. That
// one adopts it, too, and may be away; what was before it must not be seen again.
func (r *Replayer) latest(op store.Op) (store.Op, error) {
	if err := r.pace.question(r.ctx); err != nil {
		return op, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	defer cancel()
	rs, err := r.store.GetLives(ctx, []keys.Key{op.Key})
	if err != nil {
		return op, err
	}
	// What this instance has written is in the journal, if it was acknowledged.
	now := rs[0]
	if !now.Found || now.Value.Generation >= op.Generation || now.Value.Version.Compare(op.Version) <= 0 ||
		now.Value.Version.Node() == r.opts.Stamp().Node() {
		return op, nil
	}
	op.Version, op.Flags, op.Payload = now.Value.Version, now.Value.Flags, now.Value.Stored
	if now.Left > 0 {
		op.ExpiresAt = r.opts.Now().Add(now.Left)
	}
	return op, nil
}
