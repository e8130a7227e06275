package filestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// walkMessages and walkBytes bound one Append of a walk.
	walkMessages = 100
	walkBytes    = 1 << 20
	// walkIDs bounds one Past of a walk, in orders.
	walkIDs = 400
	// noLife is the life that a floor brings where the conversation has none.
	noLife = time.Second
	// unbounded is a number of messages that no conversation has.
	unbounded = 1 << 30
)

// untrimmed is the window of a walk: what stands here is to stand there, and is
// trimmed with the next message.
var untrimmed = store.Window{Messages: unbounded, IDs: unbounded}

// walkVersion is that of an Append whose messages have orders of their own. It
// is before every time, so that no clock refuses it.
var walkVersion = clock.NewVersion(1, 0, 0)

// Walk calls visit with what each key holds, those of the directory and the
// marks of who was forgotten first. What is invalid or has expired is left out,
// but the floors of conversations that are remembered. An error of visit ends
// the walk.
func (s *Store) Walk(ctx context.Context, visit func(store.Contents) error) error {
	return s.read(ctx, func(tx *bbolt.Tx, now time.Time) error {
		w := walker{ctx: ctx, names: s.names, tx: tx, now: now, visit: visit}
		if err := w.walk(""); err != nil {
			return err
		}
		return tx.Bucket(s.names.organisations).ForEachBucket(func(org []byte) error { return w.walk(string(org)) })
	})
}

// Count returns for how many keys Walk calls visit.
func (s *Store) Count(ctx context.Context) (n int64, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx, _ time.Time) error {
		n = countKeys(tx.Bucket(s.names.directory))
		return tx.Bucket(s.names.organisations).ForEachBucket(func(org []byte) error {
			n += countKeys(rowsOf(tx, s.names, string(org)))
			return ctx.Err()
		})
	})
	return n, err
}

// Orgs returns the organisations that have rows.
func (s *Store) Orgs(ctx context.Context) (orgs []keys.Org, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx, _ time.Time) error {
		return tx.Bucket(s.names.organisations).ForEachBucket(func(name []byte) error {
			o, err := keys.ParseOrg(string(name))
			if err != nil {
				return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
			}
			orgs = append(orgs, o)
			return ctx.Err()
		})
	})
	return orgs, err
}

type walker struct {
	names
	ctx   context.Context
	tx    *bbolt.Tx
	now   time.Time
	visit func(store.Contents) error
}

// walk goes through the keys of one organisation. The steps are those of
// countKeys.
func (w *walker) walk(org string) error {
	b := rowsOf(w.tx, w.names, org)
	generation, err := generationOf(w.tx, w.names, org)
	if err != nil {
		return err
	}
	cur := b.Cursor()
	for k, _ := cur.First(); k != nil; {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		base, kind, err := splitRow(k)
		if err != nil {
			if err := w.visit(store.Contents{Damaged: err}); err != nil {
				return err
			}
			k, _ = cur.Next()
			continue
		}
		if err := w.visit(w.contents(b, address{org: org, base: base}, kind, generation)); err != nil {
			return err
		}
		if kind == rowValue {
			k, _ = cur.Next()
		} else {
			k, _ = cur.Seek(append([]byte(base), rowValue))
		}
	}
	return nil
}

func (w *walker) contents(b *bbolt.Bucket, a address, kind byte, generation uint64) store.Contents {
	k, err := w.anyKey(a)
	c := store.Contents{Key: k}
	if err == nil && kind == rowValue {
		err = w.value(&c, b, a, generation)
	} else if err == nil {
		err = w.conversation(&c, b, a, generation)
	}
	if err != nil {
		return store.Contents{Key: k, Damaged: fmt.Errorf("row %q of %q: %w", a.base, a.org, err)}
	}
	return c
}

// anyKey is the inverse of address for marks of who was forgotten, too.
func (n names) anyKey(a address) (keys.Key, error) {
	if id, ok := strings.CutPrefix(a.base, "__forgotten:"); ok && a.org == "" {
		return n.space.ParseForgotten(n.space.Prefix() + "__forgotten:" + strings.TrimSuffix(id, "\x00"))
	}
	return n.key(a)
}

func (w *walker) value(c *store.Contents, b *bbolt.Bucket, a address, generation uint64) error {
	v, found, err := readValue(b, a)
	if err != nil || !found || !v.live(w.now) || v.record.Generation < generation {
		return err
	}
	c.Ops = []store.Op{{
		Action: store.Set, Mode: store.Merge, Key: c.Key, Version: v.record.Version, Generation: v.record.Generation,
		ExpiresAt: time.UnixMilli(v.expires), Flags: v.record.Flags, Payload: bytes.Clone(v.record.Stored),
	}}
	return nil
}

