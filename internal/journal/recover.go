package journal

import (
	"errors"
	"fmt"
	"io"
)

// claim is what later segments say of one.
type claim struct {
	end   int64
	final bool
}

func claims(found []*segment) map[Position]claim {
	out := map[Position]claim{}
	for _, seg := range found {
		if c, ok := out[seg.before]; seg.before != 0 {
			out[seg.before] = claim{max(c.end, seg.end), ok && c.final || seg.final}
		}
	}
	return out
}

// readSegments takes in all records, in order. What a later segment says was
// whole is damaged if it cannot be read; after that, and in the last segment, an
// end is torn, and cut.
func (j *Journal) readSegments(found []*segment) error {
	r := newReader(j.hash, j.o.Space)
	claimed := claims(found)
	var last Position
	for i, seg := range found {
		size := seg.fileSize
		c, ok := claimed[seg.first]
		if !ok && i < len(found)-1 {
			c = claim{end: size} // what followed it went
		}
		end := size
		if c.final {
			end = min(size, c.end)
		}
		j.state.addLocked(seg)
		err := j.readSegment(r, seg, end, &last)
		switch {
		case err != nil && !errors.Is(err, errFrame):
			return fmt.Errorf("%s: %w", seg.name, err)
		case seg.size < c.end:
			if err := j.setAside(seg, size, c.end, found[i+1].created); err != nil {
				return err
			}
		case seg.size < size:
			j.o.Logger.Warn("the journal had a torn end, which was cut", "segment", seg.name, "offset", seg.size, "bytes", size-seg.size)
		}
		if err := cutTo(seg, size); err != nil {
			return fmt.Errorf("cut %s to %d bytes: %w", seg.name, seg.size, err)
		}
	}
	if len(found) > 0 {
		j.state.totalsLocked()
	}
	return nil
}

func cutTo(seg *segment, size int64) error {
	if seg.size >= size {
		return nil
	}
	if err := seg.f.Truncate(seg.size); err != nil {
		return err
	}
	return seg.f.Sync()
}

// readSegment takes in the records of a segment up to end. It leaves size where
// the last whole group of records ends, and returns errFrame where something else
// stands there.
func (j *Journal) readSegment(r *reader, seg *segment, end int64, last *Position) error {
	s := j.state
	in := &frames{f: seg, seed: seg.seed, off: headerSize, end: end}
	var group []entry
	for {
		off := in.off
		frame, p, err := in.next()
		if errors.Is(err, io.EOF) {
			if len(group) > 0 {
				return errFrame
			}
			return nil
		}
		if err == nil && (bootOf(p) != seg.boot || len(group) > 0 && p != group[len(group)-1].pos+1) {
			err = errFrame
		}
		if err != nil {
			return err
		}
		e, err := r.entry(p, frame[frameHead:], off)
		if err != nil {
			// Whole, but not readable: the others are not concerned.
			j.damage(seg, off, int64(len(frame)), err)
			e = entry{pos: p, off: int(off), size: len(frame), kind: Resolved, more: e.more}
		}
		group = append(group, e)
		if e.more {
			continue
		}
		for i := range group {
			e := &group[i]
			if e.pos <= *last { // written again after a failed sync
				seg.repeats(e)
				continue
			}
			s.applyLocked(seg, e)
			*last = e.pos
		}
		group = group[:0]
	}
}

// repeats notes a record that an earlier segment has, too. Once that one is gone
// it counts here, so what resolved it has to stay.
func (s *segment) repeats(e *entry) {
	s.size = max(s.size, int64(e.off+e.size))
	if s.low == 0 {
		s.low = e.pos
	}
	s.high = e.pos
}

// setAside keeps what cannot be read of a segment, which was written until then,
// in a file of its own.
func (j *Journal) setAside(seg *segment, size, claimed, until int64) error {
	j.state.since = max(j.state.since, seg.newest, until)
	kept := seg.name + damagedSuffix
	lost := max(size, claimed) - seg.size
	if size == seg.size {
		// Nothing is left to be kept: it was cut by an earlier Open, or outside.
		if f, err := j.fs.open(kept); err == nil {
			return f.Close()
		}
		j.damaged.Add(lost)
		j.o.Logger.Error("a segment of the journal is shorter than it was", "segment", seg.name, "offset", seg.size, "bytes", lost)
		return nil
	}
	j.damaged.Add(lost)
	j.o.Logger.Error("a segment of the journal is damaged; the rest of it was set aside", "segment", seg.name, "offset", seg.size, "bytes", lost, "kept", kept)
	if err := j.copyRest(seg, size, kept+unfinished); err != nil {
		return fmt.Errorf("set %s aside: %w", kept, err)
	}
	if err := j.fs.rename(kept+unfinished, kept); err != nil {
		return err
	}
	return j.fs.sync()
}

func (j *Journal) copyRest(seg *segment, size int64, name string) (err error) {
	f, err := j.fs.create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	rest := io.NewSectionReader(seg, seg.size, size-seg.size)
	if _, err := io.Copy(io.NewOffsetWriter(f, 0), rest); err != nil {
		return err
	}
	return f.Sync()
}
