package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

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

// keepSoon wakes the keeper.
func (j *Journal) keepSoon() {
	select {
	case j.kick <- struct{}{}:
	default: // it is awake, or will be
	}
}

// keepPause is how long the keeper rests after a failure.
const keepPause = 5 * time.Second

// keep drops the segments whose time has come, the oldest first.
func (j *Journal) keep() {
	if time.Now().Before(j.keepAfter) {
		return
	}
	err := j.removeStrays()
	for err == nil {
		seg, why := j.due()
		if seg == nil {
			j.keepAfter = time.Time{}
			return
		}
		if err = j.drop(seg, why); err != nil {
			err = fmt.Errorf("%s: %w", seg.name, err)
		}
	}
	if j.keepAfter.IsZero() && !errors.Is(err, ErrClosed) {
		j.o.Logger.Warn("no segment of the journal can go for now", "error", err)
	}
	j.keepAfter = time.Now().Add(keepPause)
}

// removeStrays removes what is left of segments that could not be made. They may
// hold what was written again since: as long as they can come back, what resolved
// it may not go.
func (j *Journal) removeStrays() error {
	j.mu.Lock()
	strays := slices.Clone(j.strays)
	j.mu.Unlock()
	if len(strays) == 0 {
		return nil
	}
	for _, name := range strays {
		if err := j.fs.remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := j.fs.sync(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.strays = j.strays[len(strays):]
	return nil
}

// reason says why a segment goes.
type reason string

const (
	notDue  reason = ""
	empty   reason = "nothing is in it"
	tooOld  reason = "it is older than the window"
	tooMany reason = "the journal is at its bound"
)

// due returns a segment that can go, and why it should: only for its age or for
// room. That the lives are over which its records name is no reason: another
// instance may have prolonged them, and a store that lost the keys needs all of
// it. Where the newest one is the only one that could go, it is followed by
// another.
func (j *Journal) due() (*segment, reason) {
	s := j.state
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totalsLocked()
	over := s.bytes.Load() > j.o.MaxBytes
	now := j.o.Now()
	for _, seg := range s.segments[:len(s.segments)-1] {
		if seg.pending > 0 || seg.final && s.hasLocked(seg.before) {
			continue // that one may have an end that only this one says is none
		}
		why := notDue
		switch {
		case seg.records == 0:
			why = empty
		case now.Sub(instant(seg.newest)) > j.o.Window:
			why = tooOld
		case over && seg.size > seg.carried+headerSize:
			why = tooMany
		}
		if why != notDue {
			return seg, why
		}
	}
	if newest := s.newestLocked(); over && newest.pending == 0 && newest.size > newest.carried+headerSize {
		j.mu.Lock()
		j.rotate = j.failed == nil
		j.work.Signal()
		j.mu.Unlock()
	}
	return nil, notDue
}

func (s *state) hasLocked(first Position) bool {
	return slices.ContainsFunc(s.segments, func(seg *segment) bool { return seg.first == first })
}

// drop removes a segment. What outlives it is durable elsewhere before, and it
// is known until its name is gone for good: as long as it can come back, the
// records that resolve what was pending in it may not go.
func (j *Journal) drop(seg *segment, why reason) error {
	records, err := j.outliving(seg)
	if err != nil {
		return err
	}
	if why == tooOld || why == tooMany {
		records = append(records, &Record{Kind: dropped, Time: j.raiseSince(seg.newest), origin: seg.first})
	}
	if err := j.carryOver(records); err != nil {
		return err
	}
	if err := j.fs.remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := j.fs.sync(); err != nil {
		return err
	}
	j.state.mu.Lock()
	j.state.removeLocked(seg)
	j.state.mu.Unlock()
	if err := seg.close(); err != nil {
		return err
	}
	j.o.Logger.Debug("a segment of the journal went", "segment", seg.name, "reason", string(why), "kept", len(records))
	return nil
}

// raiseSince notes that not everything is there that was written until then.
func (j *Journal) raiseSince(until int64) time.Time {
	s := j.state
	s.mu.Lock()
	defer s.mu.Unlock()
	return instant(max(s.since, until))
}

// carryBytes is how much is taken over at once.
const carryBytes = 1 << 20

// carryOver appends records that outlive their segment, and has them synced.
// They are apart from MaxBytes and from the room that the disk must have left:
// only thus a full journal can shrink.
func (j *Journal) carryOver(records []*Record) error {
	for len(records) > 0 {
		b := newBatch()
		var payload []byte
		n := 0
		for ; n < len(records) && len(b.buf) < carryBytes; n++ {
			payload = appendPayload(payload[:0], records[n])
			b.add(j.hash.entryOf(records[n]), payload)
		}
		records = records[n:]
		b.durable = true
		if err := j.handOver(b); err != nil {
			return fmt.Errorf("take records over: %w", err)
		}
	}
	return nil
}

// handOver gives a batch to the writer and waits until it is synced.
func (j *Journal) handOver(b *batch) error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	j.carry = b
	j.backlog += int64(len(b.buf))
	j.work.Signal()
	j.mu.Unlock()
	<-b.synced
	return b.syncErr
}
