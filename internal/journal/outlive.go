package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/jackcache/jackcache/internal/store"
)

// outliving returns what has to be recorded elsewhere before a segment goes:
//
//   - the generation of each organisation that nothing later shows;
//   - the newest floor of a conversation and the newest tombstone of a value, as
//     long as they matter;
//   - what its records say of pending records in segments that stay: they would
//     be pending again.
//
// Where some of it cannot be read, what it said of pending records is taken from
// what is known, so that a damaged segment can go, too.
func (j *Journal) outliving(seg *segment) ([]*Record, error) {
	g := gathering{j: j, seg: seg, now: nanoseconds(j.o.Now()), marks: map[keyHash]mark{}}
	j.state.mu.RLock()
	g.older = j.state.olderLocked(seg)
	g.generationsLocked(j.state)
	size := seg.size
	j.state.mu.RUnlock()
	r := newReader(j.hash, j.o.Space)
	in := j.walkTo(seg, size)
	err := in.each(r, g.see)
	if err == nil && in.damaged {
		err = g.recollect(r)
	}
	if err != nil {
		return nil, err
	}
	return g.finish()
}

// each calls f with each record that can be read.
func (w *walk) each(r *reader, f func(*entry)) error {
	for {
		frame, p, off, err := w.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", w.seg.name, off, err)
		}
		if e, err := r.entry(p, frame[frameHead:], off); err == nil {
			f(&e)
		}
	}
}

// gathering is what outlives a segment, as far as it was read.
type gathering struct {
	j        *Journal
	seg      *segment
	now      int64
	older    []*segment // that are not empty
	records  []*Record
	resolved []Position
	marks    map[keyHash]mark
}

// mark is the newest floor or tombstone of a key in a segment.
type mark struct{ entry }

func (s *state) olderLocked(seg *segment) (older []*segment) {
	for _, other := range s.segments {
		if other == seg {
			break
		}
		if other.high > 0 {
			older = append(older, other)
		}
	}
	return older
}

func (g *gathering) generationsLocked(s *state) {
	for o, st := range s.orgs {
		if st.generation > 0 && st.proof == g.seg.number {
			g.records = append(g.records, &Record{Kind: Generation, Org: o, Generation: st.generation, origin: g.seg.first})
		}
	}
}

// holds reports whether a position is in an older segment that stays.
func (g *gathering) holds(p Position) bool {
	i := sort.Search(len(g.older), func(i int) bool { return g.older[i].high >= p })
	return i < len(g.older) && g.older[i].low <= p
}

func (g *gathering) see(e *entry) {
	for _, p := range e.resolves {
		if g.holds(p) {
			g.resolved = append(g.resolved, p)
		}
	}
	upTo := e.upTo
	switch e.kind {
	case Applied:
		g.seeApplied(e)
	case Invalidation:
		upTo = e.pos - 1 // it may be pending itself: in a segment that has it, too
		fallthrough
	case ended:
		if len(g.older) > 0 && g.older[0].low <= upTo {
			g.records = append(g.records, &Record{Kind: ended, Org: e.org, UpTo: upTo, origin: e.first()})
		}
	case Assigned:
		if g.j.assigns(e) {
			g.records = append(g.records, &Record{Kind: Assigned, Org: e.org, Generation: e.generation, UpTo: e.upTo, Time: instant(e.time), origin: e.first()})
		}
	}
}

// first is the position that the record had first.
func (e *entry) first() Position {
	if e.carried {
		return e.origin
	}
	return e.pos
}

// assigns reports whether an Assigned record decided the generation of something
// that is pending.
func (j *Journal) assigns(e *entry) bool {
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.orgs[e.org]
	return st != nil && slices.ContainsFunc(st.pending.copyTo(e.upTo), func(p Position) bool {
		pe, ok := s.pend[p]
		return ok && pe.assigner == e.first()
	})
}

func (g *gathering) seeApplied(e *entry) {
	before, known := g.marks[e.key]
	switch {
	case e.action == store.Append:
		return
	case e.action == store.Set && known && before.compare(e) < 0 && !e.tombstone:
		delete(g.marks, e.key)
		return
	case e.action == store.Set && !e.tombstone, e.life < g.now, known && before.compare(e) > 0:
		return
	}
	m := mark{*e}
	m.resolves = nil
	g.marks[e.key] = m
}

// compare orders records of one key: values by generation and version, floors by
// version.
func (e *entry) compare(other *entry) int {
	if e.action == store.Set {
		if c := cmp.Compare(e.generation, other.generation); c != 0 {
			return c
		}
	}
	return e.version.Compare(other.version)
}

// finish adds the marks that nothing in another segment exceeds, and what was
// resolved.
func (g *gathering) finish() ([]*Record, error) {
	for _, m := range g.marks {
		if !g.j.state.outdoes(&m.entry, g.seg) {
			at := place{seg: g.seg, off: int64(m.off), size: m.size, pos: m.pos}
			r, err := g.j.read(at)
			switch {
			case err != nil && g.j.lost(at, err):
				continue
			case err != nil:
				return nil, err
			}
			r.Op.Messages, r.Resolves, r.origin = nil, nil, m.first()
			g.records = append(g.records, r)
		}
	}
	slices.SortFunc(g.records, func(a, b *Record) int { return cmp.Compare(a.origin, b.origin) })
	for ps := range slices.Chunk(g.resolved, 1024) {
		g.records = append(g.records, &Record{Kind: Resolved, Resolves: ps, origin: g.seg.first})
	}
	return g.records, nil
}

// outdoes reports whether another segment has what makes a floor or tombstone
// needless.
func (s *state) outdoes(e *entry, seg *segment) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e.action == store.Set && e.generation < s.generationLocked(e.org) {
		return true
	}
	k, ok := s.keys[e.key]
	if !ok || s.entries.at(k).top == none {
		return false
	}
	top := s.recs.at(s.entries.at(k).top)
	if e.action == store.Set {
		return top.seg != seg.number && top.compare(e.generation, e.version) >= 0
	}
	return top.seg != seg.number && top.version.Compare(e.version) >= 0
}
