package journal

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
)

// state is what the journal knows of its records: which are pending, where those
// of a key are, what each segment holds. The records themselves stay on disk.
type state struct {
	maxKeys, maxRecs int

	mu       sync.RWMutex // guards all below; never held while the disk works
	segments []*segment   // in order; the last is the one that is written
	numbers  map[uint32]*segment
	number   uint32

	keys    map[keyHash]int32
	entries slab[keyEntry]
	recs    slab[rec]

	pend  map[Position]pending
	order positions // of pend
	orgs  map[keys.Org]*orgState

	highest clock.Version
	since   int64

	last         atomic.Uint64 // Position of the last record that is written
	pendingCount atomic.Int64
	pendingBytes int64
	// What MaxBytes bounds: all, and what cannot go because of pending records.
	bytes, pinned atomic.Int64
	// idle: the newest segment has nothing pending, but records.
	idle atomic.Bool
}

// pending is a record that was not resolved yet.
type pending struct {
	rec  int32
	org  keys.Org
	time int64
	// assigner is the Position of the Assigned record that decided generation;
	// zero: none did.
	assigner   Position
	assignedAt int64
	generation uint64
}

// orgState is what is known of an organisation; the zero one is the directory.
type orgState struct {
	generation uint64
	// proof is the number of the newest segment that shows the generation.
	proof   uint32
	pending positions
}

func newState(maxKeys int) *state {
	return &state{
		maxKeys: maxKeys, maxRecs: 4 * maxKeys,
		numbers: map[uint32]*segment{},
		keys:    map[keyHash]int32{},
		pend:    map[Position]pending{},
		orgs:    map[keys.Org]*orgState{},
	}
}

// addLocked makes a segment the newest one.
func (s *state) addLocked(seg *segment) {
	s.number++
	seg.number = s.number
	s.numbers[seg.number] = seg
	s.segments = append(s.segments, seg)
	s.since = max(s.since, seg.since)
}

// newestLocked returns the segment that is written.
func (s *state) newestLocked() *segment { return s.segments[len(s.segments)-1] }

// applyLocked takes in a record of a segment; the offset of e is one in its file.
func (s *state) applyLocked(seg *segment, e *entry) {
	s.countLocked(seg, e)
	s.provenLocked(seg, e)
	if isLive(e.version) && e.version.Compare(s.highest) > 0 {
		s.highest = e.version
	}
	switch e.kind {
	case Applied:
		s.indexLocked(seg, e)
	case Pending:
		s.pendLocked(seg, e)
	case Invalidation:
		s.endLocked(e.org, e.pos)
		s.pendLocked(seg, e)
	case Assigned:
		s.assignLocked(e)
	case ended:
		s.endLocked(e.org, e.upTo)
	case dropped:
		s.since = max(s.since, e.time)
	}
	// Only now, so that what is known of a key is not forgotten in between.
	for _, p := range e.resolves {
		s.resolveLocked(p)
	}
	s.boundLocked()
}

func (s *state) countLocked(seg *segment, e *entry) {
	seg.records++
	seg.size = max(seg.size, int64(e.off+e.size))
	if seg.low == 0 {
		seg.low = e.pos
	}
	seg.high = e.pos
	if e.carried {
		seg.carried += int64(e.size)
	} else {
		seg.newest = max(seg.newest, e.time)
	}
	s.last.Store(uint64(max(e.pos, Position(s.last.Load()))))
}

// provenLocked notes the generation that a record shows.
func (s *state) provenLocked(seg *segment, e *entry) {
	if e.generation == 0 || e.org.IsZero() || e.kind == Resolved || e.kind == ended {
		return
	}
	o := s.orgLocked(e.org)
	if e.generation >= o.generation {
		o.generation, o.proof = e.generation, seg.number
	}
}

func (s *state) orgLocked(o keys.Org) *orgState {
	st := s.orgs[o]
	if st == nil {
		st = new(orgState)
		s.orgs[o] = st
	}
	return st
}

func (s *state) pendLocked(seg *segment, e *entry) {
	r := s.keepPendingLocked(seg, e)
	s.pend[e.pos] = pending{rec: r, org: e.org, time: e.time, generation: e.generation}
	s.order.add(e.pos)
	s.orgLocked(e.org).pending.add(e.pos)
	seg.pending++
	s.pendingBytes += int64(e.size)
	s.pendingCount.Add(1)
}

// resolveLocked makes a record one that is not pending. It need not be one.
func (s *state) resolveLocked(p Position) {
	pe, ok := s.pend[p]
	if !ok {
		return
	}
	delete(s.pend, p)
	r := s.recs.at(pe.rec)
	s.numbers[r.seg].pending--
	s.pendingBytes -= int64(r.size)
	s.pendingCount.Add(-1)
	s.forgetLocked(pe.rec)
	alive := func(p Position) bool { _, ok := s.pend[p]; return ok }
	s.order.drop(alive)
	o := s.orgs[pe.org]
	o.pending.drop(alive)
	if len(o.pending.list) == 0 && o.generation == 0 {
		delete(s.orgs, pe.org)
	}
}

// endLocked resolves what is pending of an organisation before upTo.
func (s *state) endLocked(o keys.Org, upTo Position) {
	st := s.orgs[o]
	if st == nil {
		return
	}
	for _, p := range st.pending.copyTo(upTo) {
		s.resolveLocked(p)
	}
}

// assignLocked decides the generation of what is pending. The first decision
// counts: what was applied under a generation once belongs to it.
func (s *state) assignLocked(e *entry) {
	st := s.orgs[e.org]
	if st == nil {
		return
	}
	made := e.pos
	if e.carried {
		made = e.origin
	}
	for _, p := range st.pending.copyTo(e.upTo) {
		pe, ok := s.pend[p]
		if !ok || s.recs.at(pe.rec).kind != Pending || pe.assigner != 0 && pe.assigner <= made {
			continue
		}
		pe.assigner, pe.assignedAt, pe.generation = made, e.time, e.generation
		s.pend[p] = pe
	}
}

// totalsLocked recounts what the bound is about. Callers who append look at it
// without the lock.
func (s *state) totalsLocked() {
	var bytes, pinned int64
	for _, seg := range s.segments {
		own := seg.size - seg.carried
		bytes += own
		if seg.pending > 0 {
			pinned += own
		}
	}
	s.bytes.Store(bytes)
	s.pinned.Store(pinned)
	newest := s.newestLocked()
	s.idle.Store(newest.pending == 0 && newest.records > 0)
}

// generationLocked returns the highest generation of an organisation.
func (s *state) generationLocked(o keys.Org) uint64 {
	if st := s.orgs[o]; st != nil {
		return st.generation
	}
	return 0
}

func (s *state) oldestPendingLocked() time.Time {
	if len(s.order.list) == 0 {
		return time.Time{}
	}
	return instant(s.pend[s.order.list[0]].time)
}
