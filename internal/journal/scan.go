package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

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
// stops at the first error. Segments that are dropped meanwhile are left out.
// What it passes on is f's to keep.
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
	in := &frames{f: e.seg, seed: e.seg.seed, off: headerSize, end: e.size}
	for {
		off := in.off
		frame, p, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case errors.Is(err, errGone):
			return false, j.closedError()
		case err != nil && j.shorter(e, off):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("scan journal: %s at %d: %w", e.seg.name, off, err)
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
			continue // it was logged and counted when the journal was opened
		}
		if r.Kind > Assigned {
			continue
		}
		if err := f(r); err != nil {
			return false, err
		}
	}
}

// shorter reports whether a segment ends before off now.
func (j *Journal) shorter(e extent, off int64) bool {
	j.state.mu.RLock()
	defer j.state.mu.RUnlock()
	return e.seg.size < e.size && off >= e.seg.size
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
