package replay

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/sabotage"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// together is how many records are read from the journal, or written to it, at a
	// time: others wait for the end of that.
	together = 64
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
	var takers sync.WaitGroup
	defer takers.Wait()
	lanes := newLanes()
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
		if sabotage.On("replay") || !r.reachable() {
			continue
		}
		r.queues.fill(r.j)
		for _, l := range lanes {
			r.employ(&takers, l)
		}
	}
}

// reachable reports whether the store takes anything at all. As long as it does
// not, what is pending is not even read: it may be a lot.
func (r *Replayer) reachable() bool {
	switch r.store.Health().State {
	case store.Down, store.Probing, store.Starting:
		return false
	}
	return true
}

// turn applies pending records of one organisation and returns what is left. With
// waits an invalidation is, which what comes after it must wait for.
func (r *Replayer) turn(l *line, ps []journal.Position) (left []journal.Position, waits bool) {
	rs, err := r.read(ps)
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

// read reads pending records.
func (r *Replayer) read(ps []journal.Position) (all []*journal.Record, err error) {
	for part := range slices.Chunk(ps, together) {
		err = r.pace.piece(func() error {
			rs, err := r.j.Read(part...)
			all = append(all, rs...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
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
	var over, surpassed []journal.Position
	served := rs[:0:0]
	for _, rec := range rs {
		switch value := rec.Op.Action == store.Set; { // others may prolong a conversation
		case value && r.j.Surpassed(rec.Op.Key, rec.Op.Version):
			surpassed = append(surpassed, rec.Position)
		case value && !now.Before(rec.Op.ExpiresAt):
			over = append(over, rec.Position)
		case r.store.Serves(rec.Op.Key):
			served = append(served, rec)
		default:
			left = append(left, rec.Position)
		}
	}
	r.resolve(append(over, surpassed...))
	r.counts.replayed.Add(int64(len(surpassed)))
	r.counts.expired.Add(int64(len(over)))
	if len(served) == 0 {
		return left
	}
	if err := r.assign(l, served); err != nil {
		r.counts.trouble(err)
		return append(left, positions(served)...)
	}
	// An invalidation by this instance may have ended some before the generation
	// was read: they must not be applied under the one that it led to.
	served = slices.DeleteFunc(served, func(rec *journal.Record) bool { return !r.j.Waits(rec.Position) })
	return append(left, r.applyAll(l, served)...)
}

// assign decides under which generation records are applied, and keeps that: if
// the organisation is invalidated from now on they are invalidated, too, however
// often they are applied.
func (r *Replayer) assign(l *line, rs []*journal.Record) error {
	var undecided []*journal.Record
	known := uint64(0)
	for _, rec := range rs {
		if rec.Position > l.assigned {
			undecided = append(undecided, rec)
			known = max(known, rec.Op.Generation)
		}
	}
	if len(undecided) == 0 {
		return nil
	}
	before := r.opts.Now() // what is invalidated from now on ends them
	g, err := r.generation(l, known)
	if err != nil {
		return err
	}
	upTo := rs[len(rs)-1].Position
	mark := &journal.Record{Kind: journal.Assigned, Time: before, Org: l.org, Generation: g, UpTo: upTo}
	if err := r.append(mark); err != nil {
		return err
	}
	l.assigned = upTo
	for _, rec := range undecided {
		rec.Op.Generation, rec.AssignedAt = g, mark.Time
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
	defer r.j.End(r.j.Begin())
	ctx, cancel := context.WithTimeout(r.ctx, callTime)
	defer cancel()
	g, err := r.store.InvalidateOnce(ctx, rec.Org, max(rec.Generation, r.opts.Known(rec.Org)), rec.Token)
	if err == nil {
		// First: once nothing waits, what is of a lower generation must not be read.
		r.opts.Observed(rec.Org, store.Result{Generation: g})
		err = r.append(&journal.Record{
			Kind: journal.Generation, Time: r.opts.Now(), Org: rec.Org, Generation: g, Resolves: []journal.Position{rec.Position},
		})
	}
	if err != nil {
		r.counts.trouble(fmt.Errorf("invalidate: %w", err))
		return false
	}
	r.counts.applied.Add(1)
	r.counts.replayed.Add(1)
	return true
}

// applyAll applies records and returns those that failed.
func (r *Replayer) applyAll(l *line, rs []*journal.Record) (left []journal.Position) {
	defer r.j.End(r.j.Begin())
	var (
		mu   sync.Mutex
		over []journal.Position
		news []*journal.Record
	)
	byKey := runs(rs)
	each(len(byKey), func(i int) {
		for _, records := range byKey[i] {
			marks, err := r.applyPending(records)
			mu.Lock()
			for j, rec := range records {
				switch {
				case err != nil && r.refused(l, rec, err):
					over = append(over, rec.Position)
				case err != nil:
					left = append(left, rec.Position)
				case marks == nil || marks[j] == nil:
					over = append(over, rec.Position)
					delete(l.refused, rec.Position)
				default:
					news = append(news, marks[j])
					delete(l.refused, rec.Position)
				}
			}
			mu.Unlock()
		}
	})
	if len(over) > 0 {
		news = append(news, &journal.Record{Kind: journal.Resolved, Time: r.opts.Now(), Org: l.org, Resolves: over})
	}
	g := r.opts.Known(l.org)
	if slices.ContainsFunc(rs, func(rec *journal.Record) bool { return rec.Op.Generation < g }) && r.adoption.again(l.org, g) {
		r.opts.Adopts(l.org) // before it is found as a part of the store
	}
	for part := range slices.Chunk(news, together) {
		if err := r.append(part...); err != nil {
			// They are applied, which can be repeated.
			r.counts.trouble(err)
			for _, n := range part {
				left = append(left, n.Resolves...)
			}
		}
	}
	r.counts.replayed.Add(int64(len(rs) - len(left)))
	return left
}

// applyPending applies records together. It returns what is to be recorded of
// each, nil where they are without effect.
func (r *Replayer) applyPending(records run) ([]*journal.Record, error) {
	op := r.op(records)
	if sabotage.On("floor") && op.Action == store.Replace {
		return nil, nil
	}
	for range maxConflicts {
		res, err := r.apply(op, len(records))
		if err != nil {
			return nil, err
		}
		switch {
		case res.Status == store.Applied || res.Status == store.Unchanged || res.Status == store.Superseded:
			// What supersedes it may have no second copy, and be lost with the server.
			return r.marks(records, op, res), nil
		case res.Status == store.Ahead && len(records) > 1:
			return r.oneByOne(records)
		case res.Status == store.Ahead:
			mark, err := r.stampAnew(records[0], op, res)
			return []*journal.Record{mark}, err
		case res.Status == store.Conflict && op.Action == store.Set:
			op.Version = op.Version.Next(op.Version.Node())
		case res.Status == store.Expired:
			r.counts.expired.Add(int64(len(records)))
			return nil, nil
		case r.adoption.again(op.Key.Org(), res.Generation):
			return r.marks(records, op, res), nil // maybe before somebody invalidated it
		default: // somebody invalidated it
			return nil, nil
		}
	}
	return nil, fmt.Errorf("%w: its version is taken, again and again", store.ErrUnavailable)
}

// oneByOne is applyPending for records of which one kept the others from being
// applied together.
func (r *Replayer) oneByOne(records run) (marks []*journal.Record, err error) {
	for _, rec := range records {
		one, err := r.applyPending(run{rec})
		if err != nil {
			return nil, err
		}
		if one == nil {
			one = []*journal.Record{nil}
		}
		marks = append(marks, one...)
	}
	return marks, nil
}

// marks says that records are part of the store.
func (r *Replayer) marks(records run, op store.Op, res store.Result) []*journal.Record {
	marks := make([]*journal.Record, len(records))
	for i, rec := range records {
		own := r.again(rec)
		if len(records) == 1 {
			own = op
		}
		if !res.ExpiresAt.IsZero() && res.Status != store.Superseded {
			own.ExpiresAt = res.ExpiresAt
		}
		// As of when it was decided under which generation it is applied: it may have
		// been applied then.
		at := rec.AssignedAt
		if at.IsZero() {
			at = r.opts.Now()
		}
		marks[i] = &journal.Record{Kind: journal.Applied, Time: at, Op: own, Resolves: []journal.Position{rec.Position}}
	}
	return marks
}

// stampAnew is for a record that was stamped by a clock which was ahead: the store
// would take it when its time has come, above what was written since. A value
// that this instance has written since then stays; else the record is stamped
// again, and waits anew.
func (r *Replayer) stampAnew(rec *journal.Record, op store.Op, res store.Result) (*journal.Record, error) {
	if op.Action == store.Set {
		known, _, err := r.j.KnownAfter(op.Key, rec.Position, nil)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(known, func(k *journal.Record) bool { return k.Kind == journal.Applied }) {
			return nil, nil
		}
	}
	if stamp := r.opts.Stamp(); stamp.Compare(op.Version) < 0 {
		op.Version = stamp
		return &journal.Record{Kind: journal.Pending, Time: rec.Time, Op: op, Resolves: []journal.Position{rec.Position}}, nil
	}
	return nil, ahead(res)
}

// ahead is the error of an operation that the store does not take yet: its clock
// is behind. nil: it took it, or has no use for it.
func ahead(res store.Result) error {
	if res.Status != store.Ahead {
		return nil
	}
	return fmt.Errorf("%w: its version is ahead of the store's time, which is %s", store.ErrUnavailable, res.StoreTime)
}

// refused reports whether a record was set aside because the store refuses it.
func (r *Replayer) refused(l *line, rec *journal.Record, err error) bool {
	r.counts.trouble(err)
	if !poisoned(err) {
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
	start := time.Now()
	err := r.j.Append(ctx, false, rs...)
	r.pace.recorded(time.Since(start))
	return err
}
