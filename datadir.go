package jackcache

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// dirLock keeps a second process out of a data directory. The kernel releases
// it when the process ends, however it ends.
type dirLock struct{ f *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		owner := "another process"
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
			owner = "process " + strings.TrimSpace(string(b))
		}
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by %s; give each instance its own (JACKCACHE_DATA_DIR)", dir, owner), f.Close())
	}
	if err := f.Truncate(0); err == nil {
		// The number is for the message above; without it the lock holds too.
		_, _ = fmt.Fprintln(f, os.Getpid())
	}
	return &dirLock{f: f}, nil
}

func (l *dirLock) release() error {
	if l == nil {
		return nil
	}
	if err := l.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// randomNode returns an instance number to begin with. The shared store gives
// another one where it is taken.
func randomNode() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint16(b[:])
}
