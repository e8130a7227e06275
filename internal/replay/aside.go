package replay

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// aside is the file of what the store refused for good. An operator decides what
// becomes of it; while it is there health tells.
type aside struct {
	path string
	mu   sync.Mutex // held while the file is written
	n    atomic.Int64
}

// asideLine is one line of the file.
type asideLine struct {
	Time       time.Time      `json:"time"` // of the acceptance
	SetAside   time.Time      `json:"setAside"`
	Reason     string         `json:"reason"`
	Key        string         `json:"key"`
	Action     string         `json:"action"` // set, delete, append, replace
	Version    string         `json:"version"`
	Generation uint64         `json:"generation"`
	ExpiresAt  time.Time      `json:"expiresAt"`
	Value      *string        `json:"value,omitempty"` // JSON, as it was given
	Messages   []asideMessage `json:"messages,omitempty"`
}

type asideMessage struct {
	ID      string `json:"id"`
	Message string `json:"message"` // JSON, as it was given
}

// count reads how many lines there are.
func (a *aside) count() {
	f, err := os.Open(a.path)
	if err != nil {
		return // usually there is none
	}
	defer func() { _ = f.Close() }() // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, record.MaxPayload)
	for lines.Scan() {
		a.n.Add(1)
	}
}

// add adds a record durably.
func (a *aside) add(rec *journal.Record, reason error, now time.Time) error {
	line, err := json.Marshal(lineOf(rec, reason, now))
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.path == "" {
		a.n.Add(1)
		return nil
	}
	_, missing := os.Lstat(a.path)
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && errors.Is(missing, fs.ErrNotExist) {
		err = clock.SyncDir(filepath.Dir(a.path))
	}
	if err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	a.n.Add(1)
	return nil
}

func lineOf(rec *journal.Record, reason error, now time.Time) asideLine {
	op := rec.Op
	l := asideLine{
		Time: rec.Time.UTC(), SetAside: now.UTC(), Reason: reason.Error(), Key: op.Key.String(), Action: "set",
		Version: op.Version.String(), Generation: op.Generation, ExpiresAt: op.ExpiresAt.UTC(),
	}
	switch {
	case op.Action == store.Append:
		l.Action = "append"
	case op.Action == store.Replace:
		l.Action = "replace"
	case op.Flags&record.Tombstone != 0:
		l.Action = "delete"
	default:
		text := expanded(op.Flags, op.Payload)
		l.Value = &text
	}
	for _, m := range op.Messages {
		l.Messages = append(l.Messages, asideMessage{ID: m.ID, Message: expanded(m.Flags, m.Payload)})
	}
	return l
}

// expanded returns a payload as it was given.
func expanded(f record.Flags, stored []byte) string {
	b, err := record.Value{Flags: f, Stored: stored}.Payload()
	if err != nil {
		b = stored
	}
	return string(b)
}

// poisoned reports whether a refusal is about one record, which must not keep
// others waiting.
func poisoned(err error) bool {
	return (errors.Is(err, store.ErrRejected) || errors.Is(err, store.ErrCorrupt)) && !errors.Is(err, store.ErrFull) && !systemic(err)
}

// systemic reports whether a refusal is about this process and not about one
// record: it is waited for.
func systemic(err error) bool {
	for _, code := range []string{"NOPERM", "NOAUTH", "WRONGPASS", "unknown command", "MISCONF"} {
		if strings.Contains(err.Error(), code) {
			return true
		}
	}
	return false
}
