package journal

import (
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// holdsMargin is how much longer than now a life must last for Holds: clocks
// differ.
const holdsMargin = 2 * time.Second

// Holds reports whether, as far as the journal knows, the shared store has
// something at the key that a reader sees: what was written there lives beyond
// now, was not deleted, and is not of a lower generation. It looks at the index
// alone.
func (j *Journal) Holds(k keys.Key, generation uint64, now time.Time) bool {
	h := j.hash.text(k.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.keys[h]
	if !ok {
		return false
	}
	e := s.entries.at(i)
	if e.expires <= nanoseconds(now.Add(holdsMargin)) {
		return false
	}
	generation = max(generation, s.generationLocked(k.Org()))
	if e.top != none {
		if top := s.recs.at(e.top); top.action == store.Set {
			return !top.tombstone && top.generation >= generation
		}
	}
	for i := e.tail; i != none; i = s.recs.at(i).prev {
		if r := s.recs.at(i); r.kind == Applied {
			return r.messages > 0 && r.generation >= generation
		}
	}
	return false
}

// Waits reports whether a record is pending.
func (j *Journal) Waits(p Position) bool {
	_, ok := j.pendingAt(p)
	return ok
}

// EachPending calls f with each pending record, in order.
func (j *Journal) EachPending(f func(Outstanding)) {
	const page = 1000
	for after := Position(0); ; {
		all := j.Outstanding(after, page)
		for _, o := range all {
			after = o.Position
			f(o)
		}
		if len(all) == 0 {
			return
		}
	}
}
