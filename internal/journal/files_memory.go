package journal

import (
	"io"
	"io/fs"
	"math"
	"slices"
	"sync"
)

// memory is a directory that lives in the process.
type memory struct {
	mu    sync.Mutex
	names map[string]*memoryFile // guarded by mu
}

func newMemory() *memory { return &memory{names: map[string]*memoryFile{}} }

func (m *memory) list() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (m *memory) create(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := new(memoryFile)
	m.names[name] = f
	return f, nil
}

func (m *memory) open(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.names[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f, nil
}

func (m *memory) rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.names[from]
	if !ok {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(m.names, from)
	m.names[to] = f
	return nil
}

func (m *memory) remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.names[name]; !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(m.names, name)
	return nil
}

func (m *memory) sync() error          { return nil }
func (m *memory) free() (int64, error) { return math.MaxInt64, nil }

// memoryChunk is by how much a file in memory grows: a file that is appended to
// is never copied.
const memoryChunk = 256 << 10

type memoryFile struct {
	mu     sync.RWMutex
	chunks [][]byte // guarded by mu; all but the last have memoryChunk bytes of room in use
	length int64    // guarded by mu
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := 0
	for n < len(p) && off+int64(n) < f.length {
		at := off + int64(n)
		rest := min(int64(len(p)-n), f.length-at)
		n += copy(p[n:n+int(rest)], f.chunks[at/memoryChunk][at%memoryChunk:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := off + int64(len(p))
	for int64(len(f.chunks))*memoryChunk < end {
		f.chunks = append(f.chunks, make([]byte, memoryChunk))
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		n += copy(f.chunks[at/memoryChunk][at%memoryChunk:], p[n:])
	}
	f.length = max(f.length, end)
	return len(p), nil
}

func (f *memoryFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.length = min(f.length, size)
	keep := int((f.length + memoryChunk - 1) / memoryChunk)
	f.chunks = f.chunks[:keep]
	return nil
}

func (f *memoryFile) Sync() error  { return nil }
func (f *memoryFile) Close() error { return nil }

func (f *memoryFile) size() (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.length, nil
}
