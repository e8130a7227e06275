package jackcache

import (
	"time"

	"github.com/jackcache/jackcache/internal/counter"
	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/store"
)

// kindCounts counts the reads of a kind in one cache.
type kindCounts struct{ reads counter.Set }

const (
	hitReads = iota
	missedReads
	loadedReads
)

func (k *kindCounts) count(hit bool) {
	if hit {
		k.reads.Add(hitReads)
	} else {
		k.reads.Add(missedReads)
	}
}

func (k *kindCounts) countValue(v *engine.Value) {
	loaded := v.Source == engine.FromLoader
	if loaded {
		k.reads.Add(loadedReads)
	}
	k.count(v.Found && !loaded)
}

// KindStats counts reads of a kind since the start.
type KindStats struct {
	Hits, Misses uint64
	// Loads counts reads that were answered by a loader; they are misses, too.
	Loads uint64
}

// HitRatio returns hits over reads; 0 when there were none.
func (k KindStats) HitRatio() float64 {
	if k.Hits+k.Misses == 0 {
		return 0
	}
	return float64(k.Hits) / float64(k.Hits+k.Misses)
}

// OperationStats is what was measured of one operation. Count and Errors are
// since the start, the latencies those of the last one to two minutes.
type OperationStats struct {
	Count, Errors       uint64
	Mean, P50, P99, Max time.Duration // Mean is since the start
}

// Stats are counters of one process.
type Stats struct {
	Started time.Time
	// Kinds has the reads by kind; conversations are "conversationContext".
	Kinds map[string]KindStats
	// Operations has the measurements by operation: get, getMany, set, delete,
	// append, replace, messages, invalidate, import, fill, load, list.
	Operations map[string]OperationStats
	Local      LocalStats
	Near       NearStats
	Refreshes  RefreshStats
	Journal    JournalStats
	Reclaim    ReclaimStats
	Stale      StaleStats
}

// StaleStats counts the calls of GetOrLoad, and the ids of GetOrLoadMany, that were
// answered by a stale value, by reason.
type StaleStats struct {
	// Away: the store was away, and the kind has no SoftTimeout.
	Away uint64
	// Slow: the load took longer than the SoftTimeout or the HardTimeout.
	Slow uint64
	// Failed: the loader failed, or did not end within Options.LoadTimeout.
	Failed uint64
}

// RefreshStats counts what reads of Sliding kinds asked of the store: longer lives.
// LocalOnly kinds are not counted.
type RefreshStats struct {
	// Done were answered: the life is longer, was so already, or is over. Dropped got
	// no answer, or too many waited; whoever reads the value next asks again.
	Done, Dropped uint64
}

// ReclaimStats tells how the space is given back that invalidated organisations took
// in Redis. Counts are since the start.
type ReclaimStats struct {
	// Enabled is false where that is off, or the store does it by itself; then all
	// else is zero.
	Enabled bool
	// Queued is how many organisations wait, those included that are looked for now.
	Queued int
	// Removed is how many keys went, of about Looked that were looked at in Scans of
	// all that Redis has.
	Removed, Looked, Scans uint64
	// Dropped counts invalidations for which there was no place in the queue: what
	// they ended is kept until its life ends.
	Dropped uint64
}

func (c *Cache) reclaimStats() ReclaimStats {
	r, ok := c.engine.Reclaims()
	return ReclaimStats{Enabled: ok, Queued: r.Queued, Removed: r.Removed, Looked: r.Looked, Scans: r.Scans, Dropped: r.Dropped}
}

// LocalStats tells of the kinds that stay in this process.
type LocalStats struct {
	Entries         int
	Bytes, MaxBytes int64
}

// ConversationKind is the name of conversations among the kinds in Stats.
const ConversationKind = "conversationContext"

// Stats returns the counters. It does not wait for the store.
func (c *Cache) Stats() Stats {
	s := Stats{
		Started: c.started, Kinds: make(map[string]KindStats, len(c.kinds)+1),
		Operations: make(map[string]OperationStats),
	}
	for name, k := range c.kinds {
		s.Kinds[name] = c.counts[k].stats()
	}
	s.Kinds[ConversationKind] = c.conversations.stats()
	for name, l := range c.engine.Latencies() {
		o := OperationStats{Count: l.Count, Errors: l.Errors, P50: l.P50, P99: l.P99, Max: l.Max}
		if l.Count > 0 {
			o.Mean = l.Sum / time.Duration(l.Count)
		}
		s.Operations[name] = o
	}
	s.Local.Entries, s.Local.Bytes = c.engine.Local()
	s.Local.MaxBytes = c.opts.LocalBytes
	s.Journal, s.Near, s.Reclaim = c.journalStats(c.engine.Health()), c.nearStats(), c.reclaimStats()
	s.Refreshes = RefreshStats(c.engine.Refreshes())
	s.Stale = StaleStats{
		Away: c.engine.Rescues(engine.RescueAway), Slow: c.engine.Rescues(engine.RescueSlow), Failed: c.engine.Rescues(engine.RescueFailed),
	}
	return s
}

