package journal

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

const passedOver = "cannot be read and is passed over"

// hurt is a journal in memory whose bytes the test can change.
type hurt struct {
	*Journal
	t    *testing.T
	disk *memory
	log  *lines
}

func openHurt(t *testing.T, o Options) hurt {
	t.Helper()
	h := hurt{t: t, disk: newMemory(), log: new(lines)}
	o.Logger = slog.New(slog.NewTextHandler(h.log, nil))
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if h.Journal, err = open(o, h.disk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTest(t, h.Journal) })
	return h
}

// flip changes one byte of a segment.
func (h hurt) flip(seg *segment, at int64) {
	h.t.Helper()
	var b [1]byte
	if _, err := seg.f.ReadAt(b[:], at); err != nil {
		h.t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := seg.f.WriteAt(b[:], at); err != nil {
		h.t.Fatal(err)
	}
}

// found returns the segment and the offset of a record.
func (h hurt) found(p Position) (*segment, int64) {
	h.t.Helper()
	for _, e := range h.state.extents() {
		in := h.walkTo(e.seg, e.size)
		for {
			_, at, off, err := in.next()
			if err != nil {
				break
			}
			if at == p {
				return e.seg, off
			}
		}
	}
	h.t.Fatalf("position %x is not there", p)
	return nil, 0
}

// destroy changes a byte of a record: of its payload, or of its length.
func (h hurt) destroy(p Position, length bool) {
	h.t.Helper()
	seg, off := h.found(p)
	if length {
		h.flip(seg, off)
		return
	}
	h.flip(seg, off+frameHead+5)
}

func (h hurt) scan() (ps []Position) {
	h.t.Helper()
	for _, r := range all(h.t, h.Journal) {
		ps = append(ps, r.Position)
	}
	return ps
}

// badSector is a file of which a part cannot be read.
type badSector struct {
	file
	from, to int64
}

func (f *badSector) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case off >= f.to || off+int64(len(p)) <= f.from:
		return f.file.ReadAt(p, off)
	case off >= f.from:
		return 0, errFault
	}
	n, err := f.file.ReadAt(p[:f.from-off], off)
	if err == nil || err == io.EOF {
		err = errFault
	}
	return n, err
}
