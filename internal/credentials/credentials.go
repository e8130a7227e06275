// Package credentials reads passwords and certificates from files, anew for
// every connection, so that they can be exchanged while the process runs. Files
// that cannot be used keep in force what they held before.
package credentials

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// mostBytes bounds a file. The certificates of all public authorities together
// have some 200 kB.
const mostBytes = 4 << 20

// source is something that is made from files. Contents are compared instead of
// times: a file system may tell times of a second, and who mounts secrets (as
// Kubernetes does) swaps links.
type source[T any] struct {
	what  string // for the log
	paths []string
	parse func(contents [][]byte) (T, error)

	mu      sync.Mutex
	value   T                 // guarded by mu: the last one that could be used
	sum     [sha256.Size]byte // guarded by mu: of what value was made of
	refused string            // guarded by mu: of what could not be used; empty: nothing
}

// open reads the files for the first time.
func (s *source[T]) open() error {
	contents, err := readAll(s.paths)
	if err != nil {
		return err
	}
	if s.value, err = s.parse(contents); err != nil {
		return err
	}
	s.sum = sumOf(contents)
	return nil
}

// current returns what the files hold now. It logs one line for each change.
func (s *source[T]) current(log *slog.Logger) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	contents, err := readAll(s.paths)
	sum := sumOf(contents)
	if err == nil && sum == s.sum {
		s.refused = ""
		return s.value
	}
	var value T
	if err == nil {
		value, err = s.parse(contents)
	}
	if err != nil {
		if state := fmt.Sprintf("%x %v", sum, err); state != s.refused {
			s.refused = state
			log.Warn(s.what+" cannot be used as it is now; what was read before stays in force", "files", s.paths, "err", err)
		}
		return s.value
	}
	s.value, s.sum, s.refused = value, sum, ""
	log.Info(s.what+" was exchanged", "files", s.paths)
	return value
}

func sumOf(contents [][]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, c := range contents {
		fmt.Fprintf(h, "%d:", len(c)) // a hash takes everything
		h.Write(c)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func readAll(paths []string) ([][]byte, error) {
	contents := make([][]byte, 0, len(paths))
	for _, p := range paths {
		c, err := read(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		contents = append(contents, c)
	}
	return contents, nil
}

// read returns the content of a file. Its errors do not name it: callers do.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path) // of what a link points to
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() { // a pipe would keep the caller waiting, and is empty the second time
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	content, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(content) > mostBytes {
		return nil, fmt.Errorf("it has more than %d bytes", mostBytes)
	}
	return content, nil
}

// reason is an error of a file without the file's name.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Password is a password in a file. Safe for concurrent use.
type Password struct{ files source[string] }

// NewPassword reads a password for the first time: what the file holds, without
// one line break at its end. It fails where there is none, in words that do not
// name the file.
func NewPassword(path string) (*Password, error) {
	p := &Password{source[string]{what: "the password", paths: []string{path}, parse: parsePassword}}
	if err := p.files.open(); err != nil {
		return nil, err
	}
	return p, nil
}

// Current returns the password that the file holds now, or the last one that it
// held where it cannot be used. It logs one line for each change of the file,
// without the password.
func (p *Password) Current(log *slog.Logger) string { return p.files.current(log) }

// Held returns the password that was read last.
func (p *Password) Held() string {
	p.files.mu.Lock()
	defer p.files.mu.Unlock()
	return p.files.value
}

// CheckReadable tells why a file cannot be read, without naming it; nil: it can.
func CheckReadable(path string) error {
	_, err := read(path)
	return err
}

// CheckPassword tells what is wrong with a file of a password, without naming
// the file; nil: nothing.
func CheckPassword(path string) error {
	content, err := read(path)
	if err == nil {
		_, err = parsePassword([][]byte{content})
	}
	return err
}

func parsePassword(contents [][]byte) (string, error) {
	line := strings.TrimSuffix(strings.TrimSuffix(string(contents[0]), "\n"), "\r")
	switch {
	case line == "":
		return "", errors.New("it is empty")
	case strings.ContainsAny(line, "\r\n\x00"):
		return "", errors.New("it has more than one line")
	}
	return line, nil
}
