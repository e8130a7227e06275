package filestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/jackcache/jackcache/internal/store"
)

var (
	errUnchanged = errors.New("nothing to commit")
	errAgain     = errors.New("a request failed halfway")
	errClosed    = fmt.Errorf("%w: the store is closed", store.ErrUnavailable)
)

// commitLoop is the only writer. It takes what waits, never waits for more,
// and so commits as many at once as arrive during a commit.
func (s *Store) commitLoop() {
	debug.SetPanicOnFault(true) // see recoverCorrupt
	for r := range s.queue {
		// Callers who were just answered may have the next request ready: this
		// lets them run, and waits for nobody. It makes batches half as large again.
		runtime.Gosched()
		batch := s.gather(r)
		if s.taken != nil {
			s.taken(len(batch))
		}
		s.commit(batch)
	}
	s.release()
}

// commit applies a batch and answers it. A request that fails after it wrote
// something is answered, and the others are applied again without it.
func (s *Store) commit(batch []*request) {
	for len(batch) > 0 {
		failed, err := s.try(batch)
		if errors.Is(err, errAgain) {
			batch[failed].done <- batch[failed].err
			batch = append(batch[:failed], batch[failed+1:]...)
			continue
		}
		s.health.committed(err)
		for _, r := range batch {
			if err != nil && !errors.Is(err, errUnchanged) {
				r.err = err
			}
			r.done <- r.err
		}
		return
	}
}

// try applies a batch in one transaction. With errAgain it returns the index
// of the request to leave out.
func (s *Store) try(batch []*request) (failed int, err error) {
	if err := s.health.refuse(s.path); err != nil {
		return 0, err
	}
	id := 0
	err = s.update(func(tx *bbolt.Tx) error {
		id = tx.ID()
		t := &txn{names: s.names, tx: tx, now: s.opts.Now(), room: s.opts.MaxBytes - s.health.used.Load()}
		for i, r := range batch {
			before := t.writes
			if r.err = runSafely(r, t); r.err != nil && t.writes != before {
				failed = i
				return errAgain
			}
		}
		if t.writes == 0 {
			return errUnchanged
		}
		return s.finish(t)
	})
	switch {
	case err == nil:
		s.dirty = true
		s.commits.Add(1)
		s.health.measure(s.db)
	case errors.Is(err, errAgain), errors.Is(err, errUnchanged):
	case s.visible(id):
		// The last sync failed after the new state was put in place.
		err = fmt.Errorf("%w: commit: %w", store.ErrUnknown, err)
	default:
		err = classify(err)
	}
	return failed, err
}

// update is bbolt's Update without its panics.
func (s *Store) update(fn func(*bbolt.Tx) error) (err error) {
	defer recoverCorrupt(&err)()
	return s.db.Update(fn)
}

// runSafely makes a panic on a damaged page the failure of one request.
func runSafely(r *request, t *txn) (err error) {
	defer recoverCorrupt(&err)()
	return r.run(t)
}

// finish writes what belongs to the transaction as a whole.
func (s *Store) finish(t *txn) error {
	meta := t.tx.Bucket(metaBucket)
	if !s.dirty {
		if err := meta.Delete(cleanRow); err != nil {
			return err
		}
	}
	if t.keys == 0 {
		return nil
	}
	count, _ := number(meta.Get(t.keyCount)) // a lost count begins at zero
	next := max(0, int64(count)+t.keys)
	t.tx.OnCommit(func() { s.health.keys.Store(next) })
	return meta.Put(t.keyCount, binary.BigEndian.AppendUint64(nil, uint64(next)))
}

// visible reports whether readers see the transaction.
func (s *Store) visible(id int) (yes bool) {
	err := s.view(func(tx *bbolt.Tx) error {
		yes = id != 0 && tx.ID() >= id
		return nil
	})
	return err == nil && yes
}

// release marks the file as closed cleanly, with its list of free pages, and
// lets it go.
func (s *Store) release() {
	if s.dirty {
		s.db.NoFreelistSync = false
		err := s.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(cleanRow, []byte{1}) })
		if err != nil {
			s.opts.Logger.Warn("store file not marked as closed; the next open reads it in full", "file", s.path, "err", err)
		}
	}
	s.final = s.db.Close()
	close(s.stopped)
}

// classify gives the error of a commit its class. Bbolt does not wrap all
// errors of the system, hence the look at the text.
func classify(err error) error {
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return fmt.Errorf("%w: commit: %w", store.ErrFull, err)
		}
	}
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return errClosed
	}
	return fmt.Errorf("%w: commit: %w", store.ErrUnavailable, err)
}