func (w *walker) conversation(c *store.Contents, b *bbolt.Bucket, a address, generation uint64) error {
	row := b.Get(a.row(rowHead))
	if row == nil {
		return errors.New("rows of a conversation without a head")
	}
	h, err := parseHead(row)
	if err != nil {
		return err
	}
	alive := h.expires > w.now.UnixMilli()
	if !alive || h.generation < generation {
		w.floor(c, h, generation)
		return nil
	}
	if !h.floor.IsZero() {
		c.Ops = append(c.Ops, store.Op{
			Action: store.Replace, Mode: store.Merge, Key: c.Key, Version: h.floor, Generation: h.generation,
			ExpiresAt: time.UnixMilli(h.expires), Keep: w.until(h.floorUntil), Window: untrimmed,
		})
	}
	standing, gone, err := remembered(b, a, h.trimmedTo)
	if err != nil {
		return err
	}
	for _, part := range inParts(standing) {
		c.Ops = append(c.Ops, store.Op{
			Action: store.Append, Mode: store.Merge, Key: c.Key, Version: walkVersion, Generation: h.generation,
			ExpiresAt: time.UnixMilli(h.expires), Messages: part, Window: untrimmed,
		})
	}
	past := store.Past{Key: c.Key, Generation: h.generation, TrimmedTo: h.trimmedTo, Created: timeOf(h.created)}
	for _, part := range inGroups(gone) {
		past.Trimmed = part
		c.Past = append(c.Past, past)
	}
	return nil
}

// floor brings the floor of a conversation whose messages do not count any
// more. It belongs to no generation.
func (w *walker) floor(c *store.Contents, h head, generation uint64) {
	keep := w.until(max(h.floorUntil, h.expires))
	if h.floor.IsZero() || keep <= 0 {
		return
	}
	c.Ops = []store.Op{{
		Action: store.Replace, Mode: store.Merge, Key: c.Key, Version: h.floor, Generation: generation,
		TTL: noLife, Keep: keep, Window: untrimmed,
	}}
}

func (w *walker) until(millis int64) time.Duration {
	return max(0, time.UnixMilli(millis).Sub(w.now))
}

// remembered returns an entry for each remembered order: those of ids that
// stand in the list, in order, and those of ids whose message has left it, by
// id.
func remembered(b *bbolt.Bucket, a address, trimmedTo record.Order) (standing, gone []store.Message, err error) {
	prefix := a.row(rowID)
	cur := b.Cursor()
	for k, v := cur.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = cur.Next() {
		ps, err := parsePlaces(v)
		if err != nil {
			return nil, nil, err
		}
		if len(ps) == 0 {
			continue
		}
		ms, err := messagesOf(b, a, string(k[len(prefix):]), ps)
		if err != nil {
			return nil, nil, err
		}
		if ps[0].order.Compare(trimmedTo) <= 0 {
			gone = append(gone, ms...)
			continue
		}
		if ms[0].Payload == nil {
			return nil, nil, fmt.Errorf("%w: message %q is not there", store.ErrCorrupt, ms[0].ID)
		}
		// Each content of an id that stands is kept; one that were not would
		// be no reason to lose the message.
		standing = append(standing, slices.DeleteFunc(ms, func(m store.Message) bool { return m.Payload == nil })...)
	}
	slices.SortFunc(standing, compareMessages)
	return standing, gone, nil
}

// messagesOf returns an entry for each order of an id, with the content that
// came with it where that is kept.
func messagesOf(b *bbolt.Bucket, a address, id string, ps places) ([]store.Message, error) {
	contents := make(map[digest]record.Message, 1)
	for i, p := range ps {
		kind := byte(rowSpare)
		if i == 0 {
			kind = rowMessage
		}
		row := b.Get(a.orderRow(kind, p.order))
		if row == nil {
			continue
		}
		m, err := record.ParseMessage(row)
		if err != nil {
			return nil, err
		}
		m.Stored = append(make([]byte, 0, len(m.Stored)), m.Stored...) // not nil, also where it is empty
		contents[p.digest] = m
	}
	ms := make([]store.Message, len(ps))
	for i, p := range ps {
		m := contents[p.digest]
		ms[i] = store.Message{ID: id, Digest: p.digest, At: p.order, Flags: m.Flags, Payload: m.Stored}
	}
	return ms, nil
}

// inParts cuts messages into what one operation carries.
func inParts(ms []store.Message) (parts [][]store.Message) {
	from, size := 0, 0
	for i, m := range ms {
		if i > from && (i-from == walkMessages || size+len(m.Payload) > walkBytes) {
			parts, from, size = append(parts, ms[from:i]), i, 0
		}
		size += len(m.Payload)
	}
	if from < len(ms) {
		parts = append(parts, ms[from:])
	}
	return parts
}

// inGroups cuts messages without parting those of one id. None are one group:
// there is more to tell than messages.
func inGroups(ms []store.Message) (groups [][]store.Message) {
	from := 0
	for i := range ms {
		if i-from >= walkIDs && ms[i].ID != ms[i-1].ID {
			groups, from = append(groups, ms[from:i]), i
		}
	}
	return append(groups, ms[from:])
}

func compareMessages(m, n store.Message) int {
	return cmp.Or(m.At.Compare(n.At), cmp.Compare(m.ID, n.ID))
}
