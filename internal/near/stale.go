package near

import (
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// knowEvery is how exactly it is noted when a copy was last known to be current: so
// readers on several cores do not fight for it.
const knowEvery = int64(50 * time.Millisecond)

// know notes that the copy is current now.
func (e *entry) know(now int64) {
	if now-e.known.Load() >= knowEvery {
		e.known.Store(now)
	}
}

// Stale is a copy that need not be current.
type Stale struct {
	// Item must not be changed.
	Item *Item
	// ToldAt is when something was told of its key, as store.Now; zero: nothing was. It
	// may have expired, or was deleted: who gives the copy all the same has to
	// know which by a read that began later.
	ToldAt int64
}

// Stale returns the copy of what k had, by the covers c that k has now, for who may
// give one that is not current; false: there is none. It is within its Retain from
// when it was last known to be current, or, where it has none, within its TTL. What
// this process has dropped, what was told of twice, and what is of a generation that
// has ended is never among it.
func (t *Tier) Stale(k keys.Key, c store.Covers) (s Stale, ok bool) {
	e, ok := t.cache.GetIfPresent(k.String())
	if !ok || e.over() || e.item.Absent {
		return s, false
	}
	now := store.Now()
	if e.item.Retain > 0 {
		if now-e.lastKnown(c, now, t.bound) > int64(e.item.Retain) {
			return s, false
		}
	} else if now >= e.until {
		return s, false
	}
	e.visit()
	return Stale{Item: &e.item, ToldAt: e.toldAt}, true
}

// lastKnown is when the copy was last known to be current, by the covers that its
// key has now.
func (e *entry) lastKnown(c store.Covers, now int64, bound time.Duration) int64 {
	if e.fresh(c, now, bound) {
		return now
	}
	return e.known.Load()
}

// retained returns what stays of a copy of which something is told, nil: nothing. It
// is never fresh, and a fill takes its place.
func (t *Tier) retained(cur *entry) *entry {
	now := store.Now()
	known := cur.lastKnown(cur.covers, now, t.bound)
	if cur.item.Absent || cur.toldAt != 0 || cur.over() || now-known >= int64(cur.item.Retain) {
		return nil
	}
	e := &entry{
		item: cur.item, key: cur.key, weight: cur.weight, until: now, toldAt: now, place: new(place),
		account: cur.account, orgEpoch: cur.orgEpoch,
	}
	e.item.TTL = 0
	e.place.entry.Store(e)
	e.known.Store(known)
	e.visited.Store(cur.visited.Load())
	// The entry that it replaces gives its bytes back at once.
	e.account.bytes.Add(int64(e.weight))
	e.account.add(e)
	return e
}
