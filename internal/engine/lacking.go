package engine

import (
	"context"
	"math"
	"slices"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// A store that is not in doubt may have lost something all the same, and nobody has
// noticed yet. So what it answers is compared with what this instance has recorded as
// acknowledged before the read began. What is less makes the store look, and is
// answered from the journal. If the store finds then that nothing is lost, somebody
// has deleted it by hand, or it was left behind: it is remembered as gone.

// part is what of a key is missed.
type part string

// The parts. What is gone of one says nothing of the others.
const (
	allOf    part = ""
	beginOf  part = " begin"
	insideOf part = " inside"
	floorOf  part = " floor"
)

func (p part) of(k keys.Key) string { return k.String() + string(p) }

// gone is what of a part of a key is missing without being lost. It counts until
// something is restored.
type gone struct {
	restored uint64             // how often something had been when the read began
	at       journal.Position   // of a value or a floor: the record
	upTo     clock.Version      // of a beginning: up to where it is gone
	least    int                // of a beginning: with so many messages behind it, and
	bytes    int                // of so many bytes, more may be
	inside   []journal.Position // of the inside: which records, in order
}

// told returns what of a part was found to be gone, and is so still.
func (e *Engine) told(k keys.Key, p part, o outset) (gone, bool) {
	g, ok := e.gone.GetIfPresent(p.of(k))
	return g, ok && g.restored == o.restored
}

func (e *Engine) tell(k keys.Key, p part, o outset, g gone) {
	// As of when the read began: what was restored since may be there by now, and
	// lost again later.
	g.restored = o.restored
	e.gone.Set(p.of(k), g)
}

// missed makes the store look whether it has lost something. If it has not, what is
// missing is gone.
func (e *Engine) missed(k keys.Key, p part, o outset, g gone) {
	if e.shared.Missed(k) {
		e.tell(k, p, o, g)
	}
}

// missedAt is missed for what one record says. It reports false where it is gone.
func (e *Engine) missedAt(k keys.Key, p part, o outset, at journal.Position) bool {
	if g, ok := e.told(k, p, o); ok && g.at >= at {
		return false
	}
	e.missed(k, p, o, gone{at: at})
	return true
}

// compared completes o where a store that is not in doubt answers with less of a value
// than it has acknowledged, or with what was there before it was deleted.
func (e *Engine) compared(k keys.Key, o outset, r store.Read) outset {
	held := e.journal.Latest(k, r.Generation, e.cfg.Clock.Time())
	has := record.Value{Generation: held.Generation, Version: held.Version}
	switch {
	case held.Position == 0 || r.Found && !exceeds(has, r.Value) || held.Tombstone && !r.Live():
	case held.Position > o.at:
		o.pending = true // recorded since the read began: it may not be in the answer
	default:
		o.doubt = e.missedAt(k, allOf, o, held.Position)
	}
	return o
}

// lack is what a store has acknowledged of a conversation and was not read.
type lack struct {
	floor  journal.Position // of a floor below which something stands; zero: of none
	begin  journal.Held     // the newest that stands before all that was read
	inside []journal.Held   // what stands behind the first that was read
}

// lackOf compares what the newest last messages show with what was recorded before the
// read began.
func (e *Engine) lackOf(k keys.Key, last int, o outset, log store.Log) (l lack) {
	ms := log.Messages
	whole := last <= 0 || len(ms) < last // otherwise the beginning is not among them
	at := 0                              // no message before it stands as high as the record
	floor := e.journal.EachHeld(k, log.Generation, e.cfg.Clock.Time(), func(h journal.Held) {
		if h.Position > o.at {
			return
		}
		if at > 0 && ms[at-1].Order.Version.Compare(h.Version) >= 0 { // it came late
			at, _ = slices.BinarySearchFunc(ms, h.Version, func(m record.Message, v clock.Version) int { return m.Order.Version.Compare(v) })
		}
		higher := 1
		for ; at < len(ms); at++ {
			if higher = ms[at].Order.Version.Compare(h.Version); higher >= 0 {
				break
			}
		}
		switch {
		case at < len(ms) && higher == 0:
		case at > 0:
			l.inside = append(l.inside, h)
		case whole && h.Version.Compare(l.begin.Version) > 0:
			l.begin = h
		}
	})
	if len(ms) > 0 && floor.Position <= o.at && ms[0].Order.Version.Compare(floor.Version) < 0 {
		l.floor = floor.Position
	}
	return l
}

// lacks reports whether the store has less of a conversation than it acknowledged, or
// what stood there before it was cleared, as far as the newest last messages show.
// Where it cannot be asked for a reason it may.
func (e *Engine) lacks(ctx context.Context, k keys.Key, last int, o outset, log Log) bool {
	l := e.lackOf(k, last, o, log.Log)
	return l.floor != 0 && e.missedAt(k, floorOf, o, l.floor) ||
		len(l.inside) > 0 && e.missedInside(ctx, k, o, l.inside) ||
		l.begin.Position != 0 && e.missedBegin(ctx, k, o, l.begin, log.Messages)
}

// missedBegin reports whether what stood before the messages that were read is lost,
// the last one of which is h. The window leaves it behind as it moves on: so nobody
// asks again where as many messages are there as when it had, and of as many bytes.
func (e *Engine) missedBegin(ctx context.Context, k keys.Key, o outset, h journal.Held, ms []record.Message) bool {
	n, bytes := len(ms), 0
	for i := range ms {
		bytes += len(ms[i].Stored)
	}
	g, ok := e.told(k, beginOf, o)
	if ok && (n >= g.least && bytes >= g.bytes || h.Version.Compare(g.upTo) <= 0) {
		return false
	}
	floor, trimmed, _, err := e.shared.Bounds(ctx, k)
	cleared := h.Version.Compare(floor) < 0
	g = gone{upTo: h.Version, least: math.MaxInt}
	switch {
	case err != nil:
		return true
	case cleared || h.Version.Compare(trimmed.Version) <= 0:
		if !cleared {
			g.least, g.bytes = max(n, 1), bytes
		}
		e.tell(k, beginOf, o, g)
		return false
	}
	e.missed(k, beginOf, o, g)
	return true
}

// missedInside reports whether records are lost behind the first message that was
// read. What repeats messages that stand before is not there, and not lost.
func (e *Engine) missedInside(ctx context.Context, k keys.Key, o outset, hs []journal.Held) bool {
	// Fewer than were told of are those that a shorter read shows, or a window that
	// has moved on.
	if told, ok := e.told(k, insideOf, o); ok && !slices.ContainsFunc(hs, func(h journal.Held) bool { return !among(told.inside, h) }) {
		return false
	}
	g := gone{inside: make([]journal.Position, len(hs))}
	for i, h := range hs {
		g.inside[i] = h.Position
	}
	all, err := e.cfg.Store.Messages(ctx, k, 0)
	if err != nil {
		return true
	}
	byID, byVersion := make(map[string]bool), make(map[clock.Version]bool)
	for _, m := range all.Messages {
		byID[m.ID], byVersion[m.Order.Version] = true, true
	}
	if slices.ContainsFunc(hs, func(h journal.Held) bool { return byVersion[h.Version] }) {
		e.shared.Missed(k) // it has come back since
		return true
	}
	rs, err := e.journal.Known(k)
	if err != nil {
		return true
	}
	lost := func(ids map[string]bool) bool {
		return slices.ContainsFunc(rs, func(r *journal.Record) bool {
			return among(g.inside, journal.Held{Position: r.Position}) &&
				slices.ContainsFunc(r.Op.Messages, func(m store.Message) bool { return !ids[m.ID] })
		})
	}
	if lost(byID) {
		// What is repeated may have been left behind in the meantime.
		_, trimmed, _, err := e.shared.Bounds(ctx, k)
		if err != nil {
			return true
		}
		for _, r := range rs {
			for _, m := range r.Op.Messages {
				if m.Order(r.Op.Version).Compare(trimmed) <= 0 {
					byID[m.ID] = true
				}
			}
		}
		if lost(byID) {
			e.missed(k, insideOf, o, g)
			return true
		}
	}
	e.tell(k, insideOf, o, g)
	return false
}

// among reports whether the record is one of those at the positions, which are in order.
func among(all []journal.Position, h journal.Held) bool {
	_, found := slices.BinarySearch(all, h.Position)
	return found
}

// Restored tells that what the store had lost was applied again, before it stops being
// in doubt: what is missing from now on was not deleted by hand before.
func (e *Engine) Restored() { e.restored.Add(1) }
