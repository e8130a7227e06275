package journal

import (
	"fmt"
	"runtime"
)

// write is the writer: it takes batch after batch until the journal is closed.
func (j *Journal) write() {
	for {
		// Whoever wakes the writer is about to wait, and others are about to
		// append: let them, or each of them would get a write of his own.
		runtime.Gosched()
		batches, work, ok := j.take()
		if !ok {
			j.endWriting()
			return
		}
		if work.rescue {
			j.rescueUnsynced()
		}
		if work.rotate {
			j.rotateNow()
		}
		for _, b := range batches {
			j.writeBatch(b)
		}
	}
}

// work is what the writer has to do beside writing.
type work struct{ rescue, rotate bool }

// take waits for something to do. It returns false when the journal was closed
// and all is written.
func (j *Journal) take() (batches []*batch, w work, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		if len(j.batch.entries) > 0 {
			batches = append(batches, j.batch)
			j.batch = newBatch()
		}
		if b := j.carry; b != nil {
			// Its positions follow those of the batch before it.
			j.carry = nil
			j.next = b.place(j.next)
			batches = append(batches, b)
		}
		// Before a batch is written, ready sees to it.
		w = work{rescue: j.failed != nil && j.rescue && len(batches) == 0, rotate: j.rotate}
		if len(batches) > 0 || w.rescue || w.rotate {
			j.rescue, j.rotate = false, false
			return batches, w, true
		}
		if j.closed {
			return nil, w, false
		}
		j.work.Wait()
		j.mu.Unlock()
		runtime.Gosched() // as in write
		j.mu.Lock()
	}
}

// endWriting has the last records synced and ends the syncer.
func (j *Journal) endWriting() {
	if j.drain() != nil {
		j.rescueUnsynced()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended, j.closeErr = true, j.failed
	j.sync.Signal()
}

// writeBatch writes one batch to the newest segment.
func (j *Journal) writeBatch(b *batch) {
	if err := j.ready(b); err != nil {
		j.failBatch(b, err)
		return
	}
	seg := j.seg
	b.seal(seg.seed)
	start := seg.size // only this goroutine changes it
	if _, err := seg.f.WriteAt(b.buf, start); err != nil {
		err = fmt.Errorf("write %s at %d: %w", seg.name, start, err)
		j.disk.report(err)
		j.cut(seg)
		j.failBatch(b, err)
		return
	}
	j.disk.works()
	for i := range b.entries {
		b.entries[i].off += int(start)
	}
	j.applyBatch(seg, b)
	j.mu.Lock()
	j.queued -= b.pending
	j.written += int64(len(b.buf))
	j.unsynced = append(j.unsynced, b)
	if b.durable || j.backlog >= syncBytes {
		j.wantSync = true
		j.sync.Signal()
	}
	b.finish(nil)
	j.mu.Unlock()
}

// applyBatch makes the records of a batch known. What is read from now on is on
// disk.
func (j *Journal) applyBatch(seg *segment, b *batch) {
	s := j.state
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.entries {
		s.applyLocked(seg, &b.entries[i])
	}
	s.totalsLocked()
}

// ready makes the newest segment one that b can be written to.
func (j *Journal) ready(b *batch) error {
	if err := j.mend(); err != nil {
		return err
	}
	if !b.onlyCarries() {
		if err := j.checkRoom(); err != nil {
			return err
		}
	}
	seg := j.seg
	empty := seg.records == 0
	switch after := seg.size + int64(len(b.buf)); {
	case seg.torn, b.rotate && !empty:
	case empty, after <= j.o.SegmentBytes, j.syncFirst(after):
		return nil
	}
	err := j.startSegment()
	if err == nil {
		return nil
	}
	j.disk.report(fmt.Errorf("start a segment: %w", err))
	if j.broken() != nil {
		return j.mend() // which starts one
	}
	if seg := j.seg; !seg.torn && seg.size < 2*j.o.SegmentBytes {
		return nil // this one has to do for a while
	}
	return err
}

// rotateNow starts a segment, or reports why it cannot.
func (j *Journal) rotateNow() {
	if err := j.startSegment(); err != nil && j.broken() == nil {
		j.disk.report(fmt.Errorf("start a segment: %w", err))
	}
	_ = j.mend() // it reports itself
}

// mend rescues what a failed sync has left.
func (j *Journal) mend() error {
	if j.broken() == nil {
		return nil
	}
	j.rescueUnsynced()
	return j.broken()
}

func (j *Journal) broken() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}

// syncFirst puts the next segment off while much is not synced: the sync would
// hold those who append.
func (j *Journal) syncFirst(after int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.backlog < syncBytes/8 || after > j.o.SegmentBytes*5/4 {
		return false
	}
	j.wantSync = true
	j.sync.Signal()
	return true
}

// cut removes what a failed write left behind.
func (j *Journal) cut(seg *segment) {
	if err := seg.f.Truncate(seg.size); err != nil {
		seg.torn = true
		j.o.Logger.Error("cannot cut the journal after a failed write; a new segment follows", "segment", seg.name, "offset", seg.size, "error", err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dirty, j.wantSync = true, true
	j.sync.Signal()
}

func (b *batch) onlyCarries() bool {
	for i := range b.entries {
		if !b.entries[i].carried {
			return false
		}
	}
	return true
}
