package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/jackcache/jackcache"
)

const index = `jackcache: working state of assistants, apart per organisation.

  GET /docs                what this server can do, with examples
  GET /openapi.json        the same for programs: OpenAPI 3.1
  GET /api/health          how it is
  GET /api/cache/stats     counters and latencies
  GET /livez, /readyz      probes
  GET /metrics             for Prometheus, where this server has metrics
  /api/v1/orgs/{org}/...   conversations, entries, phone-leads, lead-phones, batch, invalidate
  /api/v1/import, /export  NDJSON
  /api/v1/keys, /inspect   keys as they are stored
  GET /api/v1/monitor      operations as they end
`

func (s *Server) getIndex(x *exchange) error {
	return x.send(http.StatusOK, asText, []byte(index))
}

func (s *Server) getLive(x *exchange) error {
	return x.send(http.StatusOK, asText, []byte("ok\n"))
}

func (s *Server) getReady(x *exchange) error {
	status := s.a.Cache.Health().Status
	word, code := string(status), http.StatusOK
	switch {
	case s.draining.Load():
		word, code = "draining", http.StatusServiceUnavailable
	case status == jackcache.Unhealthy, status == jackcache.Degraded && s.opts.StrictReady:
		code = http.StatusServiceUnavailable
	}
	return x.send(code, asText, []byte(word+"\n"))
}

// briefHealth is what a caller without the token learns.
type briefHealth struct {
	Status    jackcache.Status `json:"status"`
	Timestamp time.Time        `json:"timestamp"`
}

// fullHealth keeps the JSON paths of the assistant's earlier health endpoint:
// everything from activeSseConnections on. Null means that it is not known
// without asking the store.
type fullHealth struct {
	briefHealth
	Version       string             `json:"version"`
	UptimeSeconds int64              `json:"uptimeSeconds"`
	Draining      bool               `json:"draining"`
	Problems      []string           `json:"problems"`
	Store         storeHealth        `json:"store"`
	Journal       *journalStats      `json:"journal,omitempty"`
	Near          nearHealth         `json:"near"`
	Latency       map[string]latency `json:"latency"`

	ActiveSSEConnections  int         `json:"activeSseConnections"`
	ActiveWSConversations int         `json:"activeWsConversations"`
	StoredConversations   *int        `json:"storedConversations"`
	Redis                 redisHealth `json:"redis"`
	// Cache has the sizes of maps in the process that earlier held the state.
	// There are none any more.
	Cache struct {
		ConversationContexts  int `json:"conversationContexts"`
		ConversationSummaries int `json:"conversationSummaries"`
		PhoneToLeadMapping    int `json:"phoneToLeadMapping"`
		OrganizationCache     int `json:"organizationCache"`
	} `json:"cache"`
}

type storeHealth struct {
	Kind          string    `json:"kind"`
	State         string    `json:"state"`
	Since         time.Time `json:"since"`
	ServerVersion string    `json:"serverVersion,omitempty"`
	Role          string    `json:"role,omitempty"`
	UsedBytes     int64     `json:"usedBytes"`
	MaxBytes      int64     `json:"maxBytes"` // 0: no bound
	Keys          int64     `json:"keys"`
	InFlight      int       `json:"inFlight"`
	Reconnects    int64     `json:"reconnects"`
	ClockOffsetMs float64   `json:"clockOffsetMs"`

	Nodes []nodeHealth `json:"nodes,omitempty"` // the masters of Redis
}

// nodeHealth is one Redis server.
type nodeHealth struct {
	Addr       string    `json:"addr"`
	State      string    `json:"state"`
	Since      time.Time `json:"since"`
	Problem    string    `json:"problem,omitempty"`
	UsedBytes  int64     `json:"usedBytes"`
	MaxBytes   int64     `json:"maxBytes"` // 0: no bound
	Keys       int64     `json:"keys"`
	InFlight   int       `json:"inFlight"`
	Reconnects int64     `json:"reconnects"`

	Version         string   `json:"version,omitempty"`
	Role            string   `json:"role,omitempty"`
	Replicas        int      `json:"replicas"`
	Persistence     string   `json:"persistence,omitempty"`
	MaxMemoryPolicy string   `json:"maxmemoryPolicy,omitempty"`
	Tracking        bool     `json:"tracking"`
	MissingCommands []string `json:"missingCommands,omitempty"`

	Near *nearProof `json:"near,omitempty"` // whether copies of what it has are current
}

type latency struct {
	P50Ms float64 `json:"p50Ms"`
	P99Ms float64 `json:"p99Ms"`
}

