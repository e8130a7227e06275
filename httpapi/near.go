package httpapi

import (
	"time"

	"github.com/jackcache/jackcache"
)

// nearStats tells of the copies that are kept in the process. Counts are since the
// start.
type nearStats struct {
	Enabled       bool        `json:"enabled" jsonschema:"False: no copies are kept. All else is zero then."`
	Entries       int         `json:"entries"`
	Bytes         int64       `json:"bytes" jsonschema:"With keys and what keeping them costs."`
	MaxBytes      int64       `json:"maxBytes"`
	Fresh         uint64      `json:"fresh" jsonschema:"Looks that found a copy that is proven to be current."`
	Stale         uint64      `json:"stale" jsonschema:"Looks that found one that is not."`
	Misses        uint64      `json:"misses"`
	HitRatio      float64     `json:"hitRatio" jsonschema:"Fresh over all looks."`
	Fills         uint64      `json:"fills" jsonschema:"Copies that were kept."`
	Refused       uint64      `json:"refused" jsonschema:"Copies that were not kept."`
	RefusedFor    nearRefusal `json:"refusedFor" jsonschema:"The same by reason."`
	Evictions     uint64      `json:"evictions" jsonschema:"Copies that went for want of room."`
	Organisations int         `json:"organisations" jsonschema:"How many of them have copies."`
}

// nearRefusal has the fields of jackcache.NearRefusals.
type nearRefusal struct {
	Uncovered uint64 `json:"uncovered"`
	Told      uint64 `json:"told"`
	OrgTold   uint64 `json:"orgTold"`
	Broken    uint64 `json:"broken"`
	Outdated  uint64 `json:"outdated"`
	Expired   uint64 `json:"expired"`
	TooLarge  uint64 `json:"tooLarge"`
	NoShare   uint64 `json:"noShare"`
}

// nearHealth tells whether copies can be given.
type nearHealth struct {
	Enabled     bool    `json:"enabled"`
	MaxBytes    int64   `json:"maxBytes"`
	FreshnessMs float64 `json:"freshnessMs" jsonschema:"How old the proof may be by which a copy counts as current."`
	Problem     string  `json:"nearProblem,omitempty" jsonschema:"Of which masters no copy is current, and why. It costs speed and no promise."`
}

// nearProof tells whether it is proven that changes on a server are heard of.
type nearProof struct {
	Proven  bool      `json:"proven"`
	AgeMs   float64   `json:"ageMs" jsonschema:"How old the proof is; 0 without one."`
	Since   time.Time `json:"since"`
	Problem string    `json:"problem,omitempty"`
}

func toNearStats(n jackcache.NearStats) nearStats {
	return nearStats{
		Enabled: n.Enabled, Entries: n.Entries, Bytes: n.Bytes, MaxBytes: n.MaxBytes, Fresh: n.Fresh, Stale: n.Stale,
		Misses: n.Misses, HitRatio: n.HitRatio(), Fills: n.Fills, Refused: n.Refused, RefusedFor: nearRefusal(n.RefusedFor),
		Evictions: n.Evictions, Organisations: n.Orgs,
	}
}

func toNearHealth(n jackcache.NearHealth) nearHealth {
	return nearHealth{Enabled: n.Enabled, MaxBytes: n.MaxBytes, FreshnessMs: millis(n.Freshness), Problem: n.Problem}
}

// toNearProof returns nil where nobody listens.
func toNearProof(p jackcache.NearProof) *nearProof {
	if p.Since.IsZero() {
		return nil
	}
	return &nearProof{Proven: p.Proven, AgeMs: millis(p.Age), Since: p.Since.UTC(), Problem: p.Problem}
}
