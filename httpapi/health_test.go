package httpapi

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
)

// TestEarlierPaths: what clients of the assistant's earlier endpoints read.
func TestEarlierPaths(t *testing.T) {
	f := start(t, jackcache.Options{}, Options{Version: "1.2.3"})
	f.want(200, "PUT", agent, `1`)
	f.want(200, "GET", agent, "")
	f.want(404, "GET", agent+"x", "")
	health := f.want(200, "GET", "/api/health", "").body
	statistics := f.want(200, "GET", "/api/cache/stats", "").body
	for _, c := range []struct{ in, path, want string }{
		{health, "status", `"healthy"`},
		{health, "timestamp", "*"},
		{health, "activeSseConnections", "0"},
		{health, "activeWsConversations", "0"},
		{health, "storedConversations", "null"},
		{health, "redis.adapter.status", `"healthy"`},
		{health, "redis.adapter.redisEnabled", "false"},
		{health, "redis.adapter.fallbackMaps", "0"},
		{health, "redis.cache.redis.status", `"disabled"`},
		{health, "redis.cache.redis.responseTime", `"0ms"`},
		{health, "redis.cache.redis.memory", `""`},
		{health, "redis.cache.redis.info", `""`},
		{health, "redis.cache.cache.status", `"healthy"`},
		{health, "redis.cache.cache.fallbackEnabled", "true"},
		{health, "redis.cache.cache.fallbackSize", "*"},
		{health, "cache.conversationContexts", "0"},
		{health, "cache.conversationSummaries", "0"},
		{health, "cache.phoneToLeadMapping", "0"},
		{health, "cache.organizationCache", "0"},

		{statistics, "status", `"success"`},
		{statistics, "timestamp", "*"},
		{statistics, "migration.conversationContexts", "null"},
		{statistics, "migration.conversationSummaries", "null"},
		{statistics, "migration.leadMappings", "null"},
		{statistics, "migration.organizationData", "null"},
		{statistics, "migration.agentConfigs", "null"},
		{statistics, "migration.errors", "0"},
		{statistics, "cache.redisEnabled", "false"},
		{statistics, "cache.ttlConfig.conversationContext", "7200"},
		{statistics, "cache.ttlConfig.conversationSummary", "7200"},
		{statistics, "cache.ttlConfig.conversationHistory", "120"},
		{statistics, "cache.ttlConfig.organizationData", "120"},
		{statistics, "cache.ttlConfig.agentConfig", "3600"},
		{statistics, "cache.ttlConfig.sseResponse", "10"},
		{statistics, "cache.ttlConfig.leadData", "300"},
		{statistics, "cache.ttlConfig.preComputedContext", "120"},
		{statistics, "cache.fallbackMaps.activeConversations", "0"},
		{statistics, "cache.fallbackMaps.inflightRequests", "0"},
		{statistics, "cache.fallbackMaps.humanControlSessions", "0"},
		{statistics, "cache.fallbackMaps.humanControlQueue", "0"},
		{statistics, "cache.fallbackMaps.pendingDatabaseWrites", "0"},
		{statistics, "cache.fallbackMaps.conversationMetadata", "0"},
		{statistics, "cache.fallbackMaps.activeCallSessions", "0"},
		{statistics, "cache.cache.redis.hits", "1"},
		{statistics, "cache.cache.redis.misses", "1"},
		{statistics, "cache.cache.redis.operations", "3"},
		{statistics, "cache.cache.redis.errors", "0"},
		{statistics, "cache.cache.redis.connectionLost", "0"},
		{statistics, "cache.cache.redis.avgResponseTime", "*"},
		{statistics, "cache.cache.redis.responseTimeCount", "3"},
		{statistics, "cache.cache.redis.hitRate", `"50.00%"`},
		{statistics, "cache.cache.redis.isConnected", "false"},
		{statistics, "cache.cache.redis.connectionAttempts", "0"},
		{statistics, "cache.cache.fallback.size", "*"},
		{statistics, "cache.cache.fallback.enabled", "true"},
		{statistics, "cache.cache.config.keyPrefix", `"jack:dev:"`},
		{statistics, "cache.cache.config.defaultTTL", "7200"},
		{statistics, "cache.cache.config.compressionThreshold", "1024"},

		{health, "version", `"1.2.3"`},
		{health, "store.kind", `"embedded"`},
		{health, "store.state", `"up"`},
		{health, "latency.get.p99Ms", "*"},
		{health, "problems", "[]"},
		{statistics, "kinds.agentConfig.hitRatio", "0.5"},
		{statistics, "kinds.conversationContext.hits", "0"},
		{statistics, "operations.get.p50Ms", "*"},
		{statistics, "operations.get.count", "2"},
		{statistics, "version", `"1.2.3"`},
	} {
		got := gjson.Get(c.in, c.path)
		if !got.Exists() || c.want != "*" && got.Raw != c.want {
			t.Errorf("%s is %s, want %s", c.path, got.Raw, c.want)
		}
	}
}

