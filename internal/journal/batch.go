package journal

import (
	"encoding/binary"
	"sync"
)

// batch is a number of records that are written at once.
type batch struct {
	buf     []byte  // frames without their checksums
	entries []entry // of the frames
	pending int64   // bytes of pending records
	durable bool
	// rotate: it shall begin a new segment.
	rotate bool

	written chan struct{} // closed once err is set
	err     error
	synced  chan struct{} // closed once syncErr is set
	syncErr error
	// told: synced was closed, although it may not be synced.
	told bool
}

func newBatch() *batch {
	b := &batch{written: make(chan struct{}), synced: make(chan struct{})}
	if used, ok := spare.Get().(*batch); ok {
		b.buf, b.entries = used.buf, used.entries
	}
	return b
}

// spare has batches whose memory can be used again.
var spare sync.Pool

// recycle gives the memory of b away. Callers who wait for b still look at the
// rest of it.
func (b *batch) recycle() {
	const keep = 4 << 20
	if cap(b.buf) <= keep {
		clear(b.entries) // they refer to what callers passed in
		spare.Put(&batch{buf: b.buf[:0], entries: b.entries[:0]})
	}
	b.buf, b.entries = nil, nil
}

// add appends a frame around payload.
func (b *batch) add(e entry, payload []byte) {
	e.off, e.size = len(b.buf), frameHead+len(payload)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, uint32(len(payload)))
	b.buf = binary.LittleEndian.AppendUint32(b.buf, 0)
	b.buf = binary.LittleEndian.AppendUint64(b.buf, uint64(e.pos))
	b.buf = append(b.buf, payload...)
	b.entries = append(b.entries, e)
	if e.kind.pends() {
		b.pending += int64(e.size)
	}
}

// place gives the records positions after last and returns the last of them.
func (b *batch) place(last Position) Position {
	for i := range b.entries {
		last++
		e := &b.entries[i]
		e.pos = last
		binary.LittleEndian.PutUint64(b.buf[e.off+8:], uint64(last))
	}
	return last
}

// seal writes the checksums of the segment with the given seed.
func (b *batch) seal(seed uint32) {
	for i := range b.entries {
		e := &b.entries[i]
		sealFrame(b.buf[e.off:e.off+e.size], seed)
	}
}

// finish tells those who wait for b to be written. An error is that of the sync,
// too.
func (b *batch) finish(err error) {
	b.err = err
	close(b.written)
	if err != nil {
		b.tell(err)
	}
}

// tell tells those who wait for b to be synced.
func (b *batch) tell(err error) {
	if b.told {
		return
	}
	b.told, b.syncErr = true, err
	close(b.synced)
}
