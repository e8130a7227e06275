package filestore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Get reads one value together with its organisation's generation.
func (s *Store) Get(ctx context.Context, k keys.Key) (store.Read, error) {
	rs, err := s.GetMany(ctx, []keys.Key{k})
	if err != nil {
		return store.Read{}, err
	}
	return rs[0], nil
}

// GetLives is GetMany: it costs nothing to know their lives, too.
func (s *Store) GetLives(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	return s.GetMany(ctx, ks)
}

// GetMany reads several values as they are at one time.
func (s *Store) GetMany(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	as := make([]address, len(ks))
	for i, k := range ks {
		var err error
		if as[i], err = s.names.address(k); err != nil {
			return nil, err
		}
	}
	rs := make([]store.Read, len(ks))
	err := s.read(ctx, func(tx *bbolt.Tx, now time.Time) (err error) {
		for i, a := range as {
			if rs[i], err = s.get(tx, a, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rs, nil
}

// read runs fn in a transaction for reading, unless ctx has ended.
func (s *Store) read(ctx context.Context, fn func(*bbolt.Tx, time.Time) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return s.view(func(tx *bbolt.Tx) error { return fn(tx, s.opts.Now()) })
}

func (s *Store) get(tx *bbolt.Tx, a address, now time.Time) (r store.Read, err error) {
	if r.Generation, err = generationOf(tx, s.names, a.org); err != nil {
		return r, err
	}
	v, found, err := readValue(rowsOf(tx, s.names, a.org), a)
	if err != nil || !found || !v.live(now) {
		return r, err
	}
	r.Found, r.Value, r.Left = true, v.record, time.UnixMilli(v.expires).Sub(now)
	r.Value.Stored = bytes.Clone(v.record.Stored)
	return r, nil
}

// Messages reads the newest messages of a conversation, at most last; zero
// means all.
func (s *Store) Messages(ctx context.Context, k keys.Key, last int) (store.Log, error) {
	a, err := s.names.address(k)
	if err != nil {
		return store.Log{}, err
	}
	var l store.Log
	err = s.read(ctx, func(tx *bbolt.Tx, now time.Time) (err error) {
		if l.Generation, err = generationOf(tx, s.names, a.org); err != nil {
			return err
		}
		b := rowsOf(tx, s.names, a.org)
		h, live, err := readHead(b, a, now, l.Generation)
		if err != nil || !live {
			return err
		}
		n := int(h.messages)
		if last > 0 {
			n = min(n, last)
		}
		l.Left = time.UnixMilli(h.expires).Sub(now)
		l.Messages, err = newestMessages(b, a, n)
		return err
	})
	if err != nil {
		return store.Log{}, err
	}
	return l, nil
}

// readHead reads the head of a conversation; live is false where a reader of
// the generation sees none.
func readHead(b *bbolt.Bucket, a address, now time.Time, generation uint64) (h head, live bool, err error) {
	if b == nil {
		return head{}, false, nil
	}
	row := b.Get(a.row(rowHead))
	if row == nil {
		return head{}, false, nil
	}
	if h, err = parseHead(row); err != nil {
		return head{}, false, err
	}
	return h, h.expires > now.UnixMilli() && h.generation >= generation && h.messages > 0, nil
}

// newestMessages copies the last n messages of a list, oldest first.
func newestMessages(b *bbolt.Bucket, a address, n int) ([]record.Message, error) {
	ms := make([]record.Message, 0, n)
	prefix := a.row(rowMessage)
	cur := b.Cursor()
	for k, v := seekLast(cur, a, rowMessage); len(ms) < n && bytes.HasPrefix(k, prefix); k, v = cur.Prev() {
		m, err := record.ParseMessage(v)
		if err != nil {
			return nil, err
		}
		m.Stored = bytes.Clone(m.Stored)
		ms = append(ms, m)
	}
	slices.Reverse(ms)
	return ms, nil
}
