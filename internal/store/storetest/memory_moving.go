package storetest

import (
	"context"
	"slices"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Recall implements store.Store.
func (m *Memory) Recall(ctx context.Context, p store.Past) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	c := m.conversations[p.Key.String()]
	if c == nil || !c.alive(m.time()) || c.generation != p.Generation {
		return nil
	}
	if p.TrimmedTo.Compare(c.trimmedTo) > 0 && (len(c.list) == 0 || c.list[0].order().Compare(p.TrimmedTo) > 0) {
		c.trimmedTo = p.TrimmedTo
	}
	if !p.Created.IsZero() && (c.created.IsZero() || p.Created.Before(c.created)) {
		c.created = p.Created
	}
	var entries []*entry
	for _, msg := range p.Trimmed {
		if n := len(entries); n == 0 || entries[n-1].id != msg.ID {
			entries = append(entries, &entry{id: msg.ID, contents: map[[8]byte]content{}})
		}
		e := entries[len(entries)-1]
		if _, taken := c.taken[msg.At]; taken || msg.At.Version.Compare(c.floor) < 0 {
			continue
		}
		e.orders = append(e.orders, placedOrder{msg.At, msg.Digest})
		if msg.Payload != nil {
			e.contents[msg.Digest] = content{msg.Flags, msg.Payload}
		}
	}
	for _, e := range entries {
		if c.ids[e.id] == nil && len(e.orders) > 0 && e.order().Compare(c.trimmedTo) <= 0 {
			c.recall(e, m.time().UnixMicro())
		}
	}
	return nil
}

func (c *conversation) recall(e *entry, micros int64) {
	c.lastArrival = max(micros, c.lastArrival+1)
	e.arrival = c.lastArrival
	c.ids[e.id] = e
	for _, o := range e.orders {
		c.taken[o.order] = e.id
	}
}

// Sweep implements store.Store.
func (m *Memory) Sweep(ctx context.Context, o keys.Org) (int, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	removed := 0
	for name, v := range m.values {
		org := v.key.Org()
		if o.IsZero() && org.IsZero() || !o.IsZero() && org != o || v.record.Generation >= m.generations[org] {
			continue
		}
		delete(m.values, name)
		removed++
	}
	for _, c := range m.conversations {
		org := c.key.Org()
		if !o.IsZero() && org != o || c.generation >= m.generations[org] || c.expiresAt.IsZero() {
			continue
		}
		c.floorUntil = latestOf(c.floorUntil, c.expiresAt)
		c.expiresAt = time.Time{}
		c.empty()
		c.trimmedTo = record.Order{}
		removed++
	}
	return removed, nil
}

// Orgs implements store.Store.
func (m *Memory) Orgs(ctx context.Context) ([]keys.Org, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var orgs []keys.Org
	for _, v := range m.values {
		orgs = append(orgs, v.key.Org())
	}
	for _, c := range m.conversations {
		if c.alive(m.time()) {
			orgs = append(orgs, c.key.Org())
		}
	}
	slices.SortFunc(orgs, func(a, b keys.Org) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	return slices.DeleteFunc(slices.Compact(orgs), keys.Org.IsZero), nil
}
