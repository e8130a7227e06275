package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// CeilingReserve is how far readings may lie above what the file holds. A clock
// starts that much above it when the host's clock has gone back.
const CeilingReserve = 10 * time.Second

// Ceiling keeps in a file the time of day that was reached, so that a clock
// does not give a version twice when the host's clock went back while the
// process was down. The file holds one line: the time in milliseconds.
type Ceiling struct {
	path string

	mu    sync.Mutex
	limit int64 // guarded by mu: what the file holds
}

// OpenCeiling reads the file at path; it need not exist.
func OpenCeiling(path string) (*Ceiling, error) {
	c := &Ceiling{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read clock file: %w", err)
	}
	c.limit, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 48)
	if err != nil || c.limit < 0 {
		return nil, fmt.Errorf("clock file %s holds %q: want milliseconds since 1970 in decimal", path, b)
	}
	return c, nil
}

// Millis returns the time that the file holds.
func (c *Ceiling) Millis() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limit
}

// Raise writes ms to the file unless it holds a later time already.
func (c *Ceiling) Raise(ms int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ms <= c.limit {
		return nil
	}
	if err := writeFile(c.path, strconv.FormatInt(ms, 10)+"\n"); err != nil {
		return fmt.Errorf("write clock file: %w", err)
	}
	c.limit = ms
	return nil
}

// writeFile replaces the file at path so that a crash leaves the old content
// or the new one.
func writeFile(path, content string) error {
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the entries of a directory durable (fsync(2)).
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // opened for reading: nothing to lose
	return d.Sync()
}
