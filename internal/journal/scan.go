package journal

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
)

// Generations returns the highest generation of each organisation that is above
// zero.
func (j *Journal) Generations() map[keys.Org]uint64 {
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[keys.Org]uint64{}
	for o, st := range s.orgs {
		if st.generation > 0 {
			out[o] = st.generation
		}
	}
	return out
}

// Highest returns the highest version of a live write that is recorded.
func (j *Journal) Highest() clock.Version {
	j.state.mu.RLock()
	defer j.state.mu.RUnlock()
	return j.state.highest
}

// Before returns a position at or before the first record that was accepted at t or
// later.
func (j *Journal) Before(t time.Time) (p Position) {
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, seg := range s.segments {
		if seg.newest >= nanoseconds(t) {
			break
		}
		p = max(p, seg.high)
	}
	return p
}

// extent is a segment as far as it was written.
type extent struct {
	seg  *segment
	size int64
	high Position
}

func (s *state) extents() []extent {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []extent
	for _, seg := range s.segments {
		if seg.records > 0 {
			out = append(out, extent{seg, seg.size, seg.high})
		}
	}
	return out
}

// Scan calls f with the records after from up to and including to, in order, and
// stops at the first error of f or ctx. Segments that are dropped meanwhile are
// left out, and so is what cannot be read: see Stats.Damaged. What it passes on is
// f's to keep.
func (j *Journal) Scan(ctx context.Context, from, to Position, f func(*Record) error) error {
	last := from
	for done := false; !done; {
		done = true
		for _, e := range j.state.extents() {
			if e.high <= last {
				continue
			}
			moved, err := j.scanSegment(ctx, e, &last, to, f)
			if err != nil || last >= to {
				return err
			}
			if moved {
				// A failed sync: what is left of it stands in a later segment.
				done = false
				break
			}
		}
	}
	return nil
}

// scanSegment passes on the records of a segment after last. It reports whether
// the end of the segment was moved to another one meanwhile.
func (j *Journal) scanSegment(ctx context.Context, e extent, last *Position, to Position, f func(*Record) error) (moved bool, err error) {
	in := j.walkTo(e.seg, e.size)
	for {
		frame, p, off, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case errors.Is(err, errGone):
			return false, j.closedError()
		case err != nil:
			return true, nil // errMoved
		case p > to:
			*last = max(*last, to)
			return false, nil
		case p <= *last:
			continue
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		r, err := decodeRecord(j.o.Space, p, slices.Clone(frame[frameHead:]))
		*last = p
		if err != nil {
			j.damage(e.seg, off, int64(len(frame)), err)
			continue
		}
		if r.Kind > Assigned {
			continue
		}
		if err := f(r); err != nil {
			return false, err
		}
	}
}

// closedError returns ErrClosed if the journal was closed.
func (j *Journal) closedError() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	return nil
}
