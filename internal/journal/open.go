package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Open reads what is there, cuts torn ends, and starts a new segment. It fails
// where a segment has a later format, belongs to another journal or holds keys
// of another space. One process at a time may have a directory open; the caller
// sees to that.
func Open(o Options) (*Journal, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Memory {
		return open(o, newMemory())
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return open(o, directory(o.Dir))
}

// tickEvery is how often what is written is synced although nobody asked.
const tickEvery = time.Second

func open(o Options, fs files) (*Journal, error) {
	j := &Journal{
		o: o, fs: fs, hash: newHasher(), state: newState(o.IndexKeys), disk: disk{logger: o.Logger},
		batch: newBatch(), room: make(chan struct{}), stopped: make(chan struct{}),
		kick: make(chan struct{}, 1), kept: make(chan struct{}),
	}
	for _, c := range []*sync.Cond{&j.work, &j.sync, &j.calm} {
		c.L = &j.mu
	}
	if err := j.recover(); err != nil {
		for _, seg := range j.state.segments {
			_ = seg.close() // nothing was written
		}
		return nil, fmt.Errorf("open journal %s: %w", o.Dir, err)
	}
	go j.write()
	go j.syncLoop()
	ticker := time.NewTicker(tickEvery)
	go func() {
		defer ticker.Stop()
		j.background(ticker.C)
	}()
	j.keepSoon()
	return j, nil
}

// recover reads the segments and starts the one of this boot.
func (j *Journal) recover() error {
	names, err := j.fs.list()
	if err != nil {
		return err
	}
	slices.Sort(names)
	var found []*segment
	boot := uint32(0)
	for _, name := range names {
		first, ok := parseName(name)
		switch {
		case strings.HasSuffix(name, unfinished):
			if err := j.fs.remove(name); err != nil {
				return err
			}
			continue
		case !ok:
			continue
		}
		boot = max(boot, bootOf(first))
		if strings.HasSuffix(name, damagedSuffix) {
			continue
		}
		seg, err := j.openSegment(name, first)
		if err != nil {
			closeAll(found)
			return err
		}
		if seg != nil {
			boot = max(boot, seg.boot)
			found = append(found, seg)
		}
	}
	if boot >= maxBoot {
		closeAll(found)
		return fmt.Errorf("it was opened %d times, which is all it can be", boot)
	}
	if err := j.readSegments(found); err != nil {
		closeAll(found)
		return err
	}
	return j.begin(boot + 1)
}

func closeAll(segments []*segment) {
	for _, seg := range segments {
		_ = seg.close() // opened for reading: nothing to lose
	}
}

// begin starts the segment of this boot.
func (j *Journal) begin(boot uint32) error {
	j.boot = boot
	j.next = Position(boot) << bootShift
	if j.identity == [16]byte{} {
		_, _ = rand.Read(j.identity[:]) // never fails
		j.identity[6], j.identity[8] = j.identity[6]&0x0f|0x40, j.identity[8]&0x3f|0x80
	}
	s := j.state
	if len(s.segments) == 0 {
		s.since = nanoseconds(j.o.Now())
	}
	var before follows
	if len(s.segments) > 0 {
		newest := s.newestLocked()
		before = follows{newest, newest.size, false} // it was cut, and synced
	}
	seg, err := j.createSegment(before, nil)
	if err != nil {
		return fmt.Errorf("start a segment: %w", err)
	}
	j.useSegment(seg)
	s.last.Store(uint64(seg.first))
	return nil
}

// openSegment opens a file and reads its header. It returns nil for one whose
// header is damaged.
func (j *Journal) openSegment(name string, first Position) (*segment, error) {
	f, err := j.fs.open(name)
	if err != nil {
		return nil, err
	}
	seg, err := j.readHeader(f, first)
	if err == nil {
		return seg, nil
	}
	size, _ := f.size() // for the log
	_ = f.Close()       // opened for reading: nothing to lose
	if !errors.Is(err, errHeader) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	j.damaged.Add(size)
	j.state.since = max(j.state.since, nanoseconds(j.o.Now()))
	j.o.Logger.Error("a segment of the journal is damaged and was set aside", "segment", name, "offset", 0, "bytes", size, "kept", name+damagedSuffix)
	if err := j.fs.rename(name, name+damagedSuffix); err != nil {
		return nil, err
	}
	return nil, j.fs.sync()
}

func (j *Journal) readHeader(f file, first Position) (*segment, error) {
	size, err := f.size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, headerSize))
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	h, err := parseHeader(b)
	switch {
	case err != nil:
		return nil, err
	case h.first != first:
		return nil, errHeader
	case h.space != j.o.Space.Prefix():
		return nil, fmt.Errorf("it holds keys that start with %q, not %q", h.space, j.o.Space.Prefix())
	case j.identity == [16]byte{}:
		j.identity = h.identity
	case j.identity != h.identity:
		return nil, errors.New("it belongs to another journal than the segments before it")
	}
	seg := newSegment(h, f)
	seg.fileSize = size
	return seg, nil
}

// Close has what was appended synced and closes the files. It returns an error
// if that was not possible, or ctx ended before.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	j.closed, j.rescue = true, true
	j.work.Signal()
	j.mu.Unlock()
	for _, ended := range []chan struct{}{j.stopped, j.kept} {
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("close journal: %w: %w", ErrSlow, ctx.Err())
		}
	}
	j.state.mu.RLock()
	segments := slices.Clone(j.state.segments)
	j.state.mu.RUnlock()
	j.mu.Lock()
	err := j.closeErr
	j.mu.Unlock()
	for _, seg := range segments {
		err = errors.Join(err, seg.close())
	}
	if err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}
