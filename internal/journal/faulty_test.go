package journal

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
)

var errFault = errors.New("a fault that the test made")

// faulty is a disk in memory that knows what is durable, and breaks as it is
// told. The zero faults are none.
type faulty struct {
	mu      sync.Mutex
	names   map[string]*faultyFile
	durable map[string]*faultyFile
	undone  []func(map[string]*faultyFile) // name changes since the last sync of the directory

	room     int64 // bytes that can still be written; negative: no bound
	failSync func() bool
	failName func() bool // create, rename, remove, sync of the directory
	failCut  func() bool
	hang     chan struct{} // syncs wait until it is closed
	syncs    int
	freeLeft int64
}

func newFaulty() *faulty {
	return &faulty{names: map[string]*faultyFile{}, durable: map[string]*faultyFile{}, room: -1, freeLeft: 1 << 40}
}

// openFaulty opens a journal on a disk of its own, which works until it is told
// not to.
func openFaulty(t *testing.T) (*Journal, *faulty) {
	t.Helper()
	disk := newFaulty()
	o, err := testOptions(t).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	j, err := open(o, disk)
	if err != nil {
		t.Fatal(err)
	}
	return j, disk
}

type faultyFile struct {
	d      *faulty
	data   []byte
	synced []byte
	// lost: a sync failed; what was not synced then never will be, and nobody
	// says so again.
	lost bool
}

func (d *faulty) list() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names)), nil
}

func (d *faulty) change(f func(map[string]*faultyFile)) {
	f(d.names)
	d.undone = append(d.undone, f)
}

func (d *faulty) broken() bool { return d.failName != nil && d.failName() }

func (d *faulty) create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken() {
		return nil, errFault
	}
	f := &faultyFile{d: d}
	d.change(func(m map[string]*faultyFile) { m[name] = f })
	return f, nil
}

func (d *faulty) open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.names[name]; ok {
		return f, nil
	}
	return nil, fs.ErrNotExist
}

func (d *faulty) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.names[from]
	switch {
	case d.broken():
		return errFault
	case !ok:
		return fs.ErrNotExist
	}
	d.change(func(m map[string]*faultyFile) { delete(m, from); m[to] = f })
	return nil
}

func (d *faulty) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.broken():
		return errFault
	case d.names[name] == nil:
		return fs.ErrNotExist
	}
	d.change(func(m map[string]*faultyFile) { delete(m, name) })
	return nil
}

func (d *faulty) sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken() {
		return errFault
	}
	d.durable = maps.Clone(d.names)
	d.undone = nil
	return nil
}

func (d *faulty) free() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.freeLeft, nil
}

// crash returns the disk as it may be after the machine lost its power: of what
// was not synced any part may be missing.
func (d *faulty) crash(rng *rand.Rand) *faulty {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := maps.Clone(d.durable)
	for _, f := range d.undone[:rng.IntN(len(d.undone)+1)] {
		f(names)
	}
	after := newFaulty()
	for name, f := range names {
		data := f.after(rng)
		after.names[name] = &faultyFile{d: after, data: data, synced: bytes.Clone(data)}
	}
	after.durable = maps.Clone(after.names)
	return after
}

func (f *faultyFile) after(rng *rand.Rand) []byte {
	if len(f.data) < len(f.synced) && rng.IntN(2) == 0 || len(f.data) <= len(f.synced) && !f.lost {
		if len(f.data) < len(f.synced) && rng.IntN(2) == 0 {
			return bytes.Clone(f.data)
		}
		return bytes.Clone(f.synced)
	}
	fresh := max(0, len(f.data)-len(f.synced))
	kept := rng.IntN(fresh + 1)
	out := append(bytes.Clone(f.synced), f.data[len(f.data)-fresh:][:kept]...)
	if kept > 0 && rng.IntN(3) == 0 { // a page that did not reach the disk before a later one
		from := len(f.synced) + rng.IntN(kept)
		clear(out[from : from+rng.IntN(len(out)-from)+1])
	}
	return out
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n := len(p)
	if f.d.room >= 0 {
		n = int(min(int64(n), f.d.room))
		f.d.room -= int64(n)
	}
	if grow := int(off) + n - len(f.data); grow > 0 {
		f.data = append(f.data, make([]byte, grow)...)
	}
	copy(f.data[off:], p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (f *faultyFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.failCut != nil && f.d.failCut() {
		return errFault
	}
	f.data = f.data[:min(size, int64(len(f.data)))]
	return nil
}

func (f *faultyFile) Sync() error {
	f.d.mu.Lock()
	hang := f.d.hang
	now := len(f.data)
	f.d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.syncs++
	if f.d.failSync != nil && f.d.failSync() {
		f.lost = true
		return syscall.EIO
	}
	if !f.lost {
		f.synced = bytes.Clone(f.data[:min(now, len(f.data))])
	}
	return nil
}

func (f *faultyFile) Close() error { return nil }

func (f *faultyFile) size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.data)), nil
}

// set changes the faults while the journal works.
func (d *faulty) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}
