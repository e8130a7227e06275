package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// syncLoop is the syncer. It makes durable what was written, once for all who
// wait, and ends after the writer.
func (j *Journal) syncLoop() {
	defer close(j.stopped)
	for {
		seg, n, ok := j.takeSync()
		if !ok {
			return
		}
		start := time.Now()
		err := seg.f.Sync()
		j.latency.add(start, time.Since(start))
		j.endSync(seg, n, err)
	}
}

// takeSync waits for something to sync: the first n unsynced batches.
func (j *Journal) takeSync() (seg *segment, n int, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		if j.failed == nil && j.wantSync && (len(j.unsynced) > 0 || j.dirty) {
			j.gatherLocked()
			j.wantSync, j.dirty = false, false
			return j.seg, len(j.unsynced), true
		}
		if j.ended {
			return nil, 0, false
		}
		j.wantSync = j.wantSync && j.failed != nil
		j.sync.Wait()
	}
}

// gatherLocked lets those who were just told append again before the next sync
// begins, or only every other caller would have a part in each.
func (j *Journal) gatherLocked() {
	for range 16 {
		before := j.backlog
		j.mu.Unlock()
		runtime.Gosched()
		j.mu.Lock()
		if j.backlog == before && j.written == j.backlog {
			return
		}
	}
}

func (j *Journal) endSync(seg *segment, n int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.calm.Broadcast()
	if err != nil {
		j.failed = fmt.Errorf("sync %s: %w", seg.name, err)
		j.rescue = true
		j.disk.report(j.failed)
		j.work.Signal()
		return
	}
	var bytes int64
	for _, b := range j.unsynced[:n] {
		bytes += int64(len(b.buf))
		b.tell(nil)
		b.recycle()
	}
	seg.synced += bytes
	j.unsynced = append(j.unsynced[:0], j.unsynced[n:]...)
	if n > 0 {
		j.written -= bytes
		j.freeLocked(bytes)
	}
}

// rescueUnsynced starts another segment with all that the failed sync should
// have made durable. The kernel may have dropped it, so the old file is not
// synced again, and counts only up to what was synced before.
func (j *Journal) rescueUnsynced() {
	j.mu.Lock()
	old, batches, cause := j.seg, j.unsynced, j.failed
	j.mu.Unlock()
	var buf []byte
	for _, b := range batches {
		buf = append(buf, b.buf...)
	}
	seg, err := j.createSegment(follows{old, old.synced, true}, buf)
	if err != nil {
		err = fmt.Errorf("%w: %w; another segment, too: %w", ErrSlow, cause, err)
		j.disk.report(err)
		j.mu.Lock()
		for _, b := range batches {
			b.tell(err)
		}
		j.mu.Unlock()
		return
	}
	j.o.Logger.Warn("a sync of the journal failed; what it should have made durable is in a new segment now",
		"segment", old.name, "offset", old.synced, "bytes", len(buf), "new", seg.name, "error", cause)
	j.moveRecords(old, seg, batches)
	if err := old.f.Truncate(old.synced); err != nil {
		j.o.Logger.Warn("cannot cut a segment whose sync failed; the next one says where it ends", "segment", old.name, "error", err)
	}
	j.disk.works() // before anybody is told
	j.mu.Lock()
	j.seg, j.failed, j.unsynced, j.dirty = seg, nil, nil, false
	seg.synced = seg.size
	for _, b := range batches {
		b.tell(nil)
		b.recycle()
	}
	j.written -= int64(len(buf))
	j.freeLocked(int64(len(buf)))
	j.calm.Broadcast()
	j.mu.Unlock()
	j.keepSoon()
}

// moveRecords makes the records of the batches ones of another segment, where
// they stand one after the other.
func (j *Journal) moveRecords(from, to *segment, batches []*batch) {
	s := j.state
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLocked(to)
	off := headerSize
	for _, b := range batches {
		for i := range b.entries {
			e := &b.entries[i]
			e.off = off
			off += e.size
			s.moveLocked(from, to, e)
		}
	}
	from.size = from.synced
	s.totalsLocked()
}

// moveLocked notes that a record stands in another segment now.
func (s *state) moveLocked(from, to *segment, e *entry) {
	from.records--
	if e.carried {
		from.carried -= int64(e.size)
	}
	s.countLocked(to, e)
	if o := s.orgs[e.org]; o != nil && o.proof == from.number {
		o.proof = to.number // at worst it is shown twice
	}
	if pe, ok := s.pend[e.pos]; ok {
		from.pending--
		to.pending++
		r := s.recs.at(pe.rec)
		r.seg, r.off = to.number, uint32(e.off)
		return
	}
	k, ok := s.keys[e.key]
	if !ok || e.kind != Applied {
		return
	}
	for i := s.entries.at(k).tail; i != none; i = s.recs.at(i).prev {
		if r := s.recs.at(i); r.pos == e.pos {
			s.unlinkSegmentLocked(r)
			r.seg, r.off = to.number, uint32(e.off)
			s.joinLocked(to, i)
			return
		}
	}
}

// reseal writes the checksums of frames that stand one after the other.
func reseal(frames []byte, seed uint32) error {
	for len(frames) > 0 {
		if len(frames) < frameHead {
			return errors.New("half a record in memory")
		}
		n := frameHead + int(binary.LittleEndian.Uint32(frames))
		if n > len(frames) {
			return errors.New("half a record in memory")
		}
		sealFrame(frames[:n], seed)
		frames = frames[n:]
	}
	return nil
}
