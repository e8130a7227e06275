package near

import (
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

// entryOverhead is what keeping a copy costs beside its key and its Size, in bytes: the
// entry, otter's node, and a part of its table and sketch. TestOverhead measures
// it.
const entryOverhead = 320

// entry is a copy with what proves it. The item's TTL is what the jitter left of it.
// After it was put in only visited, counted, known, and its neighbours in the account
// change.
type entry struct {
	item    Item
	key     string
	weight  uint32      // what it counts in the budget, in bytes
	visited atomic.Bool // since the account last looked for what may go
	until   int64       // when its TTL ends, or something was told of the key, as store.Now
	place   *place
	counted atomic.Int64 // when otter heard last of a read that did not look for it, as store.Now
	toldAt  int64        // when something was told of the key, as store.Now; zero: nothing was
	known   atomic.Int64 // when it was last known to be current, as store.Now; kept up where the item has a Retain

	// The covers with their epochs before the read; nil covers: it is never fresh.
	covers   store.Covers
	keyEpoch uint64
	genEpoch uint64

	account      *account
	orgEpoch     uint64 // that of the account for which it counts
	older, newer *entry // in the account. Guarded by its mu.
}

// over reports whether the organisation's generation changed since the copy was kept.
func (e *entry) over() bool { return e.account.epoch.Load() != e.orgEpoch }

// fresh reports whether the copy is proven to be current within the bound, by the
// covers that its key has now.
func (e *entry) fresh(c store.Covers, now int64, bound time.Duration) bool {
	if c.Key == nil || c != e.covers || !c.Key.Fresh(e.keyEpoch, now, bound) {
		return false
	}
	return c.Generation == c.Key && e.genEpoch == e.keyEpoch || c.Generation.Fresh(e.genEpoch, now, bound)
}

// visit remembers that the copy was of use. It is written once between two looks, so
// that readers on several cores do not fight for it.
func (e *entry) visit() {
	if !e.visited.Load() {
		e.visited.Store(true)
	}
}

// Get returns the copy of what a key has, nil for none, and whether it is proven to
// be current within the bound, by the covers c that the key has now. One that is not
// may be served as stale by who wants that. The item must not be changed. With a
// handle of the key the copy is looked for only where it is not remembered; nil: there
// is none.
func (t *Tier) Get(name string, h *Handle, c store.Covers) (it *Item, fresh bool) {
	e := h.entry()
	remembered := e != nil
	if !remembered {
		if e, _ = t.cache.GetIfPresent(name); e == nil {
			t.counts.missed()
			return nil, false
		}
		h.remember(e)
	}
	now := store.Now()
	if e.over() || now >= e.until {
		t.counts.missed()
		return nil, false
	}
	if remembered && e.uncounted(now) {
		t.cache.GetIfPresent(name)
	}
	e.visit()
	fresh = e.fresh(c, now, t.bound)
	t.counts.hit(fresh)
	if fresh && e.item.Retain > 0 {
		e.know(now)
	}
	return &e.item, fresh
}
