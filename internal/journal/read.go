package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// place is where a record stands, and what the index says of it.
type place struct {
	seg  *segment
	off  int64
	size int
	pos  Position
	kind Kind
	// assigned: generation was decided. current: it is to be raised to generation.
	assigned, current bool
	generation        uint64
	assignedAt        int64
}

func (s *state) placeLocked(i int32) place {
	r := s.recs.at(i)
	p := place{seg: s.numbers[r.seg], off: int64(r.off), size: int(r.size), pos: r.pos, kind: r.kind}
	if r.kind == Pending {
		pe := s.pend[r.pos]
		p.assigned, p.generation, p.assignedAt = pe.assigner != 0, pe.generation, pe.assignedAt
	}
	return p
}

// read returns the record at a place.
func (j *Journal) read(p place) (*Record, error) {
	frame, err := p.seg.read(p.off, p.size)
	if err != nil {
		return nil, err
	}
	r, err := decodeRecord(j.o.Space, p.pos, frame[frameHead:])
	if err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", p.seg.name, p.off, err)
	}
	if p.assigned || p.current && p.generation > r.Op.Generation {
		r.Op.Generation = p.generation
	}
	if p.assigned {
		r.AssignedAt = instant(p.assignedAt)
	}
	return r, nil
}

// HasPending reports whether something is pending for a key.
func (j *Journal) HasPending(k keys.Key) bool {
	if j.PendingCount() == 0 {
		return false
	}
	h := j.hash.text(k.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.keys[h]
	return ok && s.entries.at(i).pending > 0
}

// Outstanding returns up to limit pending records after a position, in order:
// less only where there are no more. It reads their keys from disk; one that
// cannot be read is left out, see Stats.Damaged.
func (j *Journal) Outstanding(after Position, limit int) []Outstanding {
	var out []Outstanding
	for len(out) < limit {
		places, orgs := j.pendingAfter(after, limit-len(out))
		if len(places) == 0 {
			break
		}
		for i, p := range places {
			after = p.pos
			o := p.outstanding(orgs[i])
			if p.kind == Pending {
				if p.seg.damages.has(p.off) {
					continue
				}
				r, err := j.readMoved(p)
				if r == nil || err != nil {
					continue // resolved meanwhile, damaged, or the journal is closed
				}
				o.Key = r.Op.Key
			}
			out = append(out, o)
		}
	}
	return out
}

// Waiting is Outstanding by the index alone: without keys, and with those that cannot
// be read.
func (j *Journal) Waiting(after Position, limit int) []Outstanding {
	places, orgs := j.pendingAfter(after, limit)
	out := make([]Outstanding, len(places))
	for i, p := range places {
		out[i] = p.outstanding(orgs[i])
	}
	return out
}

func (p place) outstanding(o keys.Org) Outstanding {
	return Outstanding{Position: p.pos, Kind: p.kind, Org: o, Assigned: p.assigned, Generation: p.generation}
}

func (j *Journal) pendingAfter(after Position, limit int) (places []place, orgs []keys.Org) {
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.order.after(after) {
		if len(places) >= limit {
			break
		}
		if pe, ok := s.pend[p]; ok {
			places, orgs = append(places, s.placeLocked(pe.rec)), append(orgs, pe.org)
		}
	}
	return places, orgs
}

// readMoved reads a pending record, once more where it was moved to another
// segment meanwhile. It returns nil if it is not pending any more, or damaged.
func (j *Journal) readMoved(p place) (*Record, error) {
	for try := 0; ; try++ {
		r, err := j.read(p)
		if err == nil {
			return r, nil
		}
		now, ok := j.pendingAt(p.pos)
		moved := now.seg != p.seg || now.off != p.off
		switch {
		case !ok, !moved && j.lost(p, err):
			return nil, nil
		case !moved && errors.Is(err, errGone), try > 8:
			return nil, err
		}
		p = now
	}
}

func (j *Journal) pendingAt(p Position) (place, bool) {
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	pe, ok := s.pend[p]
	if !ok {
		return place{}, false
	}
	return s.placeLocked(pe.rec), true
}

// Read returns pending records. Those that are not pending any more are left out,
// and so are those that cannot be read, see Stats.Damaged: they stay pending. The
// generation of an Op is the one that was assigned, if one was. An error means
// that the journal is closed.
func (j *Journal) Read(ps ...Position) ([]*Record, error) {
	var out []*Record
	for _, p := range ps {
		at, ok := j.pendingAt(p)
		if !ok {
			continue
		}
		r, err := j.readMoved(at)
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		if r != nil {
			out = append(out, r)
		}
	}
	return out, nil
}

// Known returns what the journal knows of a key, in order: of a value the record
// with the highest generation and version and all that are pending; of a
// conversation what was written since its floor, the newest Replace included, as
// far as it is indexed. Pending records that an Invalidation ended are left out,
// and so is what is of a lower generation than the organisation's.
//
// A pending record that was not assigned will be applied under the generation
// that is current then: its Op has that of the organisation, as far as known.
//
// What cannot be read is left out, see Stats.Damaged.
func (j *Journal) Known(k keys.Key) ([]*Record, error) {
	out, _, err := j.KnownAfter(k, 0, nil)
	return out, err
}

// KnownAfter is Known of what stands after a position, as if nothing stood before:
// what an earlier Replace made needless may be among it. What is in has is left
// out. It costs what it gives, however much stands before. UpTo is the position of
// the last one that stands there, left out or not.
func (j *Journal) KnownAfter(k keys.Key, after Position, has map[Position]bool) (rs []*Record, upTo Position, err error) {
	for range 3 {
		var again bool
		if rs, upTo, again, err = j.known(k, after, has); !again {
			break
		}
	}
	return rs, upTo, err
}

// known is Known. It asks to be called again when what it was about to read was
// moved or dropped meanwhile.
func (j *Journal) known(k keys.Key, after Position, has map[Position]bool) (out []*Record, upTo Position, again bool, err error) {
	h := j.hash.text(k.String())
	j.state.mu.RLock()
	places := j.state.knownLocked(h, k.Org(), after)
	j.state.mu.RUnlock()
	for _, p := range places {
		upTo = max(upTo, p.pos)
		if has[p.pos] {
			continue
		}
		r, err := j.read(p)
		switch {
		case err == nil && r.Op.Key == k:
			out = append(out, r)
		case err != nil && !j.lost(p, err):
			again = true
		}
	}
	if again {
		err = fmt.Errorf("read journal: %w", errGone)
	}
	return out, upTo, again, err
}

func (s *state) knownLocked(h keyHash, o keys.Org, after Position) []place {
	k, ok := s.keys[h]
	if !ok {
		return nil
	}
	generation := s.generationLocked(o)
	var visible []int32
	top := int32(none)
	for i := s.afterLocked(k, after); i != none; i = s.recs.at(i).next {
		r := s.recs.at(i)
		if g, fixed := s.belongsLocked(r); fixed && g < generation {
			continue
		}
		visible = append(visible, i)
		if r.action != store.Append && (top == none || s.exceedsLocked(i, top, generation)) {
			top = i
		}
	}
	var places []place
	for _, i := range visible {
		r := s.recs.at(i)
		if r.kind == Applied && i != top && top != none && (r.action != store.Append || r.version.Compare(s.recs.at(top).version) < 0) {
			continue
		}
		p := s.placeLocked(i)
		if r.kind == Pending && !p.assigned {
			p.current, p.generation = true, generation
		}
		places = append(places, p)
	}
	return places
}

// afterLocked returns the first record of a key that stands after a position.
func (s *state) afterLocked(k int32, after Position) int32 {
	ke := s.entries.at(k)
	if after == 0 {
		return ke.head
	}
	first := int32(none)
	for i := ke.tail; i != none && s.recs.at(i).pos > after; i = s.recs.at(i).prev {
		first = i
	}
	return first
}

// belongsLocked returns the generation of a record, and whether that is decided.
func (s *state) belongsLocked(r *rec) (generation uint64, fixed bool) {
	if r.kind != Pending {
		return r.generation, true
	}
	pe := s.pend[r.pos]
	return pe.generation, pe.assigner != 0
}

// exceedsLocked reports whether record i of a key comes out on top of another:
// of a value by generation and version, of a conversation by version.
func (s *state) exceedsLocked(i, top int32, generation uint64) bool {
	a, b := s.recs.at(i), s.recs.at(top)
	if a.action == store.Set {
		ga, fixed := s.belongsLocked(a)
		if !fixed {
			ga = max(ga, generation)
		}
		gb, fixed := s.belongsLocked(b)
		if !fixed {
			gb = max(gb, generation)
		}
		if ga != gb {
			return ga > gb
		}
	}
	return a.version.Compare(b.version) > 0
}

// Newest reports whether the journal knows of nothing that makes an Applied record
// without effect: a later version of the value, or a higher floor; or, but for a
// Replace, which raises a floor in any case, a higher generation.
func (j *Journal) Newest(r *Record) bool {
	op := &r.Op
	h := j.hash.text(op.Key.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	if op.Action != store.Replace && op.Generation < s.generationLocked(op.Key.Org()) {
		return false
	}
	k, ok := s.keys[h]
	if !ok || s.entries.at(k).top == none {
		return true
	}
	top := s.recs.at(s.entries.at(k).top)
	if op.Action == store.Set {
		return top.compare(op.Generation, op.Version) <= 0
	}
	return top.version.Compare(op.Version) <= 0
}

// ExpiresAt returns the latest expiry that is known for the key; zero for none.
func (j *Journal) ExpiresAt(k keys.Key) time.Time {
	h := j.hash.text(k.String())
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i, ok := s.keys[h]; ok {
		return instant(s.entries.at(i).expires)
	}
	return time.Time{}
}
