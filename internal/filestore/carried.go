package filestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/keys"
)

// CarryUnder returns the generation under which an organisation is carried into
// another store: g at the first call, and from then on what was said first. It
// is on disk when CarryUnder returns.
func (s *Store) CarryUnder(ctx context.Context, o keys.Org, g uint64) (uint64, error) {
	name := append([]byte("carry:"+s.names.space.Prefix()), orgName(o.String())...)
	first := g
	err := s.submit(ctx, rowOverhead, func(t *txn) error {
		meta := t.tx.Bucket(metaBucket)
		if said, ok := number(meta.Get(name)); ok {
			first = said
			return nil
		}
		first = g
		return t.put(meta, name, binary.BigEndian.AppendUint64(nil, g))
	})
	return first, err
}

// Only reports whether the file has nothing of other environments.
func (s *Store) Only(ctx context.Context) (only bool, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx, _ time.Time) error {
		only = true
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			prefix, kind := cutPrefix(name)
			first, _ := b.Cursor().First()
			if prefix != s.names.space.Prefix() && (kind == "organisations" || kind == "directory") && first != nil {
				only = false
			}
			return nil
		})
	})
	return only, err
}

// cutPrefix returns what the name of a bucket begins with, up to the last
// colon, and the rest.
func cutPrefix(name []byte) (prefix, rest string) {
	i := bytes.LastIndexByte(name, ':')
	return string(name[:i+1]), string(name[i+1:])
}

// Drop removes everything of the store's environment from the file.
func (s *Store) Drop(ctx context.Context) error {
	return s.submit(ctx, rowOverhead, func(t *txn) error {
		count, _ := number(t.tx.Bucket(metaBucket).Get(t.keyCount))
		for _, name := range [][]byte{t.generations, t.organisations, t.directory, t.due, t.sweeping} {
			t.writes++
			if err := t.tx.DeleteBucket(name); err != nil {
				return err
			}
			if _, err := t.tx.CreateBucket(name); err != nil {
				return err
			}
		}
		t.keys -= int64(count)
		return t.dropCarried()
	})
}

// dropCarried forgets what CarryUnder was told.
func (t *txn) dropCarried() error {
	meta, prefix := t.tx.Bucket(metaBucket), []byte("carry:"+t.space.Prefix())
	var names [][]byte
	cur := meta.Cursor()
	for k, _ := cur.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = cur.Next() {
		names = append(names, bytes.Clone(k))
	}
	for _, name := range names {
		if err := t.delete(meta, name); err != nil {
			return err
		}
	}
	return nil
}
