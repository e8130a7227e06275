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
	at      journal.Position
	doubt   bool             // the store may lack what it acknowledged
	pending bool             // something waits for the store
	ended   journal.Position // if so: what stands before it was ended
}

func (e *Engine) outset(k keys.Key) (o outset) {
	if e.journal == nil {
		return o
	}
	o.at = e.journal.Position()
	if o.doubt, o.pending = e.shared.Doubtful(k), e.waits(&k); o.pending {
		o.ended = e.endedAt(k.Org())
	}
	return o
}

func (e *Engine) waits(k *keys.Key) bool {
	return e.journal.PendingCount() > 0 && e.journal.HasPending(*k)
}

// since completes o by what is known after the read.
func (e *Engine) since(k keys.Key, o outset) outset {
	o.doubt = o.doubt || e.shared.Doubtful(k)
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

// compared completes o where a store that is not in doubt answers with less than it
// has acknowledged. What was acknowledged leaves a tombstone when it is deleted.
func (e *Engine) compared(k keys.Key, o outset, r store.Read) outset {
	held := e.journal.Latest(k, r.Generation, e.cfg.Clock.Time())
	has := record.Value{Generation: held.Generation, Version: held.Version}
	switch {
	case held.Position == 0 || r.Found && !exceeds(has, r.Value):
	case held.Position > o.at:
		o.pending = true // recorded since the read began: it may not be in the answer
	default:
		o.doubt = e.missed(k, allOf, held.Position, nil)
	}
	return o
}

// holds returns the record which says that the store has something at the key;
// zero: none that was there before the read began.
func (e *Engine) holds(k keys.Key, generation uint64, o outset) journal.Position {
	at := e.journal.Holds(k, generation, e.cfg.Clock.Time())
	if at > o.at {
		return 0
	}
	return at
}

// begins is holds for a conversation of which the store has the beginning.
func (e *Engine) begins(k keys.Key, log Log, o outset) (journal.Position, clock.Version) {
	at, v := e.journal.Oldest(k, log.Generation, e.cfg.Clock.Time())
	if at > o.at || log.Messages[0].Order.Version.Compare(v) <= 0 {
		return 0, v
	}
	return at, v
}

// missed reports whether something is not in the store that it acknowledged by
// the record at a position, and makes the store look whether it has lost more. If
// it has not, somebody has deleted the key by hand: then it is gone, until it is
// written again. Excused, if there is one, knows of another reason.
func (e *Engine) missed(k keys.Key, p part, at journal.Position, excused func() bool) bool {
	if at == 0 {
		return false
	}
	restored := e.restored.Load() // before the store looks: what is restored since was not gone
	if told, ok := e.gone.GetIfPresent(p.of(k)); ok && told.at >= at && told.restored == restored {
		return false
	}
	if excused != nil && excused() {
		return false
	}
	if e.shared.Missed(k) {
		e.gone.Set(p.of(k), gone{at, restored})
	}
	return true
}

// part is what of a key is missed.
type part string

// The parts. What was left behind of a conversation says nothing of the rest.
const (
	allOf   part = ""
	beginOf part = " begin"
	endOf   part = " end"
)

func (p part) of(k keys.Key) string { return k.String() + string(p) }

// gone is a record that was found to be without effect: what it says to be there was
// deleted by hand, or left behind. It counts until something is restored.
type gone struct {
	at       journal.Position
	restored uint64 // how often something had been when the store was asked
}

// Restored tells that what the store had lost was applied again: what is missing
// from now on was not deleted by hand before.
func (e *Engine) Restored() { e.restored.Add(1) }

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
	if err == nil {
		e.learn(k.Org(), log.Generation)
	}
	o := e.since(k, begun)
	if err == nil && !o.doubt {
		if o.doubt = e.lacks(ctx, k, last, o, log); !o.doubt && !o.pending {
			return log, nil
		}
	}
	if err == nil && last > 0 {
		// A repetition may stand before the last ones.
		if log.Log, err = e.cfg.Store.Messages(ctx, k, 0); err != nil && !away(err) {
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

// lacks reports whether the store has less of a conversation than it acknowledged,
// as far as the newest last messages show. Where it cannot be asked for a reason it
// may.
func (e *Engine) lacks(ctx context.Context, k keys.Key, last int, o outset, log Log) bool {
	n := len(log.Messages)
	if n == 0 {
		return e.missedUnless(k, allOf, e.holds(k, log.Generation, o), func() (bool, error) {
			_, _, exists, err := e.shared.Bounds(ctx, k)
			return exists, err // what was cleared leaves a floor
		})
	}
	held := e.journal.Latest(k, log.Generation, e.cfg.Clock.Time())
	if held.Position <= o.at && log.Messages[n-1].Order.Version.Compare(held.Version) < 0 &&
		e.missedUnless(k, endOf, held.Position, func() (bool, error) { return e.repeats(ctx, k, held.Position) }) {
		return true
	}
	if last > 0 && n >= last {
		return false // its beginning is not among them
	}
	at, v := e.begins(k, log, o)
	return e.missedUnless(k, beginOf, at, func() (bool, error) {
		floor, trimmed, _, err := e.shared.Bounds(ctx, k)
		return v.Compare(floor) < 0 || v.Compare(trimmed.Version) <= 0, err
	})
}

// missedUnless is missed, unless there is another reason, which the store is asked
// for: then nobody has to ask again. Where it does not answer it is missed.
func (e *Engine) missedUnless(k keys.Key, p part, at journal.Position, reason func() (bool, error)) bool {
	restored, unasked := e.restored.Load(), false
	missed := e.missed(k, p, at, func() bool {
		found, err := reason()
		if unasked = err != nil; !unasked && found && p != allOf {
			e.gone.Set(p.of(k), gone{at, restored})
		}
		return unasked || found
	})
	return missed || unasked
}

// repeats reports whether the store has all messages of a record, though nothing
// stands where it was recorded: then they stood lower already.
func (e *Engine) repeats(ctx context.Context, k keys.Key, at journal.Position) (bool, error) {
	all, err := e.cfg.Store.Messages(ctx, k, 0)
	if err != nil {
		return false, err
	}
	stored := make(map[string]bool)
	for _, m := range all.Messages {
		stored[m.ID] = true
	}
	rs, err := e.journal.Known(k)
	if err != nil {
		return false, err
	}
	for _, r := range rs {
		if r.Position != at {
			continue
		}
		return !slices.ContainsFunc(r.Op.Messages, func(m store.Message) bool { return !stored[m.ID] }), nil
	}
	return true, nil // it does not count any more
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
