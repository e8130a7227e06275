package near

import (
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// Age returns how long ago a copy that Get gave was last known to be current, by the
// covers c that k has now: when the last signal that came back was sent, as far as
// nothing broke since the copy was read, and otherwise when it was filled in.
func (t *Tier) Age(k keys.Key, c store.Covers, it *Item) time.Duration {
	now := store.Now()
	age := time.Duration(now - it.filled)
	e, ok := t.cache.GetEntryQuietly(k.String())
	if !ok || &e.Value.item != it || c.Key == nil || e.Value.covers != c {
		return age
	}
	key, keyProven := c.Key.Age(now)
	generation, genProven := c.Generation.Age(now)
	// The epochs after the proofs: a proof that broke since does not count.
	if !keyProven || !genProven || c.Key.Epoch() != e.Value.keyEpoch || c.Generation.Epoch() != e.Value.genEpoch {
		return age
	}
	return min(age, max(key, generation))
}

// ProofAge returns how old the proof is by which copies under covers are given as
// fresh: at most the bound.
func (t *Tier) ProofAge(c store.Covers) time.Duration {
	if c.Key == nil || c.Generation == nil {
		return t.bound
	}
	now := store.Now()
	key, keyProven := c.Key.Age(now)
	generation, genProven := c.Generation.Age(now)
	if !keyProven || !genProven {
		return t.bound
	}
	return min(t.bound, max(key, generation))
}
