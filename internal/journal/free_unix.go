//go:build linux || darwin

package journal

import (
	"fmt"
	"syscall"
)

// freeBytes returns how many bytes this user may still write in the file system
// of dir.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
