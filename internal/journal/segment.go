package journal

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// errGone means that a segment was dropped while somebody was about to read it.
var errGone = errors.New("segment was dropped")

// segment is one file of the journal. Only the writer appends to the newest one.
type segment struct {
	header
	name   string
	number uint32 // counts from one within this process
	seed   uint32
	// fileSize is that of the file when it was opened.
	fileSize int64

	mu   sync.RWMutex // held for writing to close f
	f    file
	gone bool // guarded by mu

	damages damages

	// The rest is guarded by state.mu.
	size    int64 // end of the last good record
	carried int64 // bytes of what was taken over: they are apart from MaxBytes
	low     Position
	high    Position // low and high span what repeats other segments, too; zero: nothing
	records int64
	pending int64
	newest  int64 // nanoseconds: the latest Time
	// first and last record of it in the index that is not pending; none is -1
	head, tail int32

	// The rest belongs to the writer, but for synced, which is guarded by
	// Journal.mu.
	synced int64
	// torn: what is beyond size could not be cut off.
	torn bool
}

func newSegment(h header, f file) *segment {
	return &segment{
		header: h, name: segmentName(h.first), seed: seedOf(h.salt), f: f,
		size: headerSize, synced: headerSize, newest: h.created, head: none, tail: none,
	}
}

// read returns the frame at off. It fails with errGone when the segment was
// dropped.
func (s *segment) read(off int64, size int) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.gone {
		return nil, errGone
	}
	frame := make([]byte, size)
	if _, err := s.f.ReadAt(frame, off); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s at %d: %w", s.name, off, err)
	}
	if _, err := checkFrame(frame, s.seed); err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", s.name, off, err)
	}
	return frame, nil
}

// ReadAt reads from the file, or fails with errGone.
func (s *segment) ReadAt(p []byte, off int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.gone {
		return 0, errGone
	}
	return s.f.ReadAt(p, off)
}

// close closes the file once nobody reads it.
func (s *segment) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	s.gone = true
	return s.f.Close()
}
