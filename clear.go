package jackcache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// Cleared tells what Clear removed.
type Cleared struct {
	Organisations int
	// Keys is about how many keys of the store went.
	Keys int
}

// Clear is Invalidate, and gives the space back: it removes everything that is
// kept for the organisation from the store. It takes as long as looking through
// the store does. What others write meanwhile is kept, and so is the memory of
// who was forgotten. After an error nothing of before is visible, or everything;
// repeat it to remove what is left.
func (o Org) Clear(ctx context.Context) (Cleared, error) {
	ctx, receipt := WithReceipt(ctx)
	if err := o.invalidate(ctx); err != nil {
		if errors.Is(err, ErrUnseen) {
			o.cache.engine.Reclaim(o.org)
		}
		return Cleared{}, err
	}
	if receipt.Pending() {
		return Cleared{}, fmt.Errorf("%w: everything of the organisation becomes invisible when redis is back; repeat it then to remove it", ErrUnavailable)
	}
	n, err := o.cache.engine.Sweep(ctx, o.org)
	if err != nil {
		o.cache.engine.Reclaim(o.org)
	}
	return Cleared{Organisations: 1, Keys: n}, mapError(ctx, "clear", err)
}

// Clear empties the cache for every organisation, and the directory. It does
// for each what Org.Clear does; after an error some may be cleared and others
// not. Values that stay in the process go for the organisations that have
// others.
func (c *Cache) Clear(ctx context.Context) (Cleared, error) {
	var done Cleared
	for _, info := range c.opts.Kinds {
		if k := info.kind(); k.opts.Directory {
			n, err := c.clearDirectory(ctx, k)
			if done.Keys += n; err != nil {
				return done, mapError(ctx, "clear the directory", err)
			}
		}
	}
	orgs, err := c.engine.Orgs(ctx)
	if err != nil {
		return done, mapError(ctx, "clear", err)
	}
	orgs = c.withPending(orgs)
	for _, o := range orgs {
		pending, err := c.engine.Invalidate(ctx, o)
		if err == nil && pending {
			err = fmt.Errorf("%w: it is invalidated when redis is back", store.ErrUnavailable)
		}
		if err != nil {
			return done, mapError(ctx, "clear", err)
		}
		done.Organisations++
	}
	if err = c.engine.AwaitSeen(ctx, time.Now(), orgs...); err == nil {
		var n int
		n, err = c.engine.Sweep(ctx, keys.Org{})
		done.Keys += n
	}
	if err != nil {
		for _, o := range orgs {
			c.engine.Reclaim(o)
		}
	}
	return done, mapError(ctx, "clear", err)
}

// withPending adds the organisations of which something waits in the journal.
func (c *Cache) withPending(orgs []keys.Org) []keys.Org {
	if c.journal == nil {
		return orgs
	}
	all := make(map[keys.Org]bool, len(orgs))
	for _, o := range orgs {
		all[o] = true
	}
	c.journal.EachPending(func(p journal.Outstanding) {
		if !p.Org.IsZero() && !all[p.Org] {
			all[p.Org] = true
			orgs = append(orgs, p.Org)
		}
	})
	return orgs
}

// clearPending deletes what waits in the journal for the directory.
func (c *Cache) clearPending(ctx context.Context, k *kind) (n int, err error) {
	if c.journal == nil {
		return 0, nil
	}
	waiting := make(map[keys.Key]bool)
	c.journal.EachPending(func(p journal.Outstanding) {
		if p.Org.IsZero() && p.Key.Type() == k.typ {
			waiting[p.Key] = true
		}
	})
	for key := range waiting {
		if err := c.engine.Delete(ctx, key, k.policy, store.Condition{}); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// clearDirectory deletes a kind's values without an organisation. They have no
// generation of their own: that of no organisation is the one of the marks of
// who was forgotten.
func (c *Cache) clearDirectory(ctx context.Context, k *kind) (n int, err error) {
	if n, err = c.clearPending(ctx, k); err != nil {
		return n, err
	}
	for cursor := ""; ; {
		page, err := c.engine.List(ctx, store.Query{Type: k.typ, Cursor: cursor, Limit: MaxList})
		if err != nil {
			return n, err
		}
		for _, e := range page.Entries {
			if !e.Key.Org().IsZero() {
				continue
			}
			if err := c.engine.Delete(ctx, e.Key, k.policy, store.Condition{}); err != nil {
				return n, err
			}
			n++
		}
		if cursor = page.Cursor; cursor == "" {
			return n, nil
		}
	}
}
