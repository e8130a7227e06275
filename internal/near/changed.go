package near

import (
	"strings"

	"github.com/maypok86/otter/v2"

	"github.com/jackcache/jackcache/internal/keys"
)

// Changed drops the copies of keys that a server has changed, but for what Stale may
// give of them, and ends those of an organisation whose generation it has changed. Names of other spaces, and of other
// housekeeping, are ignored. It waits for nobody but, for moments, those who write to
// the same bucket; when otter is behind with its bookkeeping it helps.
func (t *Tier) Changed(names []string) {
	for _, name := range names {
		switch {
		case t.keeps(name):
			t.tell(name)
		case strings.HasPrefix(name, t.ends):
			t.end(name)
		}
	}
}

// Drop drops the copy of k, and keeps away what was read before. Who writes calls it
// after the store took the write, and before it is acknowledged.
func (t *Tier) Drop(k keys.Key) {
	if t.keeps(k.String()) {
		t.drop(k.String())
	}
}

// DropOrg ends all copies of an organisation, in a time that does not depend on
// how many there are, and keeps away what was read before.
func (t *Tier) DropOrg(o keys.Org) { t.end(t.space.Generation(o)) }

// Told returns how often something was told of k, and of the generation of its
// organisation, or of others that share their clocks.
func (t *Tier) Told(k keys.Key) (key, org uint64) {
	return t.told.of(t.seed, k.String()).Load(), t.ended.of(t.seed, t.space.Generation(k.Org())).Load()
}

// tell is drop for what a server tells of.
func (t *Tier) tell(name string) {
	if !t.retains.Load() {
		t.drop(name)
		return
	}
	t.told.of(t.seed, name).Add(1)
	t.counts.drops.Add(1)
	t.cache.ComputeIfPresent(name, func(cur *entry) (*entry, otter.ComputeOp) {
		if e := t.retained(cur); e != nil {
			return e, otter.WriteOp
		}
		return nil, otter.InvalidateOp
	})
}

// drop raises the clock before it drops: a fill that read before the change sees the
// clock under the lock of the bucket, or is in the bucket and goes.
func (t *Tier) drop(name string) {
	t.told.of(t.seed, name).Add(1)
	t.counts.drops.Add(1)
	t.cache.Invalidate(name)
}

// end raises the clock before it looks for the account. A fill that found the clock
// as it was has its account there by then, with the epoch that ends here.
func (t *Tier) end(generation string) {
	t.ended.of(t.seed, generation).Add(1)
	t.counts.orgDrops.Add(1)
	if a := t.orgs.find(generation); a != nil {
		a.epoch.Add(1)
		t.sweeps.add(a)
	}
}

// remove drops an entry unless another one has its place, and reports whether it
// was there.
func (t *Tier) remove(e *entry) bool {
	removed := false
	t.cache.ComputeIfPresent(e.key, func(cur *entry) (*entry, otter.ComputeOp) {
		if cur != e {
			return cur, otter.CancelOp
		}
		removed = true
		return nil, otter.InvalidateOp
	})
	return removed
}

// gone accounts for an entry that leaves, for whatever reason. otter calls it once
// for each, under the lock of the bucket and before anybody sees the change: it must
// not call the cache. So who has a handle and who looks for the key agree: none finds
// the entry here once another one did not.
func (t *Tier) gone(d otter.DeletionEvent[string, *entry]) {
	switch d.Cause {
	case otter.CauseOverflow:
		t.counts.evictions.Add(1)
	case otter.CauseExpiration:
		t.counts.expirations.Add(1)
	}
	e := d.Value
	e.place.entry.Store(nil)
	e.account.drop(e)
	e.account.bytes.Add(-int64(e.weight))
	t.orgs.release(e.account)
}
