package filestore

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	defaultLimit = 100

	// maxVisited bounds the keys that one page looks at, live or not; the page
	// may have fewer entries than asked for, and a cursor.
	maxVisited = 20_000
)

// List returns a page of live keys: those of the directory, then by
// organisation and id in the order of their stored names.
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	l := lister{names: s.names, q: q, limit: q.Limit}
	if l.limit <= 0 {
		l.limit = defaultLimit
	}
	if err := l.resume(); err != nil {
		return store.Page{}, err
	}
	err := s.read(ctx, func(tx *bbolt.Tx, now time.Time) error {
		l.tx, l.now = tx, now
		return l.run()
	})
	if err != nil {
		return store.Page{}, err
	}
	return l.page, nil
}

// lister fills one page.
type lister struct {
	names
	q     store.Query
	limit int
	after address // the last key of the page before; its base is empty for none

	tx      *bbolt.Tx
	now     time.Time
	visited int
	page    store.Page
}

// resume reads the cursor: the key after which the page starts, so that it
// means the same whatever was written meanwhile.
func (l *lister) resume() error {
	if l.q.Cursor == "" {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(l.q.Cursor)
	if err != nil {
		return fmt.Errorf("%w cursor: %w", keys.ErrInvalid, err)
	}
	k, err := l.space.Parse(string(text))
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	if k.Type() != l.q.Type || !l.q.Org.IsZero() && k.Org() != l.q.Org {
		return fmt.Errorf("%w cursor: it is of another listing", keys.ErrInvalid)
	}
	l.after, err = l.address(k)
	return err
}

func (l *lister) run() error {
	if !l.q.Org.IsZero() {
		_, err := l.walk(l.q.Org.String())
		return err
	}
	if l.after.org == "" {
		if full, err := l.walk(""); full || err != nil {
			return err
		}
	}
	cur := l.tx.Bucket(l.organisations).Cursor()
	for org, _ := cur.Seek([]byte(l.after.org)); org != nil; org, _ = cur.Next() {
		if full, err := l.walk(string(org)); full || err != nil {
			return err
		}
	}
	return nil
}

// walk adds the keys of one organisation; full means that the page ends.
func (l *lister) walk(org string) (full bool, err error) {
	b := rowsOf(l.tx, l.names, org)
	if b == nil {
		return false, nil
	}
	generation, err := generationOf(l.tx, l.names, org)
	if err != nil {
		return false, err
	}
	prefix := []byte(string(l.q.Type) + ":")
	start := prefix
	if l.after.base != "" && l.after.org == org {
		start = append([]byte(l.after.base), afterRows)
	}
	cur := b.Cursor()
	for k, _ := cur.Seek(start); bytes.HasPrefix(k, prefix); {
		base, kind, err := splitRow(k)
		if err != nil {
			return false, err
		}
		a := address{org: org, base: base}
		if err := l.visit(b, a, generation); err != nil {
			return false, err
		}
		l.visited++
		if len(l.page.Entries) >= l.limit || l.visited >= maxVisited {
			return true, l.end(a)
		}
		if kind == rowValue {
			k, _ = cur.Next()
		} else {
			k, _ = cur.Seek(append([]byte(base), afterRows))
		}
	}
	return false, nil
}

// visit adds the entries of one key.
func (l *lister) visit(b *bbolt.Bucket, a address, generation uint64) error {
	h, live, err := readHead(b, a, l.now, generation)
	if err != nil {
		return err
	}
	if live {
		newest, err := lastOrder(b, a, rowMessage)
		if err != nil {
			return err
		}
		e := store.Entry{Version: newest.Version, Messages: int(h.messages), Bytes: int(h.bytes), ExpiresAt: timeOf(h.expires)}
		if err := l.add(a, e); err != nil {
			return err
		}
	}
	v, found, err := readValue(b, a)
	if err != nil || !found || !v.live(l.now) || v.record.IsTombstone() || v.record.Generation < generation {
		return err
	}
	size := len(b.Get(a.row(rowValue))) - valueHead
	return l.add(a, store.Entry{Version: v.record.Version, Bytes: size, ExpiresAt: timeOf(v.expires)})
}

func (l *lister) add(a address, e store.Entry) (err error) {
	if e.Key, err = l.key(a); err != nil {
		return err
	}
	l.page.Entries = append(l.page.Entries, e)
	return nil
}

// end closes the page after the key at a.
func (l *lister) end(a address) error {
	k, err := l.key(a)
	if err != nil {
		return err
	}
	l.page.Cursor = base64.RawURLEncoding.EncodeToString([]byte(k.String()))
	return nil
}
