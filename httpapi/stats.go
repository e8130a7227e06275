package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/jackcache/jackcache"
)

// stats keeps the JSON paths of the assistant's earlier statistics endpoint:
// status, timestamp, migration and cache.
type stats struct {
	Status        string    `json:"status"`
	Timestamp     time.Time `json:"timestamp"`
	Version       string    `json:"version"`
	UptimeSeconds int64     `json:"uptimeSeconds"`
	Health        string    `json:"health"`
	Problems      []string  `json:"problems"`

	Store      storeHealth               `json:"store"`
	Journal    *journalStats             `json:"journal,omitempty"`
	Kinds      map[string]kindStats      `json:"kinds"`
	Operations map[string]operationStats `json:"operations"`
	Local      localStats                `json:"local"`
	Near       nearStats                 `json:"near"`
	Reclaim    reclaimStats              `json:"reclaim"`

	Migration migrationStats `json:"migration"`
	Cache     cacheStats     `json:"cache"`
}

type kindStats struct {
	Hits       uint64  `json:"hits"`
	Misses     uint64  `json:"misses"`
	Loads      uint64  `json:"loads"`
	HitRatio   float64 `json:"hitRatio"`
	TTLSeconds float64 `json:"ttlSeconds"`
}

type operationStats struct {
	Count  uint64  `json:"count"`
	Errors uint64  `json:"errors"`
	MeanMs float64 `json:"meanMs"`
	P50Ms  float64 `json:"p50Ms"`
	P99Ms  float64 `json:"p99Ms"`
	MaxMs  float64 `json:"maxMs"`
}

type localStats struct {
	Entries  int   `json:"entries"`
	Bytes    int64 `json:"bytes"`
	MaxBytes int64 `json:"maxBytes"`
}

// reclaimStats has the fields of jackcache.ReclaimStats. Counts are since the start.
type reclaimStats struct {
	Enabled bool   `json:"enabled" jsonschema:"False: it is off, or the store gives space back by itself. All else is zero then."`
	Queued  int    `json:"queued" jsonschema:"Invalidated organisations of which the space is not given back yet."`
	Removed uint64 `json:"removed" jsonschema:"Keys that went."`
	Looked  uint64 `json:"looked" jsonschema:"About how many keys were looked at."`
	Scans   uint64 `json:"scans"`
	Dropped uint64 `json:"dropped" jsonschema:"Organisations for which there was no place in the queue."`
}

// migrationStats counts imports through this server. The counts by kind are not
// kept: null.
type migrationStats struct {
	ConversationContexts  *int64 `json:"conversationContexts"`
	ConversationSummaries *int64 `json:"conversationSummaries"`
	LeadMappings          *int64 `json:"leadMappings"`
	OrganizationData      *int64 `json:"organizationData"`
	AgentConfigs          *int64 `json:"agentConfigs"`
	Errors                int64  `json:"errors"`
	Imported              int64  `json:"imported"`
	Unchanged             int64  `json:"unchanged"`
	SetAside              int64  `json:"setAside"`
	Messages              int64  `json:"messages"`
}

type cacheStats struct {
	RedisEnabled bool               `json:"redisEnabled"`
	TTLConfig    map[string]float64 `json:"ttlConfig"` // seconds, by kind
	FallbackMaps map[string]int     `json:"fallbackMaps"`
	Cache        struct {
		Redis    redisStats `json:"redis"`
		Fallback struct {
			Size    int64 `json:"size"`
			Enabled bool  `json:"enabled"`
		} `json:"fallback"`
		Config struct {
			KeyPrefix            string  `json:"keyPrefix"`
			DefaultTTL           float64 `json:"defaultTTL"`
			CompressionThreshold int     `json:"compressionThreshold"`
		} `json:"config"`
	} `json:"cache"`
}

type redisStats struct {
	Hits               uint64 `json:"hits"`
	Misses             uint64 `json:"misses"`
	Operations         uint64 `json:"operations"`
	Errors             uint64 `json:"errors"`
	ConnectionLost     int64  `json:"connectionLost"`
	AvgResponseTime    string `json:"avgResponseTime"`
	ResponseTimeCount  uint64 `json:"responseTimeCount"`
	HitRate            string `json:"hitRate"`
	IsConnected        bool   `json:"isConnected"`
	ConnectionAttempts int64  `json:"connectionAttempts"`
}

