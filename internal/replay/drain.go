package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/sabotage"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// turns is how many organisations have their turn at a time, and turnTime how
	// long before it is looked what else became pending.
	turns    = 16
	turnTime = 200 * time.Millisecond
	// After so many refusals over so long a time a record is set aside: it is the
	// record, and not the moment.
	setAsideAfter = 8
	setAsideTime  = 30 * time.Second
	// maxConflicts bounds how often a value is stamped one higher because another
	// one has its version.
	maxConflicts = 3
)

// drain applies what is pending, as soon as the store takes it.
func (r *Replayer) drain() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var story outage
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.kicked:
		case <-tick.C:
		}
		if r.j.PendingCount() == 0 {
			story.end(r)
			continue
		}
		story.begin(r)
		story.tell(r)
		if sabotage.On("replay") {
			continue
		}
		r.queues.fill(r.j)
		var all sync.WaitGroup
		for range turns {
			all.Go(func() { r.takeTurns() })
		}
		all.Wait()
	}
}

// takeTurns works on organisations that have something to do, one after the
// other, for a while.
func (r *Replayer) takeTurns() {
	for until := time.Now().Add(turnTime); r.ctx.Err() == nil && time.Now().Before(until); {
		l, ps := r.queues.next(chunk, time.Now())
		if l == nil {
			return
		}
		left, waits := r.turn(l, ps)
		r.queues.put(l, left, waits, time.Now())
	}
}

// turn applies pending records of one organisation and returns what is left. With
// waits an invalidation is, which what comes after it must wait for.
func (r *Replayer) turn(l *line, ps []journal.Position) (left []journal.Position, waits bool) {
	rs, err := r.j.Read(ps...)
	if err != nil {
		r.counts.trouble(fmt.Errorf("read the journal: %w", err))
		return ps, true
	}
	for i, rec := range rs {
		if rec.Kind != journal.Invalidation {
			continue
		}
		// What comes after it must not lie under the generation that it ends.
		left = r.apart(l, rs[:i])
		if !r.invalidate(rec) {
			return append(left, positions(rs[i:])...), true
		}
		more, waits := r.turn(l, positions(rs[i+1:]))
		return append(left, more...), waits
	}
	return r.apart(l, rs), false
}

func positions(rs []*journal.Record) []journal.Position {
	ps := make([]journal.Position, len(rs))
	for i, rec := range rs {
		ps[i] = rec.Position
	}
	return ps
}

// apart leaves out what the store does not take now, and applies the rest.
func (r *Replayer) apart(l *line, rs []*journal.Record) (left []journal.Position) {
	now := r.opts.Now()
	var over []journal.Position
	served := rs[:0:0]
	for _, rec := range rs {
		switch {
		case !now.Before(r.again(rec).ExpiresAt):
			over = append(over, rec.Position)
		case !r.store.Serves(rec.Op.Key):
			left = append(left, rec.Position)
		default:
			served = append(served, rec)
		}
	}
	r.resolve(over)
	r.counts.expired.Add(int64(len(over)))
	if len(served) == 0 {
		return left
	}
	if err := r.assign(l, served); err != nil {
		r.counts.trouble(err)
		return append(left, positions(served)...)
	}
	return append(left, r.applyAll(l, served)...)
}

// assign decides under which generation records are applied, and keeps that: if
// the organisation is invalidated from now on they are invalidated, too, however
// often they are applied.
func (r *Replayer) assign(l *line, rs []*journal.Record) error {
	unassigned := make(map[journal.Position]bool)
	first, last := rs[0].Position, rs[len(rs)-1].Position
	for _, o := range r.j.Outstanding(first-1, int(last-first)+1) {
		if o.Position > last {
			break
		}
		if o.Org == l.org && !o.Assigned {
			unassigned[o.Position] = true
		}
	}
	for _, rec := range rs {
		if !unassigned[rec.Position] {
			continue
		}
		g, err := r.generation(l, rec.Op.Generation)
		if err != nil {
			return err
		}
		mark := &journal.Record{Kind: journal.Assigned, Time: r.opts.Now(), Org: l.org, Generation: g, UpTo: last}
		if err := r.append(mark); err != nil {
			return err
		}
		for _, rec := range rs {
			if unassigned[rec.Position] {
				rec.Op.Generation = g
			}
		}
		return nil
	}
	return nil
}

// generation returns an organisation's generation, raised to what is known of it
// where the store lost it.
func (r *Replayer) generation(l *line, known uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	defer cancel()
	known = max(known, r.opts.Known(l.org))
	g, err := r.store.Generation(ctx, l.org)
	if err == nil && g < known {
		g, err = r.store.RaiseGeneration(ctx, l.org, known)
	}
	return g, err
}

