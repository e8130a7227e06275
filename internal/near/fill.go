package near

import (
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// housekeeping is what the keys begin with, after the prefix of the space, of which
// there are no copies.
const housekeeping = "__"

// jitterPart is the part of a TTL that is taken from it at most.
const jitterPart = 10

// maxLife is the longest TTL: with more the sum with the time would overflow.
const maxLife = math.MaxInt64 / 4

// Lease is what was known of a key before it was read. With the zero Lease nothing
// is kept. It holds no resource and need not be given back.
type Lease struct {
	key, org           string // the names of the key and of the generation
	covers             store.Covers
	keyEpoch, genEpoch uint64
	told, ended        *atomic.Uint64
	toldAt, endedAt    uint64
	proven             bool
	at                 int64 // when it was taken, as store.Now
}

// Lease is taken before the read of k is sent, with the covers that k has then.
// It is zero where nothing is told of changes, and for keys of which there are no
// copies. What is kept under covers that have proven nothing yet is never fresh:
// whether changes were told already when it was read is not known.
func (t *Tier) Lease(k keys.Key, c store.Covers) Lease {
	if c.Key == nil || c.Generation == nil || !t.keeps(k.String()) {
		return Lease{}
	}
	l := Lease{key: k.String(), org: t.space.Generation(k.Org()), covers: c, at: store.Now()}
	l.keyEpoch, l.genEpoch = c.Key.Epoch(), c.Generation.Epoch()
	l.proven = proven(c.Key) && proven(c.Generation)
	l.told, l.ended = t.told.of(t.seed, l.key), t.ended.of(t.seed, l.org)
	l.toldAt, l.endedAt = l.told.Load(), l.ended.Load()
	return l
}

func proven(c *store.Cover) bool {
	_, ok := c.Age(0)
	return ok
}

// keeps reports whether there may be copies of what a key has.
func (t *Tier) keeps(name string) bool {
	rest, ok := strings.CutPrefix(name, t.prefix)
	return ok && !strings.HasPrefix(rest, housekeeping)
}

// Shares reports whether what is being read under the lease read may be given to somebody
// who begins to read the same now, and has just taken the lease of it: nothing was told
// of since that read began, and it is proven, as for a copy, that it would have been.
func (t *Tier) Shares(read, now Lease) bool {
	c := read.covers
	at := store.Now()
	return read.proven && c == now.covers && read.key == now.key && read.objection() == kept &&
		c.Key.Fresh(read.keyEpoch, at, t.bound) && c.Generation.Fresh(read.genEpoch, at, t.bound)
}

// Fill keeps what was read of k under a lease of it, and reports whether it did. It
// does not if something was told of the key or of its organisation's generation
// since the lease, or might have been and was not heard; if a copy of a later
// (generation, version) is there; or if there is no room: see Rejected. The tier
// keeps the item as it is given: nobody may change its Value afterwards.
func (t *Tier) Fill(k keys.Key, l Lease, it Item) bool {
	why := t.fill(k, l, it)
	t.counts.filled(why)
	return why == kept
}

func (t *Tier) fill(k keys.Key, l Lease, it Item) outcome {
	if l.key == "" || l.key != k.String() {
		return uncovered
	}
	if it.TTL <= 0 {
		return expired
	}
	weight := int64(it.Size) + int64(len(l.key)) + entryOverhead
	if it.Size < 0 || weight > t.share || weight > math.MaxUint32 {
		return tooLarge
	}
	if why := l.objection(); why != kept {
		return why
	}
	a := t.orgs.acquire(l.org, k.Org())
	defer t.orgs.release(a)
	// Read before the clock of the organisation is compared: the clock is raised first.
	orgEpoch := a.epoch.Load()
	if !t.reserve(a, weight) {
		return noShare
	}
	e := t.entry(l, it, uint32(weight))
	e.account, e.orgEpoch = a, orgEpoch
	why := t.keep(e, l)
	if why != kept {
		a.bytes.Add(-weight)
	}
	return why
}

// entry returns that of an item, with a TTL up to a tenth shorter: copies that were
// kept together do not all expire together.
func (t *Tier) entry(l Lease, it Item, weight uint32) *entry {
	it.TTL, it.Retain = min(it.TTL, maxLife), min(it.Retain, maxLife)
	it.TTL -= time.Duration(t.random() % uint64(it.TTL/jitterPart+1))
	it.filled = store.Now()
	e := &entry{
		item: it, key: l.key, weight: weight, until: it.filled + int64(it.TTL),
		keyEpoch: l.keyEpoch, genEpoch: l.genEpoch, place: new(place),
	}
	e.place.entry.Store(e)
	e.known.Store(l.at)
	if it.Retain > 0 && !t.retains.Load() {
		t.retains.Store(true)
	}
	if l.proven {
		e.covers = l.covers
	}
	return e
}

// keep puts an entry for which bytes are reserved in, unless the lease no longer
// holds. What is told meanwhile waits for the lock of the bucket to drop it again.
func (t *Tier) keep(e *entry, l Lease) (why outcome) {
	t.cache.Compute(e.key, func(old *entry, found bool) (*entry, otter.ComputeOp) {
		if why = l.objection(); why != kept {
			return old, otter.CancelOp
		}
		if found {
			if old.valid(e) && old.item.newer(&e.item) {
				why = outdated
				return old, otter.CancelOp
			}
			e.key = old.key // otter keeps this one: the other is not needed
		}
		e.account.add(e)
		return e, otter.WriteOp
	})
	return why
}

// valid reports whether a copy counts against one that is proven by o's lease.
func (e *entry) valid(o *entry) bool {
	return e.covers == o.covers && e.covers.Key != nil && e.keyEpoch == o.keyEpoch && e.genEpoch == o.genEpoch &&
		!e.over() && store.Now() < e.until
}

// objection returns why a lease no longer holds, or kept.
func (l *Lease) objection() outcome {
	switch {
	case l.told.Load() != l.toldAt:
		return told
	case l.ended.Load() != l.endedAt:
		return orgTold
	case l.covers.Key.Epoch() != l.keyEpoch || l.covers.Generation.Epoch() != l.genEpoch:
		return broken
	}
	return kept
}
