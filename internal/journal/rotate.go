package journal

import "fmt"

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
