package journal

import (
	"fmt"
	"runtime"
	"time"
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
			if err := j.startSegment(); err != nil {
				j.disk.report(fmt.Errorf("start a segment: %w", err))
			}
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
		w = work{rescue: j.failed != nil && (j.rescue || len(batches) > 0), rotate: j.rotate}
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
	j.mu.Lock()
	failed := j.failed
	j.mu.Unlock()
	if failed != nil {
		return failed
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
	if seg := j.seg; !seg.torn && j.broken() == nil && seg.size < 2*j.o.SegmentBytes {
		return nil // this one has to do for a while
	}
	return err
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

// startSegment makes what is written durable and begins a new segment after it.
func (j *Journal) startSegment() error {
	if err := j.drain(); err != nil {
		return err
	}
	seg, err := j.createSegment(follows{j.seg, j.seg.size, j.seg.torn}, nil)
	if err != nil {
		return err
	}
	j.useSegment(seg)
	j.keepSoon()
	return nil
}

// drain waits until all that is written is synced, or a sync failed.
func (j *Journal) drain() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for (len(j.unsynced) > 0 || j.dirty) && j.failed == nil {
		j.wantSync = true
		j.sync.Signal()
		j.calm.Wait()
	}
	return j.failed
}

// follows is what a new segment says of the one before it; see header.
type follows struct {
	seg   *segment
	end   int64
	final bool
}

// createSegment writes a segment with the given frames, and gives it its name
// once it is durable. Where that fails it may exist all the same after a crash:
// what it says of the one before has to stay true.
func (j *Journal) createSegment(before follows, frames []byte) (*segment, error) {
	j.mu.Lock()
	j.next++ // burnt, so that no segment before has the name
	first := j.next
	j.mu.Unlock()
	j.state.mu.RLock()
	since := j.state.since
	j.state.mu.RUnlock()
	h := header{
		boot: j.boot, identity: j.identity, salt: newSalt(), first: first,
		created: nanoseconds(j.o.Now()), since: since, space: j.o.Space.Prefix(),
	}
	if before.seg != nil {
		h.before, h.end, h.final = before.seg.first, before.end, before.final
	}
	seg, err := writeSegment(j.fs, h, frames)
	if err != nil {
		j.mu.Lock()
		j.strays = append(j.strays, segmentName(first))
		j.mu.Unlock()
	}
	return seg, err
}

func writeSegment(fs files, h header, frames []byte) (*segment, error) {
	name := segmentName(h.first)
	f, err := fs.create(name + unfinished)
	if err != nil {
		return nil, err
	}
	seg := newSegment(h, f)
	err = func() error {
		if err := reseal(frames, seg.seed); err != nil {
			return err
		}
		if _, err := f.WriteAt(append(h.append(nil), frames...), 0); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", name, err)
		}
		if err := fs.rename(name+unfinished, name); err != nil {
			return err
		}
		return fs.sync()
	}()
	if err != nil {
		_ = f.Close()                    // the error above is the one to tell
		_ = fs.remove(name + unfinished) // the next Open removes it, too
		return nil, err
	}
	return seg, nil
}

// useSegment makes seg the newest one.
func (j *Journal) useSegment(seg *segment) {
	j.state.mu.Lock()
	j.state.addLocked(seg)
	j.state.totalsLocked()
	j.state.mu.Unlock()
	j.mu.Lock()
	j.seg = seg
	j.mu.Unlock()
}

// background asks each second for what nobody waits for.
func (j *Journal) background(ticks <-chan time.Time) {
	defer close(j.kept)
	for {
		select {
		case <-j.stopped:
			return
		case <-j.kick:
		case <-ticks:
			j.tick()
		}
		j.keep()
	}
}

// tick has what is written synced, tries again what failed, and starts a segment
// when the newest one is old.
func (j *Journal) tick() {
	j.state.mu.RLock()
	seg := j.state.newestLocked()
	old := seg.records > 0 && j.o.Now().Sub(instant(seg.created)) > j.o.Window/8
	j.state.mu.RUnlock()
	j.mu.Lock()
	j.wantSync = j.wantSync || len(j.unsynced) > 0
	j.rescue = j.failed != nil
	j.rotate = j.rotate || old && j.failed == nil
	j.sync.Signal()
	j.work.Signal()
	j.mu.Unlock()
	j.disk.recheck(j)
}
