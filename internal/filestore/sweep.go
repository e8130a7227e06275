package filestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/store"
)

// sweepRows bounds the rows that one step of a sweep looks at or removes, so
// that callers who wait beside it wait a few milliseconds.
const sweepRows = 1000

// sweepStart, in the bucket of sweeps, means from the first row.
var sweepStart = []byte{0}

func (s *Store) sweepLoop() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick := time.NewTicker(s.opts.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		// A store that is down and idle finds out here that it can write again.
		err := s.probe(ctx)
		if err == nil {
			err = s.sweep(ctx)
		}
		if err != nil && !errors.Is(err, errClosed) {
			s.opts.Logger.Debug("sweep stopped", "err", err)
		}
	}
}

// probe writes a row when the last commit failed.
func (s *Store) probe(ctx context.Context) error {
	if s.health.down() == nil {
		return nil
	}
	return s.submit(ctx, rowOverhead, func(t *txn) error {
		return t.put(t.tx.Bucket(metaBucket), formatRow, []byte(format))
	})
}

// sweep removes what has expired, and what is of an old generation, in steps
// between which other writers have their turn.
func (s *Store) sweep(ctx context.Context) error {
	for {
		idle, err := s.nothingDue()
		if idle || err != nil {
			return err
		}
		err = s.submit(ctx, rowOverhead, func(t *txn) error {
			w := sweeper{txn: t, left: sweepRows, emptied: make(map[string]bool)}
			if err := w.expired(); err != nil {
				return err
			}
			if err := w.outdated(); err != nil {
				return err
			}
			return w.dropEmpty()
		})
		if err != nil {
			return err
		}
	}
}

func (s *Store) nothingDue() (idle bool, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		first, _ := tx.Bucket(s.names.due).Cursor().First()
		sweeping, _ := tx.Bucket(s.names.sweeping).Cursor().First()
		idle = sweeping == nil && (first == nil || dueAt(first) > s.opts.Now().UnixMilli())
		return nil
	})
	return idle, err
}

// sweeper is one step of a sweep.
type sweeper struct {
	*txn
	left    int             // rows that may still be looked at
	emptied map[string]bool // organisations from which rows were removed
	// outdatedKeys counts the keys of an old generation that were found.
	outdatedKeys int
}

// dueAt returns the time in a name of the bucket of what is due; a name that
// is too short is due at once, and removed.
func dueAt(name []byte) int64 {
	if len(name) < 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(name))
}

// expired goes through what is due.
func (w *sweeper) expired() error {
	due := w.tx.Bucket(w.due)
	var names [][]byte
	cur := due.Cursor()
	for k, _ := cur.First(); k != nil && dueAt(k) <= w.millis() && len(names) < w.left; k, _ = cur.Next() {
		names = append(names, bytes.Clone(k))
	}
	for _, name := range names {
		if w.left <= 0 {
			return nil
		}
		w.left--
		done, err := w.lookAt(name)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			return err // a damaged row is left to those who ask for it
		}
		if !done {
			return nil
		}
		if err := w.delete(due, name); err != nil {
			return err
		}
	}
	return nil
}

// lookAt removes the row that is due, or puts it off until it is. It is not
// done when there were too many rows for this step.
func (w *sweeper) lookAt(name []byte) (done bool, err error) {
	if len(name) < 8 {
		return true, nil
	}
	org, row, ok := bytes.Cut(name[8:], []byte{0})
	if !ok {
		return true, nil
	}
	base, kind, err := splitRow(row)
	if err != nil {
		return true, nil
	}
	a := address{org: string(org), base: base}
	b := w.rows(a.org)
	if b == nil {
		return true, nil
	}
	if kind == rowHead {
		return w.conversationDue(a, dueAt(name))
	}
	return true, w.valueDue(b, a, dueAt(name))
}

func (w *sweeper) valueDue(b *bbolt.Bucket, a address, at int64) error {
	v, found, err := readValue(b, a)
	if err != nil || !found || v.due != at {
		return err // the row is gone, or due at another time
	}
	if v.live(w.now) {
		v.due = 0
		return w.putValue(a, v)
	}
	return w.removeValue(b, a)
}

func (w *sweeper) removeValue(b *bbolt.Bucket, a address) error {
	w.emptied[a.org] = true
	w.keys--
	return w.delete(b, a.row(rowValue))
}

func (w *sweeper) conversationDue(a address, at int64) (done bool, err error) {
	c, err := w.conversation(a)
	if err != nil || !c.stored || c.due != at {
		return true, err // the row is gone, or due at another time
	}
	c.due = 0
	if c.hidden {
		n, err := c.wipe(w.left)
		if err != nil {
			return true, err
		}
		if w.left -= n; w.left <= 0 {
			return false, nil
		}
		w.emptied[a.org] = true
	}
	return true, c.save()
}

// dropEmpty removes the buckets of organisations that have no rows left.
func (w *sweeper) dropEmpty() error {
	for org := range w.emptied {
		b := w.rows(org)
		if org == "" || b == nil {
			continue
		}
		if k, _ := b.Cursor().First(); k != nil {
			continue
		}
		w.writes++
		if err := w.tx.Bucket(w.organisations).DeleteBucket([]byte(org)); err != nil {
			return fmt.Errorf("drop empty organisation: %w", err)
		}
	}
	return nil
}
