package filestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/store"
)

// format is the layout that this build writes, and the latest that it reads.
const format = "1"

const (
	// lockTimeout is how long Open waits for another process to let go.
	lockTimeout = 500 * time.Millisecond

	// initialMmap is address space, not memory. bbolt waits for readers when it
	// has to map more, which a map of this size makes rare.
	initialMmap = 256 << 20

	// growBy is by how much the file grows at a time.
	growBy = 1 << 20
)

// errSwapped means that the file was replaced between opening and locking it.
var errSwapped = errors.New("the file was replaced while it was opened")

// inspect refuses a file that this build cannot serve, before anything is
// written to it. It reads a file that was not closed cleanly in full: bbolt
// will do so to find the free pages, and ends the process where it finds damage.
func inspect(path string) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	defer recoverCorrupt(&err)()
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return openError(path, err)
	}
	defer func() { _ = db.Close() }() // opened for reading: nothing to lose
	return db.View(func(tx *bbolt.Tx) error {
		clean, err := checkFormat(tx, path)
		if err != nil || clean {
			return err
		}
		if err := warm(path); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return visit(b) })
	})
}

func checkFormat(tx *bbolt.Tx, path string) (clean bool, err error) {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		if name, _ := tx.Cursor().First(); name == nil {
			return true, nil // created, and stopped before anything was written
		}
		return false, fmt.Errorf("%w: %s is a bbolt file of another program", store.ErrCorrupt, path)
	}
	if f := string(meta.Get(formatRow)); f != format {
		return false, fmt.Errorf("%w: %s has format %q; this build reads %q", store.ErrCorrupt, path, f, format)
	}
	return meta.Get(cleanRow) != nil, nil
}

// warm reads the file from beginning to end, which is much faster than the
// page faults of a walk over a cold file.
func warm(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	_, err = io.Copy(io.Discard, f)
	return err
}

func visit(b *bbolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if v != nil {
			return nil
		}
		return visit(b.Bucket(k))
	})
}

// openFile opens and locks the file for writing.
func openFile(path string) (db *bbolt.DB, err error) {
	var file *os.File
	defer func() {
		if db == nil && file != nil {
			_ = file.Close() // bbolt leaves it open, and locked, where it panics
		}
	}()
	defer recoverCorrupt(&err)()
	opened, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         lockTimeout,
		InitialMmapSize: initialMmap,
		FreelistType:    bbolt.FreelistMapType,
		// The list of free pages can be found by reading the file. Writing it
		// with each commit costs 8 bytes per free page; it is written by Close.
		NoFreelistSync: true,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, perm)
			file = f
			return f, err
		},
	})
	if err != nil {
		return nil, openError(path, err)
	}
	opened.AllocSize = growBy
	// A process that waited for the lock while another replaced the file by a
	// compacted one has locked a file that has no name any more.
	if err := sameFile(file, path); err != nil {
		_ = opened.Close() // nothing was written
		return nil, err
	}
	return opened, nil
}

func sameFile(f *os.File, path string) error {
	locked, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	named, err := os.Stat(path)
	if err == nil && !os.SameFile(locked, named) {
		err = errSwapped
	}
	if err != nil {
		return fmt.Errorf("open store %s: %w", path, err)
	}
	return nil
}

func openError(path string, err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: %s; one process at a time can use it", ErrLocked, path)
	case errors.As(err, &system):
		return fmt.Errorf("open store %s: %w", path, err)
	}
	return fmt.Errorf("%w: %s: %w", store.ErrCorrupt, path, err)
}

// prepare creates what a new file, or one new to this environment, does not
// have yet.
func (s *Store) prepare() error {
	buckets := [][]byte{metaBucket, s.names.generations, s.names.organisations, s.names.directory, s.names.due, s.names.sweeping}
	complete := true
	err := s.view(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			complete = complete && tx.Bucket(name) != nil
		}
		s.dirty = complete && tx.Bucket(metaBucket).Get(cleanRow) == nil
		return nil
	})
	if complete || err != nil {
		return err
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		if err := meta.Delete(cleanRow); err != nil {
			return err
		}
		return meta.Put(formatRow, []byte(format))
	})
	if err != nil {
		return fmt.Errorf("prepare %s: %w", s.path, classify(err))
	}
	s.dirty = true
	return clock.SyncDir(filepath.Dir(s.path))
}

// view runs fn in a transaction for reading. bbolt panics where a page is
// damaged, and the kernel faults where one is missing or cannot be read; both
// become errors.
func (s *Store) view(fn func(*bbolt.Tx) error) (err error) {
	defer recoverCorrupt(&err)()
	err = s.db.View(fn)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) || errors.Is(err, bolterrors.ErrInvalidMapping) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// recoverCorrupt makes faults of the mapped file panics of this goroutine; the
// function that it returns, deferred, turns panics into *err.
func recoverCorrupt(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			*err = fmt.Errorf("%w: %v", store.ErrCorrupt, p)
		}
	}
}
