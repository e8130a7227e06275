package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// seenValue is what a key holds, and who said so.
type seenValue struct {
	store.Read
	source Source
}

// away reports whether an error of a read says that the store could not be asked.
func away(err error) bool {
	return !errors.Is(err, store.ErrBlocked) && !errors.Is(err, store.ErrWrongStore) &&
		(errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded))
}

// outset is what is known of a key when a read begins. What is applied again, or
// for the first time, while the store answers is not in its answer. It is taken
// before an invalidation that waits is brought to the store.
type outset struct {
	at       journal.Position
	restored uint64           // how often something had been restored
	doubt    bool             // the store may lack what it acknowledged
	pending  bool             // something waits for the store
	ended    journal.Position // if so: what stands before it was ended
}

func (e *Engine) outset(k keys.Key) (o outset) {
	if e.journal == nil {
		return o
	}
	o.at, o.restored = e.journal.Position(), e.restored.Load()
	if o.doubt, o.pending = e.shared.Doubtful(k), e.waits(&k); o.pending {
		o.ended = e.endedAt(k.Org())
	}
	return o
}

func (e *Engine) waits(k *keys.Key) bool {
	return e.journal.PendingCount() > 0 && e.journal.HasPending(*k)
}

// since completes o by what is known after the read. What was restored meanwhile is
// not in the answer, though the doubt may be over.
func (e *Engine) since(k keys.Key, o outset) outset {
	o.doubt = o.doubt || e.shared.Doubtful(k) || e.restored.Load() != o.restored
	o.pending = o.pending || e.waits(&k)
	return o
}

// counts reports whether a record has to be added to what the store answered:
// where it is not in doubt it has all but what was pending.
func (o outset) counts(r *journal.Record) bool {
	return o.doubt || r.Kind == journal.Pending || r.Position > o.at
}

// knownOf returns what the journal knows of a key and is not invalidated.
func (e *Engine) knownOf(k keys.Key) ([]*journal.Record, error) {
	rs, err := e.journal.Known(k)
	if err != nil || len(rs) == 0 {
		return nil, err
	}
	var applied clock.Version // the highest of a value, under whatever generation
	for _, r := range rs {
		if r.Kind == journal.Applied && r.Op.Action == store.Set && r.Op.Version.Compare(applied) > 0 {
			applied = r.Op.Version
		}
	}
	was := e.past(k.Org())
	return slices.DeleteFunc(rs, func(r *journal.Record) bool {
		// A value that was written before another one does not come back by waiting.
		return was.has(r) || r.Kind == journal.Pending && r.Op.Action == store.Set && r.Op.Version.Compare(applied) < 0
	}), nil
}

// past is what does not count any more of what the journal has of an organisation.
type past struct {
	ended      journal.Position // what stands before it
	generation uint64           // what is of a lower one
	ending     bool             // what the store has: an invalidation has not reached it
}

func (e *Engine) past(o keys.Org) (p past) {
	p.ending = e.endings.Load() > 0 && e.isEnding(o)
	p.ended = e.endedAt(o)
	p.generation = e.known(o) // after ending: it is learned before that ends
	return p
}

func (p past) has(r *journal.Record) bool {
	return r.Position < p.ended || r.Kind == journal.Applied && (p.ending || r.Op.Generation < p.generation)
}

// recall completes what a read of the store gave by what this instance has
// acknowledged, or answers in its place where it is away.
func (e *Engine) recall(k keys.Key, begun outset, r seenValue, err error) (seenValue, error) {
	if e.journal == nil || err != nil && !away(err) {
		return r, err
	}
	if err == nil {
		e.learn(k.Org(), r.Generation)
		r.Generation = max(r.Generation, e.known(k.Org()))
	}
	o := e.since(k, begun)
	o.doubt = o.doubt || err != nil
	if !o.doubt {
		o = e.compared(k, o, r.Read)
	}
	if !o.doubt && !o.pending {
		return r, nil
	}
	rs, failed := e.knownOf(k)
	if failed != nil {
		return r, errors.Join(err, failed)
	}
	best, pending := e.bestOf(k, rs, o, r.Generation)
	switch {
	case best == nil:
		return r, err
	case err == nil && r.Found && !exceeds(*best, r.Value):
		return r, nil
	}
	source := FromStale
	if pending || err == nil {
		source = FromPending
	}
	return seenValue{source: source, Read: store.Read{
		Found: true, Value: *best, Generation: max(r.Generation, e.known(k.Org())),
	}}, nil
}

