package journal

import (
	"cmp"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/store"
)

// none is no place in a slab.
const none = -1

// keyEntry is what is known of a key: its records in order of position.
type keyEntry struct {
	hash       keyHash
	head, tail int32
	// top is the record that counts among those that are not pending: of a value
	// the one with the highest generation and version, of a conversation the
	// floor. None: it is not known.
	top     int32
	expires int64 // nanoseconds, the latest
	// stays is until when the shared store has it, in nanoseconds: of a value
	// until when its top is there, of a conversation what is not pending.
	stays    int64
	messages int32 // of a conversation, that are not pending
	pending  int32
	trimmed  Position // of a conversation, the last that its window left behind
}

// rec is the place of a record.
type rec struct {
	pos        Position
	generation uint64
	version    clock.Version
	seg        uint32 // its number
	off        uint32
	size       uint32
	messages   int32
	key        int32 // none: an Invalidation
	prev, next int32 // of the key
	// of the segment, for those that are not pending
	segPrev, segNext int32
	kind             Kind
	action           store.Action
	tombstone        bool
}

func newRec(seg *segment, e *entry, key int32) rec {
	return rec{
		pos: e.pos, generation: e.generation, version: e.version, seg: seg.number,
		off: uint32(e.off), size: uint32(e.size), messages: e.messages, key: key,
		prev: none, next: none, segPrev: none, segNext: none,
		kind: e.kind, action: e.action, tombstone: e.tombstone,
	}
}

// compare orders records of a value.
func (r *rec) compare(generation uint64, v clock.Version) int {
	return cmp.Or(cmp.Compare(r.generation, generation), r.version.Compare(v))
}

// keyLocked returns the entry of a key, a new one if there is none.
func (s *state) keyLocked(h keyHash) int32 {
	k, ok := s.keys[h]
	if !ok {
		k = s.entries.add(keyEntry{hash: h, head: none, tail: none, top: none})
		s.keys[h] = k
	}
	return k
}

// keepPendingLocked adds a pending record to its key, if it has one.
func (s *state) keepPendingLocked(seg *segment, e *entry) int32 {
	if e.kind != Pending {
		return s.recs.add(newRec(seg, e, none))
	}
	k := s.keyLocked(e.key)
	ke := s.entries.at(k)
	ke.pending++
	ke.expires = max(ke.expires, e.expires)
	return s.linkLocked(newRec(seg, e, k))
}

// indexLocked adds a record that is part of the shared store, and forgets those
// that it makes needless.
func (s *state) indexLocked(seg *segment, e *entry) {
	k := s.keyLocked(e.key)
	ke := s.entries.at(k)
	ke.expires = max(ke.expires, e.expires)
	var top *rec
	if ke.top != none {
		top = s.recs.at(ke.top)
	}
	switch {
	case e.action == store.Set:
		if top != nil && top.compare(e.generation, e.version) > 0 {
			return
		}
		before := ke.top
		ke.top, ke.stays = s.linkTailLocked(seg, e, k), e.expires
		if before != none {
			s.forgetLocked(before)
		}
	case top != nil && top.version.Compare(e.version) > 0:
		return // below the floor
	case e.action == store.Replace:
		ke.top, ke.stays = s.linkTailLocked(seg, e, k), e.expires
		s.cutLocked(k)
	default:
		s.linkTailLocked(seg, e, k)
		ke.stays = max(ke.stays, e.expires)
		s.trimLocked(k, e.window)
	}
}

// linkTailLocked adds a record that is not pending to its key and segment.
func (s *state) linkTailLocked(seg *segment, e *entry, key int32) int32 {
	i := s.linkLocked(newRec(seg, e, key))
	r := s.recs.at(i)
	s.entries.at(key).messages += r.messages
	s.joinLocked(seg, i)
	return i
}

// joinLocked adds a record to the list of its segment.
func (s *state) joinLocked(seg *segment, i int32) {
	r := s.recs.at(i)
	r.segNext = none
	if r.segPrev = seg.tail; seg.tail == none {
		seg.head = i
	} else {
		s.recs.at(seg.tail).segNext = i
	}
	seg.tail = i
}

func (s *state) linkLocked(r rec) int32 {
	ke := s.entries.at(r.key)
	r.prev = ke.tail
	i := s.recs.add(r)
	if ke.tail == none {
		ke.head = i
	} else {
		s.recs.at(ke.tail).next = i
	}
	ke.tail = i
	return i
}

// cutLocked forgets what a new floor makes needless.
func (s *state) cutLocked(k int32) {
	ke := s.entries.at(k)
	floor := s.recs.at(ke.top)
	for i := ke.head; i != none; {
		r := s.recs.at(i)
		next := r.next
		if i != ke.top && r.kind == Applied && (r.action == store.Replace || r.version.Compare(floor.version) < 0) {
			s.forgetLocked(i)
		}
		i = next
	}
}

// trimLocked forgets the oldest messages of a conversation beyond twice its
// window: what is older was trimmed in the shared store.
func (s *state) trimLocked(k, window int32) {
	const look = 64 // do not walk over many pending ones each time
	ke := s.entries.at(k)
	if window <= 0 {
		return
	}
	for i, n := ke.head, 0; i != none && i != ke.tail && ke.messages > 2*window && n < look; n++ {
		r := s.recs.at(i)
		next := r.next
		if i != ke.top && r.kind == Applied {
			ke.trimmed = max(ke.trimmed, r.pos)
			s.forgetLocked(i)
		}
		i = next
	}
}

// forgetLocked removes a record from the index. It is not pending any more.
func (s *state) forgetLocked(i int32) {
	r := s.recs.at(i)
	if !r.kind.pends() {
		s.unlinkSegmentLocked(r)
	}
	if r.key != none {
		s.unlinkKeyLocked(i, r)
	}
	s.recs.remove(i)
}

func (s *state) unlinkSegmentLocked(r *rec) {
	seg := s.numbers[r.seg]
	if r.segPrev == none {
		seg.head = r.segNext
	} else {
		s.recs.at(r.segPrev).segNext = r.segNext
	}
	if r.segNext == none {
		seg.tail = r.segPrev
	} else {
		s.recs.at(r.segNext).segPrev = r.segPrev
	}
}

func (s *state) unlinkKeyLocked(i int32, r *rec) {
	ke := s.entries.at(r.key)
	if r.prev == none {
		ke.head = r.next
	} else {
		s.recs.at(r.prev).next = r.next
	}
	if r.next == none {
		ke.tail = r.prev
	} else {
		s.recs.at(r.next).prev = r.prev
	}
	if ke.top == i {
		ke.top = none
	}
	if r.kind == Pending {
		ke.pending--
	} else {
		ke.messages -= r.messages
	}
	if ke.head == none {
		delete(s.keys, ke.hash)
		s.entries.remove(r.key)
	}
}

// boundLocked keeps the index within its bound: the oldest records go, never
// pending ones.
func (s *state) boundLocked() {
	over := func() bool { return len(s.keys) > s.maxKeys || s.recs.len() > s.maxRecs }
	if !over() {
		return
	}
	for _, seg := range s.segments {
		for seg.head != none {
			s.forgetLocked(seg.head)
			if !over() {
				return
			}
		}
	}
}

// removeLocked takes a segment without pending records out.
func (s *state) removeLocked(seg *segment) {
	for seg.head != none {
		s.forgetLocked(seg.head)
	}
	delete(s.numbers, seg.number)
	for i, other := range s.segments {
		if other == seg {
			s.segments = append(s.segments[:i:i], s.segments[i+1:]...)
			break
		}
	}
	s.totalsLocked()
}