// earlierMaps are maps of the process that the assistant had beside its cache.
// This server has none of them; their sizes are reported as 0.
var earlierMaps = []string{
	"activeConversations", "inflightRequests", "humanControlSessions", "humanControlQueue",
	"pendingDatabaseWrites", "conversationMetadata", "activeCallSessions",
}

func (s *Server) getStats(x *exchange) error {
	h, st := s.a.Cache.Health(), s.a.Cache.Stats()
	out := stats{
		Status: "success", Timestamp: x.begun.UTC(), Version: s.opts.Version,
		UptimeSeconds: int64(x.begun.Sub(st.Started).Seconds()),
		Health:        string(h.Status), Problems: append([]string{}, h.Problems...), Store: toStoreHealth(h.Store), Journal: toJournalStats(st.Journal),
		Kinds: make(map[string]kindStats, len(st.Kinds)), Operations: make(map[string]operationStats, len(st.Operations)),
		Local: localStats(st.Local), Near: toNearStats(st.Near), Reclaim: reclaimStats(st.Reclaim), Migration: s.migrated.stats(), Cache: s.cacheStats(h, st),
	}
	for name, k := range st.Kinds {
		out.Kinds[name] = kindStats{
			Hits: k.Hits, Misses: k.Misses, Loads: k.Loads, HitRatio: k.HitRatio(), TTLSeconds: out.Cache.TTLConfig[name],
		}
	}
	for name, o := range st.Operations {
		out.Operations[name] = operationStats{
			Count: o.Count, Errors: o.Errors, MeanMs: millis(o.Mean), P50Ms: millis(o.P50), P99Ms: millis(o.P99), MaxMs: millis(o.Max),
		}
	}
	return x.sendJSON(http.StatusOK, out)
}

func (m *migrated) stats() migrationStats {
	return migrationStats{
		Errors: m.failed.Load(), Imported: m.imported.Load(), Unchanged: m.unchanged.Load(),
		SetAside: m.setAside.Load(), Messages: m.messages.Load(),
	}
}

func (s *Server) cacheStats(h jackcache.Health, st jackcache.Stats) cacheStats {
	conversations := s.a.Cache.Conversations()
	c := cacheStats{
		RedisEnabled: h.Store.Kind == redisKind,
		TTLConfig:    map[string]float64{jackcache.ConversationKind: conversations.TTL.Seconds()},
		FallbackMaps: make(map[string]int, len(earlierMaps)),
	}
	for name, k := range s.a.Cache.Kinds() {
		c.TTLConfig[name] = k.TTL.Seconds()
	}
	for _, name := range earlierMaps {
		c.FallbackMaps[name] = 0
	}
	c.Cache.Redis = toRedisStats(h.Store, st)
	c.Cache.Fallback.Size, c.Cache.Fallback.Enabled = fallback(h.Store)
	c.Cache.Config.KeyPrefix = s.a.Cache.KeyPrefix()
	c.Cache.Config.DefaultTTL = conversations.TTL.Seconds()
	c.Cache.Config.CompressionThreshold = conversations.CompressAbove
	return c
}

// toRedisStats sums over all operations of the store in use, whichever it is.
func toRedisStats(h jackcache.StoreHealth, st jackcache.Stats) redisStats {
	r := redisStats{
		ConnectionLost: h.Reconnects, ConnectionAttempts: h.Reconnects,
		IsConnected: h.Kind == redisKind && h.State == "up",
	}
	var all jackcache.KindStats
	for _, k := range st.Kinds {
		all.Hits += k.Hits
		all.Misses += k.Misses
	}
	var total time.Duration
	for _, o := range st.Operations {
		r.Operations += o.Count
		r.Errors += o.Errors
		total += o.Mean * time.Duration(o.Count)
	}
	r.Hits, r.Misses, r.ResponseTimeCount = all.Hits, all.Misses, r.Operations
	r.HitRate = fmt.Sprintf("%.2f%%", 100*all.HitRatio())
	r.AvgResponseTime = "0ms"
	if r.Operations > 0 {
		r.AvgResponseTime = inMillis(total / time.Duration(r.Operations))
	}
	return r
}
