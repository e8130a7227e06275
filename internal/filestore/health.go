package filestore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/store"
)

// warnAt is how full the store is, in percent of its limit, when health warns.
const warnAt = 85

// probeBytes is what must fit beside a full file before a commit is tried.
const probeBytes = 256 << 10

// health is what the store knows of itself.
type health struct {
	log        *slog.Logger
	now        func() time.Time
	max        int64
	used, keys atomic.Int64

	mu      sync.Mutex
	problem error     // guarded by mu: of the last commit
	since   time.Time // guarded by mu: of the present state
}

func (h *health) init(o Options, db *bbolt.DB) {
	h.log, h.now, h.max, h.since = o.Logger, o.Now, o.MaxBytes, o.Now()
	h.measure(db)
	// A count that cannot be read is no reason not to serve.
	_ = db.View(func(tx *bbolt.Tx) error {
		n, _ := number(tx.Bucket(metaBucket).Get(newNames(o.Space).keyCount))
		h.keys.Store(int64(n))
		return nil
	})
}

func (h *health) measure(db *bbolt.DB) { h.used.Store(usageOf(db).used()) }

// committed takes note of how a commit ended.
func (h *health) committed(err error) {
	if errors.Is(err, errUnchanged) {
		return // says nothing about the disk
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if (err == nil) != (h.problem == nil) {
		h.since = h.now()
		if err != nil {
			h.log.Error("store cannot write", "err", err)
		} else {
			h.log.Info("store writes again")
		}
	}
	h.problem = err
}

func (h *health) down() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem
}

// refuse answers for the committer while the disk is full. To undo a commit
// that failed bbolt reads the whole file, so another is not tried before a
// small file can be written beside it.
func (h *health) refuse(path string) error {
	problem := h.down()
	if !errors.Is(problem, store.ErrFull) {
		return nil
	}
	name := path + ".probe"
	err := writeSynced(name)
	if rerr := os.Remove(name); err == nil {
		err = rerr
	}
	if err != nil {
		return problem
	}
	return nil
}

func writeSynced(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeBytes))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Health tells how the store is. State is store.Down after a commit failed,
// until one succeeds. Keys counts what is stored, tombstones and what has not
// been swept yet included.
func (s *Store) Health() store.Health {
	h := store.Health{
		Kind:      "embedded",
		State:     store.Up,
		UsedBytes: s.health.used.Load(),
		MaxBytes:  s.health.max,
		Keys:      s.health.keys.Load(),
		InFlight:  len(s.queue),
	}
	s.health.mu.Lock()
	problem := s.health.problem
	h.Since = s.health.since
	s.health.mu.Unlock()
	if problem != nil {
		h.State, h.Problem = store.Down, problem.Error()
	}
	select {
	case <-s.stop:
		h.State, h.Problem = store.Down, errClosed.Error()
	default:
	}
	if h.UsedBytes > h.MaxBytes/100*warnAt {
		h.Warnings = append(h.Warnings, fmt.Sprintf("the store file uses %d of %d bytes", h.UsedBytes, h.MaxBytes))
	}
	return h
}
