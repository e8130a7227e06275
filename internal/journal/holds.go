package journal

import (
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// holdsMargin is how much longer than now a life must last for Holds: clocks
// differ.
const holdsMargin = 2 * time.Second

// Holds reports whether, as far as the journal knows, the shared store has
// something at the key that a reader sees: what was written there lives beyond
// now, was not deleted, and is not of a lower generation. It returns the position
// of the record that says so; zero: none does. It looks at the index alone.
func (j *Journal) Holds(k keys.Key, generation uint64, now time.Time) Position {
	return j.Latest(k, generation, now).Position
}

// Held is a record of which the shared store has what it says; the zero Held is none.
type Held struct {
	Position   Position
	Generation uint64
	Version    clock.Version
}

// Latest returns the record that counts for Holds: of a value the one that stands in
// the place of the others, of a conversation the last one with messages.
func (j *Journal) Latest(k keys.Key, generation uint64, now time.Time) Held {
	h := j.hash.text(k.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.keys[h]
	if !ok {
		return Held{}
	}
	e := s.entries.at(i)
	if e.stays <= nanoseconds(now.Add(holdsMargin)) {
		return Held{}
	}
	generation = max(generation, s.generationLocked(k.Org()))
	if e.top != none {
		if top := s.recs.at(e.top); top.action == store.Set {
			if top.tombstone || top.generation < generation {
				return Held{}
			}
			return top.held()
		}
	}
	for i := e.tail; i != none; i = s.recs.at(i).prev {
		// What stands below the floor is not in the index.
		if r := s.recs.at(i); r.kind == Applied && r.messages > 0 && r.generation >= generation {
			return r.held()
		}
	}
	return Held{}
}

func (r *rec) held() Held { return Held{Position: r.pos, Generation: r.generation, Version: r.version} }

// Oldest returns the position and version of the oldest record of a conversation
// that counts for Holds, zero if there is none. As nothing is appended below what
// stands there, a conversation that begins above that version has lost something,
// or has left it behind.
func (j *Journal) Oldest(k keys.Key, generation uint64, now time.Time) (Position, clock.Version) {
	h := j.hash.text(k.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.keys[h]
	if !ok {
		return 0, clock.Version{}
	}
	e := s.entries.at(i)
	if e.stays <= nanoseconds(now.Add(holdsMargin)) {
		return 0, clock.Version{}
	}
	generation = max(generation, s.generationLocked(k.Org()))
	for i := e.head; i != none; i = s.recs.at(i).next {
		if r := s.recs.at(i); r.kind == Applied && r.action != store.Set && r.messages > 0 && r.generation >= generation {
			return r.pos, r.version
		}
	}
	return 0, clock.Version{}
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
