package near

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/jackcache/jackcache/internal/counter"
	"github.com/jackcache/jackcache/internal/keys"
)

// Stats are counts since New, and what is kept now. They are read one by one: those
// that others change meanwhile need not add up.
type Stats struct {
	// Entries and Bytes are what is kept, Bytes with the keys and what keeping costs.
	Entries  int
	Bytes    uint64
	MaxBytes uint64
	// OrgBytes is the most that one organisation may have.
	OrgBytes uint64

	HitsFresh, HitsStale, Misses uint64

	Fills    uint64
	Rejected Rejected

	// Evictions made room in the budget, OwnEvictions in the share of their own
	// organisation.
	Evictions, OwnEvictions uint64
	Expirations             uint64
	// Drops are keys that were told of or written, kept or not; OrgDrops are
	// organisations whose generation changed, and Swept the copies that went for it.
	Drops, OrgDrops, Swept uint64

	// Orgs is how many organisations have something, Top those that have most.
	Orgs int
	Top  []OrgBytes
}

// OrgBytes is what an organisation has in the tier; zero Org: the directory.
type OrgBytes struct {
	Org   keys.Org
	Bytes uint64
}

// Rejected are the fills that were not kept, by reason.
type Rejected struct {
	// Uncovered had no lease of the key: nothing is told of its changes.
	Uncovered uint64
	// Told were read before a change of the key, or of one that shares its clock;
	// OrgTold the same for the generation of the organisation.
	Told, OrgTold uint64
	// Broken were read before something may not have been told.
	Broken uint64
	// Outdated found a copy of a later version.
	Outdated uint64
	// Expired had no TTL left.
	Expired uint64
	// TooLarge is more than the share of an organisation.
	TooLarge uint64
	// NoShare found its organisation's share taken by fills under way.
	NoShare uint64
}

// outcome is that of a fill.
type outcome int

const (
	kept outcome = iota
	uncovered
	told
	orgTold
	broken
	outdated
	expired
	tooLarge
	noShare
	outcomes // how many there are
)

// counts are what happened since New.
type counts struct {
	reads    counter.Set // freshReads, staleReads, missedReads
	outcomes [outcomes]atomic.Uint64

	evictions, ownEvictions, expirations, drops, orgDrops, swept atomic.Uint64
}

// What the reads were.
const (
	freshReads = iota
	staleReads
	missedReads
)

func (c *counts) missed() { c.reads.Add(missedReads) }

func (c *counts) hit(fresh bool) {
	if fresh {
		c.reads.Add(freshReads)
	} else {
		c.reads.Add(staleReads)
	}
}

func (c *counts) filled(o outcome) { c.outcomes[o].Add(1) }

// topOrgs is how many organisations Stats names.
const topOrgs = 5

// Stats returns the counts. It takes a time that grows with the number of
// organisations that have something.
func (t *Tier) Stats() Stats {
	c := &t.counts
	s := Stats{
		Entries: t.cache.EstimatedSize(), MaxBytes: t.max, OrgBytes: uint64(t.share),
		HitsFresh: c.reads.Load(freshReads), HitsStale: c.reads.Load(staleReads), Misses: c.reads.Load(missedReads),
		Fills: c.outcomes[kept].Load(),
		Rejected: Rejected{
			Uncovered: c.outcomes[uncovered].Load(), Told: c.outcomes[told].Load(), OrgTold: c.outcomes[orgTold].Load(),
			Broken: c.outcomes[broken].Load(), Outdated: c.outcomes[outdated].Load(), Expired: c.outcomes[expired].Load(),
			TooLarge: c.outcomes[tooLarge].Load(), NoShare: c.outcomes[noShare].Load(),
		},
		Evictions: c.evictions.Load(), OwnEvictions: c.ownEvictions.Load(), Expirations: c.expirations.Load(),
		Drops: c.drops.Load(), OrgDrops: c.orgDrops.Load(), Swept: c.swept.Load(),
	}
	for _, o := range t.orgs.all() {
		s.Bytes += o.Bytes
		s.Orgs++
		s.Top = append(s.Top, o)
		if len(s.Top) > topOrgs {
			slices.SortFunc(s.Top, byBytes)
			s.Top = s.Top[:topOrgs]
		}
	}
	slices.SortFunc(s.Top, byBytes)
	return s
}

// byBytes puts those that have most first.
func byBytes(a, b OrgBytes) int {
	return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Org.String(), b.Org.String()))
}

// all returns what each organisation has.
func (s *accounts) all() []OrgBytes {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]OrgBytes, 0, len(s.byName))
	for _, a := range s.byName {
		all = append(all, OrgBytes{Org: a.org, Bytes: uint64(max(0, a.bytes.Load()))})
	}
	return all
}
