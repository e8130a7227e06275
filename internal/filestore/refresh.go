package filestore

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/store"
)

// Refresh prolongs the life of a value that was read. Where nothing is due nothing
// is written.
func (s *Store) Refresh(ctx context.Context, r store.Refresh) (left time.Duration, err error) {
	a, err := s.names.address(r.Key)
	if err != nil {
		return 0, err
	}
	var v value
	live := false
	err = s.read(ctx, func(tx *bbolt.Tx, now time.Time) (err error) {
		v, live, err = s.names.refreshable(tx, a, r, now)
		left = time.UnixMilli(v.expires).Sub(now)
		return err
	})
	if err != nil || !live {
		return 0, err
	}
	if !store.Due(left, r.TTL) {
		return left, nil
	}
	err = s.submit(ctx, rowOverhead+len(v.record.Stored), func(t *txn) (err error) {
		left, err = t.refresh(a, r)
		return err
	})
	return left, err
}

// refreshable returns the value that r means; live is false where it is not live.
// Its bytes are those of the transaction.
func (n names) refreshable(tx *bbolt.Tx, a address, r store.Refresh, now time.Time) (v value, live bool, err error) {
	generation, err := generationOf(tx, n, a.org)
	if err != nil {
		return value{}, false, err
	}
	v, found, err := readValue(rowsOf(tx, n, a.org), a)
	if err != nil || !found || !v.live(now) || v.record.Version != r.Version || v.record.IsTombstone() ||
		v.record.Generation < max(generation, r.Generation) {
		return value{}, false, err
	}
	return v, true, nil
}

// refresh writes the value again with a later end, if that is due.
func (t *txn) refresh(a address, r store.Refresh) (left time.Duration, err error) {
	v, live, err := t.refreshable(t.tx, a, r, t.now)
	if err != nil || !live {
		return 0, err
	}
	if to, later := r.Prolonged(t.now, time.UnixMilli(v.expires)); later {
		v.expires = to.UnixMilli()
		if err := t.putValue(a, v); err != nil {
			return 0, err
		}
	}
	return time.UnixMilli(v.expires).Sub(t.now), nil
}
