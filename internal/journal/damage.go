package journal

import (
	"errors"
	"io"
	"slices"
	"sort"
	"sync"
)

// errMoved means that the end of a segment went to another one meanwhile.
var errMoved = errors.New("segment ends earlier now")

// damages is where a segment cannot be read: the offsets of records. The zero
// value is none. Safe for concurrent use.
type damages struct {
	mu sync.Mutex
	at map[int64]bool // guarded by mu
}

// add reports whether the offset is a new one.
func (d *damages) add(off int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at[off] {
		return false
	}
	if d.at == nil {
		d.at = map[int64]bool{}
	}
	d.at[off] = true
	return true
}

func (d *damages) has(off int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at[off]
}

// damage notes that bytes of a segment cannot be read. It counts and logs them
// once, however often somebody comes by.
func (j *Journal) damage(seg *segment, off, size int64, err error) {
	if !seg.damages.add(off) {
		return
	}
	j.damaged.Add(size)
	j.o.Logger.Error("a part of the journal cannot be read and is passed over", "segment", seg.name, "offset", off, "bytes", size, "error", err)
}

// lost reports whether a record is damaged, which it then notes: reading it
// failed although it stands where it is said to stand.
func (j *Journal) lost(p place, err error) bool {
	end := p.off + int64(p.size)
	if errors.Is(err, errGone) || j.endsBefore(p.seg, end) {
		return false
	}
	j.damage(p.seg, p.off, int64(p.size), err)
	return true
}

// endsBefore reports whether a segment ends before off now: it was cut there
// after a failed sync.
func (j *Journal) endsBefore(seg *segment, off int64) bool {
	j.state.mu.RLock()
	defer j.state.mu.RUnlock()
	return seg.size < off
}

// walk reads the records of a segment in order and passes over what cannot be
// read: it goes on at the next record whose place is in the index. What stands
// in between, and behind the last such place, is left out: bytes that look like
// a record are never searched for.
type walk struct {
	frames
	j   *Journal
	seg *segment
	// around has the places of the index, in order, once the walk met damage.
	around  []span
	damaged bool
}

// span is a part of a segment.
type span struct{ from, to int64 }

// walkTo begins a walk up to an end that the segment has or had.
func (j *Journal) walkTo(seg *segment, end int64) *walk {
	return &walk{frames: frames{f: seg, seed: seg.seed, off: headerSize, end: end}, j: j, seg: seg}
}

// next returns the next record that can be read, valid until the next call, and
// its offset. It returns io.EOF at the end, errMoved where the segment ends
// earlier now, and errGone.
func (w *walk) next() (frame []byte, p Position, off int64, err error) {
	for {
		off = w.off
		frame, p, err = w.frames.next()
		switch {
		case err == nil, errors.Is(err, errGone):
			return frame, p, off, err
		case errors.Is(err, io.EOF):
			if w.damaged && w.j.endsBefore(w.seg, w.end) {
				err = errMoved // what was passed over may be whole there
			}
			return nil, 0, off, err
		case w.j.endsBefore(w.seg, off+1):
			return nil, 0, off, errMoved
		}
		next := w.behind(off)
		w.j.damage(w.seg, off, next-off, err)
		w.skip(next)
	}
}

// behind returns where the walk can go on after something at off that cannot be
// read.
func (w *walk) behind(off int64) int64 {
	if !w.damaged {
		w.damaged = true
		w.around = w.j.state.spans(w.seg)
	}
	i := sort.Search(len(w.around), func(i int) bool { return w.around[i].from >= off })
	switch {
	case i == len(w.around):
		return w.end
	case w.around[i].from == off:
		return min(w.around[i].to, w.end)
	}
	return min(w.around[i].from, w.end)
}

// spans returns the places in a segment that the index knows, in order.
func (s *state) spans(seg *segment) []span {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []span
	add := func(r *rec) { out = append(out, span{int64(r.off), int64(r.off) + int64(r.size)}) }
	for i := seg.head; i != none; i = s.recs.at(i).segNext {
		add(s.recs.at(i))
	}
	if seg.pending > 0 {
		for _, pe := range s.pend {
			if r := s.recs.at(pe.rec); r.seg == seg.number {
				add(r)
			}
		}
	}
	slices.SortFunc(out, func(a, b span) int { return int(a.from - b.from) })
	return out
}