func (k *kindCounts) stats() KindStats {
	return KindStats{Hits: k.reads.Load(hitReads), Misses: k.reads.Load(missedReads), Loads: k.reads.Load(loadedReads)}
}

// Status is the verdict of a health report.
type Status string

// The verdicts.
const (
	// Healthy: everything works.
	Healthy Status = "healthy"
	// Degraded: something that the promises need is missing; see Problems.
	Degraded Status = "degraded"
	// Unhealthy: this process cannot serve.
	Unhealthy Status = "unhealthy"
)

// Health tells how a cache is.
type Health struct {
	Status Status
	// Problems say in words what is wrong and what to do. Empty when Healthy.
	Problems []string
	Store    StoreHealth
	Journal  JournalStats
	Near     NearHealth
}

// StoreHealth tells how the store is. Zero fields are not known.
type StoreHealth struct {
	Kind          string // "redis" or "embedded"
	State         string // "up", "down", "probing", "starting"; "partial" where some servers are up
	Since         time.Time
	ServerVersion string
	Role          string
	UsedBytes     int64
	MaxBytes      int64 // zero: no bound
	Keys          int64
	InFlight      int
	Reconnects    int64
	// ClockOffset is by how much the store's clock is ahead of this host's.
	ClockOffset time.Duration
	// Nodes has the masters of Redis: one, or those of a Cluster.
	Nodes []NodeHealth
}

// NodeHealth tells how one Redis server is. Zero fields are not known.
type NodeHealth struct {
	Addr       string
	State      string // "up", "down", "probing", "starting"
	Since      time.Time
	Problem    string // why it is not up
	UsedBytes  int64
	MaxBytes   int64 // zero: no bound
	Keys       int64
	InFlight   int
	Reconnects int64

	// What the server was found to offer.
	Version         string
	Role            string
	Replicas        int    // connected
	Persistence     string // "aof", "rdb", "none", "unknown"
	MaxMemoryPolicy string
	Tracking        bool     // it tells clients which keys changed
	Missing         []string // commands that are needed and that it refuses

	// Near is whether copies of what it has may be given.
	Near NearProof
}

// Health reports from what is known: it never waits for the store.
func (c *Cache) Health() Health {
	s := c.engine.Health()
	h := Health{Status: Healthy, Store: StoreHealth{
		Kind: s.Kind, State: s.State.String(), Since: s.Since, ServerVersion: s.ServerVersion, Role: s.Role,
		UsedBytes: s.UsedBytes, MaxBytes: s.MaxBytes, Keys: s.Keys, InFlight: s.InFlight, Reconnects: s.Reconnects,
		ClockOffset: c.engine.Clock().Offset(),
	}}
	for _, n := range s.Nodes {
		h.Store.Nodes = append(h.Store.Nodes, nodeHealth(n))
	}
	h.Journal, h.Near = c.journalStats(s), c.nearHealth(h.Store.Nodes)
	h.Problems = append(h.Problems, s.Warnings...)
	h.Problems = append(h.Problems, c.journalProblems(h.Journal)...)
	if s.State != store.Up {
		problem := "the store is " + s.State.String() + " since " + s.Since.UTC().Format(time.RFC3339)
		if s.Problem != "" {
			problem += ": " + s.Problem
		}
		h.Problems = append([]string{problem}, h.Problems...)
	}
	if len(h.Problems) > 0 {
		h.Status = Degraded
	}
	if c.engine.Closed() || s.Blocked || s.Kind == "embedded" && s.State != store.Up {
		h.Status = Unhealthy
	}
	return h
}

func nodeHealth(n store.NodeHealth) NodeHealth {
	return NodeHealth{
		Addr: n.Addr, State: n.State.String(), Since: n.Since, Problem: n.Problem,
		UsedBytes: n.UsedBytes, MaxBytes: n.MaxBytes, Keys: n.Keys, InFlight: n.InFlight, Reconnects: n.Reconnects,
		Version: n.Offers.Version, Role: n.Offers.Role, Replicas: n.Offers.Replicas, Persistence: n.Offers.Persistence,
		MaxMemoryPolicy: n.Offers.Eviction, Tracking: n.Offers.Tracking, Missing: n.Offers.Missing,
		Near: nearProof(n.Tracking),
	}
}
