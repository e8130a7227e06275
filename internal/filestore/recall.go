package filestore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Recall adds to a conversation what another store remembered of it; see
// store.Past.
func (s *Store) Recall(ctx context.Context, p store.Past) error {
	a, err := s.names.address(p.Key)
	if err != nil {
		return err
	}
	size := rowOverhead
	for _, m := range p.Trimmed {
		size += 2*rowOverhead + len(m.ID) + len(m.Payload)
	}
	return s.submit(ctx, size, func(t *txn) error {
		c, err := t.conversation(a)
		if err != nil || c.hidden || !c.stored || c.expires == 0 || c.generation != p.Generation {
			return err
		}
		if err := t.take(size); err != nil {
			return err
		}
		return c.recall(p)
	})
}

func (c *conversation) recall(p store.Past) error {
	if err := c.raiseTrimmed(p.TrimmedTo); err != nil {
		return err
	}
	if at := p.Created.UnixMilli(); !p.Created.IsZero() && (c.created == 0 || at < c.created) {
		c.created = at
	}
	for from := 0; from < len(p.Trimmed); {
		to := from + 1
		for to < len(p.Trimmed) && p.Trimmed[to].ID == p.Trimmed[from].ID {
			to++
		}
		if err := c.recallID(p.Trimmed[from:to]); err != nil {
			return err
		}
		from = to
	}
	return c.save()
}

// raiseTrimmed raises trimmedTo, unless a message stands at or below it.
func (c *conversation) raiseTrimmed(to record.Order) error {
	if to.Compare(c.trimmedTo) <= 0 {
		return nil
	}
	prefix := c.at.row(rowMessage)
	if k, _ := c.b.Cursor().Seek(prefix); bytes.HasPrefix(k, prefix) {
		lowest, err := record.ParseOrder(k[len(prefix):])
		if err != nil || lowest.Compare(to) <= 0 {
			return err
		}
	}
	c.trimmedTo = to
	return nil
}

// recallID remembers an id by its orders, unless it is known or would have to
// stand.
func (c *conversation) recallID(ms []store.Message) error {
	old, err := c.places(ms[0].ID)
	if err != nil || len(old) > 0 {
		return err
	}
	var next places
	contents := make(map[digest]store.Message)
	for _, m := range ms {
		if m.At.Version.Compare(c.floor) < 0 || c.owner(m.At) != "" {
			continue
		}
		next = next.with(place{order: m.At, digest: m.Digest})
		if m.Payload != nil {
			contents[m.Digest] = m
		}
	}
	if len(next) == 0 || next[0].order.Compare(c.trimmedTo) > 0 {
		return nil
	}
	if len(ms[0].ID) > maxID {
		return fmt.Errorf("%w: an id of %d bytes", store.ErrRejected, len(ms[0].ID))
	}
	c.ids++
	if err := c.remember(ms[0].ID, nil, next); err != nil {
		return err
	}
	for _, p := range next {
		m, kept := contents[p.digest]
		if !kept || p.order.Compare(c.trimmedTo) <= 0 {
			continue
		}
		delete(contents, p.digest)
		row := c.message(m, p.order, c.arrive()).Append(nil)
		if err := c.t.put(c.b, c.at.orderRow(rowSpare, p.order), row); err != nil {
			return err
		}
	}
	return nil
}

// Sweep removes what organisations have below their generations, and with it
// what has expired, in steps between which other writers have their turn.
func (s *Store) Sweep(ctx context.Context, o keys.Org) (int, error) {
	orgs := []keys.Org{o}
	if o.IsZero() {
		var err error
		if orgs, err = s.Orgs(ctx); err != nil {
			return 0, err
		}
	}
	removed := 0
	for _, o := range orgs {
		n, err := s.sweepOrg(ctx, o)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	// The rows of conversations go with what has expired: see outdatedConversation.
	return removed, s.sweep(ctx)
}

func (s *Store) sweepOrg(ctx context.Context, o keys.Org) (removed int, err error) {
	from := sweepStart
	for from != nil {
		var (
			next []byte
			n    int
		)
		err := s.submit(ctx, rowOverhead, func(t *txn) error {
			w := sweeper{txn: t, left: sweepRows, emptied: make(map[string]bool)}
			var err error
			if next, err = w.outdatedOf(o.String(), from); err != nil {
				return err
			}
			n = w.outdatedKeys
			return w.dropEmpty()
		})
		if err != nil {
			return removed, err
		}
		removed, from = removed+n, next
	}
	return removed, nil
}
