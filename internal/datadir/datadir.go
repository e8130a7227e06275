// Package datadir keeps what a data directory records of the shared store that
// it belongs to, so that an instance is not pointed at another one unnoticed.
package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/jackcache/jackcache/internal/clock"
)

// FileName is the record's name in a data directory.
const FileName = "store"

// format is what this build writes, and the latest that it reads.
const format = 1

// file is the content of the record, as JSON.
type file struct {
	Format int `json:"format"`
	// Stores has the id of the shared store by key prefix: a directory may have
	// served two environments.
	Stores map[string]string `json:"stores"`
	// Places says where each of them was, in one line; without it that is not
	// known.
	Places map[string]string `json:"places,omitempty"`
}

// Record is what a data directory knows of the shared store of one environment.
// Safe for concurrent use; one process at a time may use a directory.
type Record struct {
	path, prefix string

	mu      sync.Mutex
	content file // guarded by mu: what the file holds
}

// Open reads the record in dir for the environment whose keys start with
// prefix. There need not be one.
func Open(dir, prefix string) (*Record, error) {
	r := &Record{path: filepath.Join(dir, FileName), prefix: prefix}
	b, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of the store: %w", err)
	}
	if err := json.Unmarshal(b, &r.content); err != nil {
		return nil, fmt.Errorf("the record of the store, %s, cannot be read: %w", r.path, err)
	}
	if r.content.Format != format {
		return nil, fmt.Errorf("the record of the store, %s, has format %d; this build reads %d", r.path, r.content.Format, format)
	}
	return r, nil
}

// Path returns where the record is.
func (r *Record) Path() string { return r.path }

// ID returns the id of the shared store; empty: the directory has served none.
func (r *Record) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.content.Stores[r.prefix]
}

// Place returns where the shared store was; empty: not known.
func (r *Record) Place() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.content.Places[r.prefix]
}

// Remember records the id of the shared store, and where it is: text that holds
// no credentials. When it returns nil the record is on disk.
func (r *Record) Remember(id, place string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.content.Stores[r.prefix] == id && r.content.Places[r.prefix] == place {
		return nil
	}
	next := file{Format: format, Stores: with(r.content.Stores, r.prefix, id), Places: with(r.content.Places, r.prefix, place)}
	b, err := json.Marshal(next)
	if err == nil {
		err = replace(r.path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("record the id of the store: %w", err)
	}
	r.content = next
	return nil
}

// with returns a copy of m that has value at key.
func with(m map[string]string, key, value string) map[string]string {
	next := map[string]string{key: value}
	for k, v := range m {
		if k != key {
			next[k] = v
		}
	}
	return next
}

// replace puts content in the place of the file at path, so that a crash leaves
// the old one or the new one.
func replace(path string, content []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return clock.SyncDir(filepath.Dir(path))
}