type redisHealth struct {
	Adapter struct {
		Status       jackcache.Status `json:"status"`
		RedisEnabled bool             `json:"redisEnabled"`
		FallbackMaps int              `json:"fallbackMaps"`
	} `json:"adapter"`
	Cache struct {
		Redis redisServer `json:"redis"`
		Cache struct {
			Status          jackcache.Status `json:"status"`
			FallbackEnabled bool             `json:"fallbackEnabled"`
			FallbackSize    int64            `json:"fallbackSize"`
		} `json:"cache"`
	} `json:"cache"`
}

type redisServer struct {
	Status       string `json:"status"` // healthy, unhealthy, or disabled
	ResponseTime string `json:"responseTime"`
	Memory       string `json:"memory"`
	Info         string `json:"info"`
	Error        string `json:"error,omitempty"`
}

const redisKind = "redis"

// getHealth reports from what is known; it never waits for the store.
func (s *Server) getHealth(x *exchange) error {
	h := s.a.Cache.Health()
	code := http.StatusOK
	if h.Status == jackcache.Unhealthy {
		code = http.StatusServiceUnavailable
	}
	brief := briefHealth{Status: h.Status, Timestamp: x.begun.UTC()}
	if !s.hasToken(x.r) {
		if x.r.Header["Authorization"] != nil {
			return unauthorized(x)
		}
		return x.sendJSON(code, brief)
	}
	st := s.a.Cache.Stats()
	f := fullHealth{
		briefHealth: brief, Version: s.opts.Version, UptimeSeconds: int64(x.begun.Sub(st.Started).Seconds()),
		Draining: s.draining.Load(), Problems: append([]string{}, h.Problems...), Store: toStoreHealth(h.Store), Journal: toJournalStats(h.Journal),
		Near:    toNearHealth(h.Near),
		Latency: make(map[string]latency), Redis: toRedisHealth(h, st),
	}
	for name, o := range st.Operations {
		if o.Count > 0 {
			f.Latency[name] = latency{P50Ms: millis(o.P50), P99Ms: millis(o.P99)}
		}
	}
	return x.sendJSON(code, f)
}

func toStoreHealth(s jackcache.StoreHealth) storeHealth {
	var nodes []nodeHealth
	for _, n := range s.Nodes {
		nodes = append(nodes, nodeHealth{
			Addr: n.Addr, State: n.State, Since: n.Since.UTC(), Problem: n.Problem, UsedBytes: n.UsedBytes, MaxBytes: n.MaxBytes,
			Keys: n.Keys, InFlight: n.InFlight, Reconnects: n.Reconnects, Version: n.Version, Role: n.Role, Replicas: n.Replicas,
			Persistence: n.Persistence, MaxMemoryPolicy: n.MaxMemoryPolicy, Tracking: n.Tracking, MissingCommands: n.Missing,
			Near: toNearProof(n.Near),
		})
	}
	return storeHealth{
		Nodes: nodes,
		Kind:  s.Kind, State: s.State, Since: s.Since.UTC(), ServerVersion: s.ServerVersion, Role: s.Role,
		UsedBytes: s.UsedBytes, MaxBytes: s.MaxBytes, Keys: s.Keys, InFlight: s.InFlight,
		Reconnects: s.Reconnects, ClockOffsetMs: millis(s.ClockOffset),
	}
}

func toRedisHealth(h jackcache.Health, st jackcache.Stats) redisHealth {
	var r redisHealth
	r.Adapter.Status, r.Adapter.RedisEnabled = h.Status, h.Store.Kind == redisKind
	r.Cache.Cache.Status = h.Status
	r.Cache.Cache.FallbackSize, r.Cache.Cache.FallbackEnabled = fallback(h.Store)
	r.Cache.Redis = redisServer{Status: "disabled", ResponseTime: "0ms"}
	if !r.Adapter.RedisEnabled {
		return r
	}
	r.Cache.Redis = redisServer{
		Status: "healthy", ResponseTime: inMillis(st.Operations["get"].P50),
		Memory: fmt.Sprintf("%dMB", (h.Store.UsedBytes+1<<19)>>20), Info: "redis_version:" + h.Store.ServerVersion,
	}
	if h.Store.State != "up" {
		r.Cache.Redis.Status, r.Cache.Redis.Error = "unhealthy", "the store is "+h.Store.State
	}
	return r
}

// fallback tells whether another store serves in the place of Redis, and how
// many keys it has.
func fallback(s jackcache.StoreHealth) (int64, bool) {
	if s.Kind == redisKind {
		return 0, false
	}
	return s.Keys, true
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func inMillis(d time.Duration) string { return fmt.Sprintf("%.2fms", millis(d)) }