// TestRedisPaths: what the same paths say of Redis.
func TestRedisPaths(t *testing.T) {
	h := jackcache.Health{Status: jackcache.Healthy, Store: jackcache.StoreHealth{
		Kind: "redis", State: "up", ServerVersion: "7.0.15", UsedBytes: 3 << 20, Keys: 5, Reconnects: 2,
	}}
	r, s := toRedisHealth(h, jackcache.Stats{}), toRedisStats(h.Store, jackcache.Stats{})
	if r.Adapter.Status != "healthy" || !r.Adapter.RedisEnabled || r.Cache.Redis.Status != "healthy" || r.Cache.Redis.Memory != "3MB" ||
		r.Cache.Cache.FallbackEnabled || !s.IsConnected || s.ConnectionLost != 2 {
		t.Errorf("of Redis that is up: %+v, %+v", r, s)
	}
	h.Status, h.Store.State = jackcache.Degraded, "down"
	r, s = toRedisHealth(h, jackcache.Stats{}), toRedisStats(h.Store, jackcache.Stats{})
	if r.Adapter.Status != "degraded" || r.Cache.Redis.Status != "unhealthy" || r.Cache.Redis.Error == "" || s.IsConnected {
		t.Errorf("of Redis that is down: %+v, %+v", r, s)
	}
}

func TestProbes(t *testing.T) {
	f := newFixture(t)
	f.want(200, "GET", "/livez", "").wantBody(t, "ok")
	f.want(200, "GET", "/readyz", "").wantBody(t, "healthy")
	if body := f.want(200, "GET", "/", "").body; !strings.Contains(body, "/api/health") {
		t.Errorf("the page at / says %q", body)
	}
	f.s.Drain()
	if a := f.do("GET", "/readyz", ""); a.status != 503 || a.body != "draining\n" {
		t.Errorf("while draining: %d %s", a.status, a.body)
	}
	f.want(200, "PUT", agent, "1")
	f.want(200, "GET", "/livez", "")
}

// TestClosed: a cache that was closed is unhealthy, and refuses politely.
func TestClosed(t *testing.T) {
	f := newFixture(t)
	if err := f.a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.want(200, "GET", "/livez", "")
	if a := f.do("GET", "/readyz", ""); a.status != 503 || a.body != "unhealthy\n" {
		t.Errorf("readiness: %d %s", a.status, a.body)
	}
	if a := f.do("GET", "/api/health", ""); a.status != 503 || gjson.Get(a.body, "status").Str != "unhealthy" {
		t.Errorf("health: %d %s", a.status, a.body)
	}
	f.want(200, "GET", "/api/cache/stats", "")
	for _, c := range [][3]string{
		{"GET", agent, ""}, {"PUT", agent, "1"}, {"GET", talk, ""}, {"POST", talk, theHello}, {"DELETE", person, ""},
		{"POST", batchPath, `{"reads":[{"kind":"agentConfig","id":"x"}]}`}, {"GET", "/api/v1/export", ""},
		{"GET", "/api/v1/orgs/org-123/conversations", ""}, {"POST", "/api/v1/orgs/org-123/invalidate", ""},
	} {
		if a := f.want(503, c[0], c[1], c[2]); a.header.Get("Retry-After") != "1" || a.problem(t).Type != "/problems/closed" {
			t.Errorf("%v: %v %s", c, a.header, a.body)
		}
	}
}
