package journal

import (
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// holdsMargin is how much longer than now a life must last for Latest and EachHeld:
// clocks differ.
const holdsMargin = 2 * time.Second

// Held is a record of which the shared store has what it says, as far as the journal
// knows; the zero Held is none.
type Held struct {
	Position   Position
	Generation uint64
	Version    clock.Version
	Tombstone  bool // of a value: it was deleted
}

func (r *rec) held() Held {
	return Held{Position: r.pos, Generation: r.generation, Version: r.version, Tombstone: r.tombstone}
}

// Latest returns the record of a value that stands in the place of the others. It
// counts where a reader of the shared store sees what it says: its life lasts beyond
// now, and it is not of a lower generation. It looks at the index alone.
func (j *Journal) Latest(k keys.Key, generation uint64, now time.Time) (h Held) {
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.staysLocked(j.hash.text(k.String()), now); e != nil && e.top != none {
		top := s.recs.at(e.top)
		if top.action == store.Set && top.generation >= max(generation, s.generationLocked(k.Org())) {
			h = top.held()
		}
	}
	return h
}

// EachHeld calls f with each record by which messages of a conversation are in the
// shared store, in order of position, and returns the one below whose version there
// are none, zero where that is not known. They count as for Latest. It looks at the
// index alone, which has those of twice the window; f must be quick, and not use the
// journal.
func (j *Journal) EachHeld(k keys.Key, generation uint64, now time.Time, f func(Held)) (floor Held) {
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.staysLocked(j.hash.text(k.String()), now)
	if e == nil {
		return Held{}
	}
	generation = max(generation, s.generationLocked(k.Org()))
	if e.top != none {
		if top := s.recs.at(e.top); top.action == store.Replace && top.generation >= generation {
			floor = top.held()
		}
	}
	for i := e.head; i != none; {
		r := s.recs.at(i)
		// What stands below the floor is not in the index.
		if r.kind == Applied && r.action != store.Set && r.messages > 0 && r.generation >= generation {
			f(r.held())
		}
		i = r.next
	}
	return floor
}

// staysLocked returns the entry of a key of which the life lasts beyond now, nil if
// there is none.
func (s *state) staysLocked(h keyHash, now time.Time) *keyEntry {
	i, ok := s.keys[h]
	if !ok {
		return nil
	}
	if e := s.entries.at(i); e.stays > nanoseconds(now.Add(holdsMargin)) {
		return e
	}
	return nil
}

// Surpassed reports whether a later version of a value than v is recorded as part of
// the shared store, under whatever generation. This instance's own v has no place
// any more then: an invalidation between the two must not bring it back.
func (j *Journal) Surpassed(k keys.Key, v clock.Version) bool {
	h := j.hash.text(k.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.keys[h]
	if !ok || s.entries.at(i).top == none {
		return false
	}
	top := s.recs.at(s.entries.at(i).top)
	return top.action == store.Set && top.version.Compare(v) > 0
}

// Waits reports whether a record is pending.
func (j *Journal) Waits(p Position) bool {
	_, ok := j.pendingAt(p)
	return ok
}

// EachPending calls f with each record that is pending and was written before the
// call, in order; what cannot be read is left out, as in Outstanding. f may use
// the journal.
func (j *Journal) EachPending(f func(Outstanding)) {
	const page = 1000
	upTo := j.Position()
	for after := Position(0); ; {
		all := j.Outstanding(after, page)
		for _, o := range all {
			if after = o.Position; after > upTo {
				return
			}
			f(o)
		}
		if len(all) < page {
			return
		}
	}
}

// Holds reports whether nothing has to be done for an Applied record to be part of the
// shared store under a generation: the journal knows that it is, or that it has no place
// any more, because something was written in its place since, or the window has left it
// behind. It looks at the index alone.
func (j *Journal) Holds(r *Record, generation uint64) bool {
	op := &r.Op
	h := j.hash.text(op.Key.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, ok := s.keys[h]
	if !ok {
		return false
	}
	e := s.entries.at(k)
	if e.top != none {
		switch top := s.recs.at(e.top); {
		case top.action == store.Set:
			return top.pos != r.Position && (top.generation < generation || top.version.Compare(op.Version) >= 0)
		case top.version.Compare(op.Version) > 0:
			return true
		}
	}
	for i := e.tail; i != none; {
		other := s.recs.at(i)
		if other.kind == Applied && other.action == op.Action && other.generation >= generation && other.version == op.Version {
			return true
		}
		i = other.prev
	}
	return op.Action == store.Append && r.Position <= e.trimmed
}

// WrittenBelow reports whether something of a key is recorded behind a position as part
// of the shared store under a lower generation.
func (j *Journal) WrittenBelow(k keys.Key, generation uint64, after Position) bool {
	h := j.hash.text(k.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.keys[h]
	if !ok {
		return false
	}
	for i := s.entries.at(i).tail; i != none; {
		r := s.recs.at(i)
		if r.pos <= after {
			return false
		}
		if r.kind == Applied && r.generation < generation {
			return true
		}
		i = r.prev
	}
	return false
}