// bestOf returns the value that stands in the place of the others among those
// that count; nil: there is none.
func (e *Engine) bestOf(k keys.Key, rs []*journal.Record, o outset, generation uint64) (best *record.Value, pending bool) {
	now := e.cfg.Clock.Time()
	for _, c := range rs {
		if c.Op.Action != store.Set || !now.Before(c.Op.ExpiresAt) || !o.counts(c) {
			continue
		}
		v := record.Value{Version: c.Op.Version, Generation: c.Op.Generation, Flags: c.Op.Flags, Stored: c.Op.Payload}
		if c.Kind == journal.Pending {
			v.Generation = max(v.Generation, e.known(k.Org()), generation)
		}
		if best == nil || exceeds(v, *best) {
			best, pending = &v, c.Kind == journal.Pending
		}
	}
	return best, pending
}

// exceeds reports whether a stands in the place of b.
func exceeds(a, b record.Value) bool {
	if a.Generation != b.Generation {
		return a.Generation > b.Generation
	}
	return a.Version.Compare(b.Version) > 0
}

// recallLog is recall for a conversation.
func (e *Engine) recallLog(ctx context.Context, k keys.Key, last int, begun outset, log Log, err error) (Log, error) {
	if err != nil && !away(err) {
		return log, err
	}
	o := e.since(k, begun)
	for most := last; err == nil; {
		log = e.current(k, log)
		o.doubt = o.doubt || e.lacks(ctx, k, most, o, log)
		if !o.doubt && !o.pending {
			return log, nil
		}
		if most <= 0 {
			break
		}
		most = 0 // a repetition may stand before the last ones
		if log.Log, err = e.cfg.Store.Messages(ctx, k, most); err != nil && !away(err) {
			return log, err
		}
	}
	if err != nil || o.doubt {
		return e.fromView(ctx, k, last, log, err)
	}
	rs, err := e.knownOf(k)
	if err != nil {
		return log, err
	}
	rs = slices.DeleteFunc(rs, func(r *journal.Record) bool { return !o.counts(r) })
	if len(rs) == 0 {
		log.Messages = newest(log.Messages, last)
		return log, nil
	}
	waiting := content{past: past{generation: max(log.Generation, e.known(k.Org()))}, byID: make(map[string]known)}
	waiting.add(rs)
	log.Source = FromPending
	window := max(waiting.window, len(log.Messages))
	log.Messages = newest(newest(waiting.over(log.Messages), window), last)
	return log, nil
}

// current leaves out what was invalidated as far as this instance knows: a store that
// has lost the generation does not.
func (e *Engine) current(k keys.Key, log Log) Log {
	e.learn(k.Org(), log.Generation)
	if g := e.known(k.Org()); g > log.Generation {
		log.Generation = g
		log.Messages = slices.DeleteFunc(log.Messages, func(m record.Message) bool { return m.Generation < g })
	}
	return log
}

// fromView answers from all that the journal knows of a conversation, over what a
// store that is in doubt has; err says that it is away.
func (e *Engine) fromView(ctx context.Context, k keys.Key, last int, log Log, err error) (Log, error) {
	var (
		floor   clock.Version
		trimmed record.Order
	)
	if err == nil {
		// What another instance has cleared, or the window has left behind.
		if floor, trimmed, _, err = e.shared.Bounds(ctx, k); err != nil && !away(err) {
			return log, err
		}
	}
	v, failed := e.view(k)
	if failed != nil {
		return log, errors.Join(err, failed)
	}
	defer v.mu.Unlock()
	log.Generation = max(log.Generation, e.known(k.Org()))
	log.Messages = slices.DeleteFunc(log.Messages, func(m record.Message) bool { return m.Generation < log.Generation })
	if v.records == 0 || !e.cfg.Clock.Time().Before(v.life) {
		log.Messages = newest(log.Messages, last)
		return log, err
	}
	stored := len(log.Messages)
	log.Partial = true
	window := max(v.window, len(log.Messages))
	all := slices.DeleteFunc(slices.Clone(v.over(log.Messages)), func(m record.Message) bool {
		return m.Order.Version.Compare(floor) < 0 || m.Order.Compare(trimmed) <= 0 && trimmed != (record.Order{})
	})
	switch {
	case e.journal.HasPending(k), err == nil && len(all) != stored:
		log.Source = FromPending
	case err != nil:
		log.Source = FromStale
	}
	log.Messages = newest(newest(all, window), last)
	return log, nil
}

// newest returns the last n messages; zero means all.
func newest(all []record.Message, n int) []record.Message {
	if n > 0 && len(all) > n {
		return all[len(all)-n:]
	}
	return all
}
