package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ProcessFile is the name of the record of those who used a data directory.
const ProcessFile = "process"

// processFormat is what this build writes, and the only one that it reads.
const processFormat = 1

// mostProcesses is how many are recorded: in a loop of starts each may be killed
// before it has removed what the one before left behind.
const mostProcesses = 16

// bootIDPath has an id that the kernel makes when it starts. It is that of the host in
// containers, too.
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// processes is the content of the record, as JSON.
type processes struct {
	Format int `json:"format"`
	// Kernel and Lock are the run of the kernel and the file that all of them had
	// locked. With another one they may live: the directory was copied, or is used by
	// several hosts.
	Kernel string `json:"kernel"`
	Lock   string `json:"lock"`
	// Processes are their ids, the newest last.
	Processes []string `json:"processes"`
}

// Succeed records that a process uses the data directory in which it holds lock, a
// file on which it alone has an exclusive flock until it ends. It returns the ids of
// those which had that lock before and so do not live any more, also along with an
// error, which says that the process could not be recorded. Nobody is returned who
// may live: with a copy of the directory, or after the host was started anew, there
// are none.
func Succeed(lock *os.File, process string) (dead []string, err error) {
	path := filepath.Join(filepath.Dir(lock.Name()), ProcessFile)
	now := processes{Format: processFormat, Lock: identity(lock)}
	if boot, err := os.ReadFile(bootIDPath); err == nil {
		now.Kernel = strings.TrimSpace(string(boot))
	}
	before, err := readProcesses(path)
	if err == nil && now.sameLock(before) {
		dead = before.Processes
	}
	now.Processes = append(slices.Clone(dead[max(0, len(dead)-mostProcesses+1):]), process)
	b, marshalErr := json.Marshal(now)
	if err = errors.Join(err, marshalErr); marshalErr == nil {
		err = errors.Join(err, replace(path, append(b, '\n')))
	}
	if err != nil {
		return dead, fmt.Errorf("record the process that uses the data directory: %w", err)
	}
	return dead, nil
}

// sameLock reports whether the lock of others is known to be the one that is held now.
func (p processes) sameLock(others processes) bool {
	return p.Kernel != "" && p.Lock != "" && p.Kernel == others.Kernel && p.Lock == others.Lock
}

// readProcesses reads the record. There need not be one.
func readProcesses(path string) (p processes, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return processes{}, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	if p.Format != processFormat {
		return processes{}, fmt.Errorf("%s has format %d; this build reads %d", path, p.Format, processFormat)
	}
	return p, nil
}

// identity tells a file from every other one that is there at the same time; empty:
// that is not known.
func identity(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}
