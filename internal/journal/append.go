package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

const (
	// syncBytes are written before they are synced although nobody asked.
	syncBytes = 8 << 20
	// maxBacklog bounds what is kept in memory until it is synced.
	maxBacklog = 64 << 20
)

// encoding is the memory in which one Append encodes its records.
type encoding struct {
	buf     []byte
	entries []entry
}

var encodings = sync.Pool{New: func() any { return new(encoding) }}

// encode fills c; an entry's off and size are those of its payload in c.buf.
func (c *encoding) encode(h hasher, records []*Record) error {
	c.buf, c.entries = c.buf[:0], c.entries[:0]
	for i, r := range records {
		if err := r.check(); err != nil {
			return err
		}
		off := len(c.buf)
		c.buf = appendPayload(c.buf, r)
		if n := len(c.buf) - off; n > maxPayload {
			return fmt.Errorf("journal record: %d bytes; allowed are %d", n, maxPayload)
		}
		e := h.entryOf(r)
		e.off, e.size = off, len(c.buf)-off
		if e.more = i < len(records)-1; e.more {
			c.buf[off] |= moreBit
		}
		c.entries = append(c.entries, e)
	}
	return nil
}

func (c *encoding) payload(e *entry) []byte { return c.buf[e.off : e.off+e.size] }

// size returns how many bytes the records take, and those of pending ones.
func (c *encoding) size() (all, pending int64) {
	for i := range c.entries {
		n := int64(frameHead + c.entries[i].size)
		all += n
		if c.entries[i].kind.pends() {
			pending += n
		}
	}
	return all, pending
}

func (c *encoding) release() {
	const keep = 1 << 20
	if cap(c.buf) <= keep {
		clear(c.entries)
		encodings.Put(c)
	}
}

// Append adds records, all or none, and sets their positions. When it returns
// nil they are written, so they survive the process; with durable they are
// synced, so they survive the machine. Callers share writes and syncs.
//
// Where a sync failed, and so did writing all that it should have made durable
// to another segment, those who wait for it get ErrSlow with the reason: what
// they appended is written, and is kept if the disk recovers.
func (j *Journal) Append(ctx context.Context, durable bool, records ...*Record) error {
	if len(records) == 0 {
		return nil
	}
	c := encodings.Get().(*encoding)
	defer c.release()
	if err := c.encode(j.hash, records); err != nil {
		return err
	}
	b, err := j.enqueue(ctx, durable, c, records)
	if err != nil {
		return err
	}
	return b.wait(ctx, durable)
}

// wait waits for b to be written, or synced.
func (b *batch) wait(ctx context.Context, durable bool) error {
	done := b.written
	if durable {
		done = b.synced
	}
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done: // both: it is done
		default:
			return fmt.Errorf("%w: %w", ErrSlow, ctx.Err())
		}
	}
	if b.err != nil || !durable {
		return b.err
	}
	return b.syncErr
}

// enqueue adds the records to the current batch.
func (j *Journal) enqueue(ctx context.Context, durable bool, c *encoding, records []*Record) (*batch, error) {
	all, pending := c.size()
	j.mu.Lock()
	for {
		if err := j.admitLocked(pending); err != nil {
			news := errors.Is(err, ErrFull) && j.refuseLocked(pending)
			j.mu.Unlock()
			if news {
				j.o.Logger.Error("the journal takes no writes that wait for the shared store", "error", err)
			}
			return nil, err
		}
		if j.backlog == 0 || j.backlog+all <= maxBacklog {
			break
		}
		room := j.room
		j.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %d bytes wait for the disk: %w", ErrSlow, maxBacklog, ctx.Err())
		}
		j.mu.Lock()
	}
	defer j.mu.Unlock()
	b := j.batch
	if len(b.entries) == 0 {
		j.work.Signal()
	}
	for i := range c.entries {
		e := &c.entries[i]
		j.next++
		e.pos, records[i].Position = j.next, j.next
		b.add(*e, c.payload(e))
	}
	b.durable = b.durable || durable
	j.queued += pending
	j.backlog += all
	return b, nil
}

// admitLocked tells whether so many bytes of pending records may be added.
func (j *Journal) admitLocked(pending int64) error {
	if j.closed {
		return ErrClosed
	}
	if pending == 0 {
		return nil
	}
	if err := j.roomLocked(pending); err != nil {
		return err
	}
	if s := j.state; s.idle.Load() && s.bytes.Load()+pending > j.o.MaxBytes && j.queued == 0 {
		// The newest segment would be the one that cannot go.
		j.batch.rotate = true
	}
	return nil
}

// roomLocked tells whether there is room for so many bytes more of what is pending.
func (j *Journal) roomLocked(pending int64) error {
	if pinned := j.state.pinned.Load() + j.queued + pending; pinned > j.o.MaxBytes {
		return fmt.Errorf("%w: %d bytes cannot go because of pending records, allowed are %d", ErrFull, pinned, j.o.MaxBytes)
	}
	return nil
}

// refuseLocked notes that so many bytes were refused, so that fullLocked tells
// until there is room for them. It reports whether the journal was not full
// before. One that is refused only because it is large does not make it full.
func (j *Journal) refuseLocked(pending int64) bool {
	pending = min(pending, max(j.o.MaxBytes/16, 1))
	if j.roomLocked(pending) == nil {
		return false
	}
	was := j.fullLocked()
	j.refused = pending
	return was == nil
}

// fullLocked returns ErrFull from when pending records were refused until there is
// room for them.
func (j *Journal) fullLocked() error {
	if j.refused == 0 {
		return nil
	}
	err := j.roomLocked(j.refused)
	if err == nil {
		j.refused = 0
	}
	return err
}

// freeLocked notes that bytes do not wait for the disk any more.
func (j *Journal) freeLocked(n int64) {
	j.backlog -= n
	close(j.room)
	j.room = make(chan struct{})
}

// failBatch gives up a batch that was not written.
func (j *Journal) failBatch(b *batch, err error) {
	if !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrDisk, err)
	}
	j.mu.Lock()
	j.queued -= b.pending
	j.freeLocked(int64(len(b.buf)))
	j.mu.Unlock()
	b.finish(err)
	b.recycle()
}
