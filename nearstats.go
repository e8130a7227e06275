package jackcache

import (
	"strings"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

// NearRefusals are the copies that were not kept, by reason. Each costs a later trip to
// Redis and nothing else.
type NearRefusals struct {
	// Uncovered: nothing is told of changes of the key.
	Uncovered uint64
	// Told were read before a change of the key, or of one that shares its clock;
	// OrgTold before one of the organisation's generation.
	Told, OrgTold uint64
	// Broken were read before something may not have been told.
	Broken uint64
	// Outdated found a copy of a later version.
	Outdated uint64
	// Expired had no life left.
	Expired uint64
	// TooLarge is more than the share of an organisation.
	TooLarge uint64
	// NoShare found the share taken by copies that were being kept.
	NoShare uint64
}

// Total returns the sum.
func (n NearRefusals) Total() uint64 {
	return n.Uncovered + n.Told + n.OrgTold + n.Broken + n.Outdated + n.Expired + n.TooLarge + n.NoShare
}

// HitRatio returns the part of the looks for a copy that found one that is current; 0
// when there were none.
func (n NearStats) HitRatio() float64 {
	looks := n.Fresh + n.Stale + n.Misses
	if looks == 0 {
		return 0
	}
	return float64(n.Fresh) / float64(looks)
}

// NearHealth tells whether copies can be given. What is wrong with them costs speed and
// no promise, so it makes nothing degraded.
type NearHealth struct {
	// Enabled is false where no copies are kept; then all else is zero.
	Enabled  bool
	MaxBytes int64
	// Freshness is how old the proof may be by which a copy counts as current.
	Freshness time.Duration
	// Problem says in words of which masters no copy has been current for more than
	// nearPatience, and why; empty: of none.
	Problem string
}

// NearProof tells whether it is proven that this process hears of what changes on a
// server. The zero value stands where nobody listens.
type NearProof struct {
	// Proven: a signal came back by the way on which changes are told. Age is how long
	// ago it was sent: copies are current while that is below NearOptions.Freshness.
	Proven  bool
	Age     time.Duration
	Since   time.Time // when that began, or ended
	Problem string    // why nothing is proven, or what stood in the way lately
}

// nearPatience is for how long a master that serves may prove nothing before health
// tells: a connection that is made anew is no news.
const nearPatience = 5 * time.Second

// nearHealth is told from the masters of the store.
func (c *Cache) nearHealth(nodes []NodeHealth) NearHealth {
	if c.listener == nil {
		return NearHealth{}
	}
	h := NearHealth{Enabled: true, MaxBytes: c.opts.Near.MaxBytes, Freshness: c.opts.Near.Freshness}
	var problems []string
	for _, n := range nodes {
		serving := time.Since(n.Since)
		if n.State == store.Up.String() && min(n.Near.missing(), serving) > nearPatience {
			problems = append(problems, "what "+n.Addr+" has is not served from memory: "+n.Near.Problem)
		}
	}
	h.Problem = strings.Join(problems, "; ")
	return h
}

// missing returns for how long nothing has been proven. Without a problem nothing
// has gone wrong yet, and the next proof is on its way.
func (p NearProof) missing() time.Duration {
	switch {
	case p.Problem == "":
		return 0
	case p.Proven:
		return p.Age
	}
	return time.Since(p.Since)
}

// fresh reports whether copies may be given by the proof.
func (p NearProof) fresh(bound time.Duration) bool { return p.Proven && p.Age < bound }

func nearProof(t store.TrackingHealth) NearProof {
	return NearProof{Proven: t.Proven, Age: t.Age, Since: t.Since, Problem: t.Problem}
}