// invalidate applies a pending invalidation.
func (r *Replayer) invalidate(rec *journal.Record) bool {
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	defer cancel()
	g, err := r.store.InvalidateOnce(ctx, rec.Org, max(rec.Generation, r.opts.Known(rec.Org)), rec.Token)
	if err == nil {
		err = r.append(&journal.Record{
			Kind: journal.Generation, Time: r.opts.Now(), Org: rec.Org, Generation: g, Resolves: []journal.Position{rec.Position},
		})
	}
	if err != nil {
		r.counts.trouble(fmt.Errorf("invalidate: %w", err))
		return false
	}
	r.opts.Observed(rec.Org, store.Result{Generation: g})
	r.counts.applied.Add(1)
	r.counts.replayed.Add(1)
	return true
}

// applyAll applies records and returns those that failed.
func (r *Replayer) applyAll(l *line, rs []*journal.Record) (left []journal.Position) {
	var (
		mu   sync.Mutex
		over []journal.Position
		news []*journal.Record
	)
	each(len(rs), func(i int) {
		rec := rs[i]
		mark, err := r.applyPending(rec)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil && r.refused(l, rec, err):
			over = append(over, rec.Position)
		case err != nil:
			left = append(left, rec.Position)
		case mark == nil:
			over = append(over, rec.Position)
			delete(l.refused, rec.Position)
		default:
			news = append(news, mark)
			delete(l.refused, rec.Position)
		}
	})
	if len(over) > 0 {
		news = append(news, &journal.Record{Kind: journal.Resolved, Time: r.opts.Now(), Org: l.org, Resolves: over})
	}
	if len(news) > 0 {
		if err := r.append(news...); err != nil {
			// They are applied, which can be repeated.
			r.counts.trouble(err)
			for _, n := range news {
				left = append(left, n.Resolves...)
			}
			return left
		}
	}
	r.counts.replayed.Add(int64(len(rs) - len(left)))
	return left
}

// applyPending applies one record. It returns what is to be recorded of it, nil
// where it is without effect.
func (r *Replayer) applyPending(rec *journal.Record) (*journal.Record, error) {
	op := r.again(rec)
	if sabotage.On("floor") && op.Action == store.Replace {
		return nil, nil
	}
	for range maxConflicts {
		res, err := r.apply(op)
		if err != nil {
			return nil, err
		}
		switch {
		case res.Status == store.Applied || res.Status == store.Unchanged:
			if !res.ExpiresAt.IsZero() {
				op.ExpiresAt = res.ExpiresAt
			}
			return &journal.Record{
				Kind: journal.Applied, Time: r.opts.Now(), Op: op,
				Resolves: []journal.Position{rec.Position},
			}, nil
		case res.Status == store.Ahead:
			return nil, fmt.Errorf("%w: its version is ahead of the store's time, which is %s", store.ErrUnavailable, res.StoreTime)
		case res.Status == store.Conflict && op.Action == store.Set:
			op.Version = op.Version.Next(op.Version.Node())
		default: // somebody wrote later, or its life is over
			return nil, nil
		}
	}
	return nil, fmt.Errorf("%w: its version is taken, again and again", store.ErrUnavailable)
}

// refused reports whether a record was set aside because the store refuses it.
func (r *Replayer) refused(l *line, rec *journal.Record, err error) bool {
	r.counts.trouble(err)
	if !errors.Is(err, store.ErrRejected) && !errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrFull) || systemic(err) {
		return false
	}
	n := l.refused[rec.Position]
	if n.times == 0 {
		n.since = time.Now()
	}
	n.times++
	l.refused[rec.Position] = n
	if n.times < setAsideAfter || time.Since(n.since) < setAsideTime {
		return false
	}
	if failed := r.aside.add(rec, err, r.opts.Now()); failed != nil {
		r.counts.trouble(failed)
		return false
	}
	delete(l.refused, rec.Position)
	r.opts.Logger.Error("redis refuses an acknowledged write for good; it is set aside", "key", rec.Op.Key.String(), "err", err, "file", r.aside.path)
	return true
}

// resolve records that nothing has to be done for records.
func (r *Replayer) resolve(ps []journal.Position) {
	if len(ps) == 0 {
		return
	}
	if err := r.append(&journal.Record{Kind: journal.Resolved, Time: r.opts.Now(), Resolves: ps}); err != nil {
		r.counts.trouble(err) // they stay pending, and are found to be over again
	}
}

func (r *Replayer) append(rs ...*journal.Record) error {
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	defer cancel()
	return r.j.Append(ctx, false, rs...)
}
