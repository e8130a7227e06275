package filestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

var errGeneration = fmt.Errorf("%w: generations end at %d", store.ErrRejected, uint64(store.MaxGeneration))

// Generation reads an organisation's generation; missing is zero.
func (s *Store) Generation(ctx context.Context, o keys.Org) (g uint64, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx, _ time.Time) (err error) {
		g, err = generationOf(tx, s.names, o.String())
		return err
	})
	return g, err
}

// Invalidate raises the generation above what is stored and above known, and
// returns the new one.
func (s *Store) Invalidate(ctx context.Context, o keys.Org, known uint64) (uint64, error) {
	return s.raiseTo(ctx, o, func(g uint64) (uint64, error) {
		if g = max(g, known); g >= store.MaxGeneration {
			return 0, errGeneration
		}
		return g + 1, nil
	})
}

// RaiseGeneration sets the generation to at least g and returns it.
func (s *Store) RaiseGeneration(ctx context.Context, o keys.Org, g uint64) (uint64, error) {
	return s.raiseTo(ctx, o, func(stored uint64) (uint64, error) {
		if g > store.MaxGeneration {
			return 0, errGeneration
		}
		return max(stored, g), nil
	})
}

func (s *Store) raiseTo(ctx context.Context, o keys.Org, next func(uint64) (uint64, error)) (uint64, error) {
	var g uint64
	err := s.submit(ctx, rowOverhead, func(t *txn) error {
		stored, err := generationOf(t.tx, t.names, o.String())
		if err != nil {
			return err
		}
		if g, err = next(stored); err != nil || g == stored {
			return err
		}
		name := orgName(o.String())
		if err := t.put(t.tx.Bucket(t.generations), name, binary.BigEndian.AppendUint64(nil, g)); err != nil {
			return err
		}
		return t.put(t.tx.Bucket(t.sweeping), name, sweepStart)
	})
	if err != nil {
		return 0, err
	}
	return g, nil
}

// DropOrganisation removes everything of an organisation but its generation:
// what was written under an earlier one stays invalid. It is for maintenance;
// Invalidate is what takes part in the order of operations.
func (s *Store) DropOrganisation(ctx context.Context, o keys.Org) error {
	if o.IsZero() {
		return fmt.Errorf("%w: the directory is not an organisation", store.ErrRejected)
	}
	return s.submit(ctx, rowOverhead, func(t *txn) error {
		b := t.rows(o.String())
		if b == nil {
			return nil
		}
		n := countKeys(b)
		t.writes++
		if err := t.tx.Bucket(t.organisations).DeleteBucket([]byte(o.String())); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
		t.keys -= n
		return nil
	})
}

// countKeys counts the values and conversations among the rows.
func countKeys(b *bbolt.Bucket) (n int64) {
	cur := b.Cursor()
	for k, _ := cur.First(); k != nil; {
		base, kind, err := splitRow(k)
		if err != nil || kind == rowValue {
			k, _ = cur.Next()
		} else {
			k, _ = cur.Seek(append([]byte(base), rowValue))
		}
		if err == nil {
			n++
		}
	}
	return n
}
