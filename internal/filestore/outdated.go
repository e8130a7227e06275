package filestore

import (
	"bytes"
	"errors"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/store"
)

// outdated goes through the organisations whose generation was raised.
func (w *sweeper) outdated() error {
	for w.left > 0 {
		bucket := w.tx.Bucket(w.sweeping)
		name, from := bucket.Cursor().First()
		if name == nil {
			return nil
		}
		w.left--
		name, org := bytes.Clone(name), string(name)
		if org == "\x00" {
			org = ""
		}
		next, err := w.outdatedOf(org, bytes.Clone(from))
		if err != nil {
			return err
		}
		if next == nil {
			err = w.delete(bucket, name)
		} else {
			err = w.put(bucket, name, next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// outdatedOf removes what is of a lower generation than the organisation's. It
// returns where to go on, or nil at the end.
func (w *sweeper) outdatedOf(org string, from []byte) (next []byte, err error) {
	b := w.rows(org)
	if b == nil {
		return nil, nil
	}
	generation, err := generationOf(w.tx, w.names, org)
	if err != nil {
		return nil, err
	}
	for w.left > 0 {
		k, _ := b.Cursor().Seek(from) // anew each time: rows are removed
		if k == nil {
			return nil, nil
		}
		w.left--
		base, kind, err := splitRow(k)
		if err != nil {
			from = append(bytes.Clone(k), 0) // a damaged row stays where it is
			continue
		}
		a := address{org: org, base: base}
		from = a.row(afterRows)
		switch kind {
		case rowValue:
			err = w.outdatedValue(b, a, generation)
		default:
			from = a.row(rowValue)
			err = w.outdatedConversation(a, generation)
		}
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			return nil, err
		}
	}
	return from, nil
}

func (w *sweeper) outdatedValue(b *bbolt.Bucket, a address, generation uint64) error {
	v, found, err := readValue(b, a)
	if err != nil || !found || v.record.Generation >= generation {
		return err
	}
	w.outdatedKeys++
	return w.removeValue(b, a)
}

// outdatedConversation ends the life of a conversation, and leaves its rows to
// the sweep of what has expired.
func (w *sweeper) outdatedConversation(a address, generation uint64) error {
	c, err := w.conversation(a)
	if err != nil || !c.stored || c.generation >= generation || c.expires == 0 {
		return err
	}
	w.outdatedKeys++
	if !c.floor.IsZero() {
		c.floorUntil = max(c.floorUntil, c.expires) // a floor is of no generation
	}
	c.expires = 0
	row := a.row(rowHead)
	if c.due, err = w.schedule(a, row, c.due, w.millis()); err != nil {
		return err
	}
	return w.put(c.b, row, c.encode())
}
