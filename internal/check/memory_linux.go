package check

import "syscall"

// See statfs(2).
const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

// inMemory reports whether a directory is in a file system that a restart
// empties.
func inMemory(dir string) bool {
	var s syscall.Statfs_t
	kind := func() uint32 { return uint32(s.Type) }
	return syscall.Statfs(dir, &s) == nil && (kind() == tmpfsMagic || kind() == ramfsMagic)
}
