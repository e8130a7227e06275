package httpapi

import (
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// TestNear: stats count the copies, health tells whether they are current, for each
// master too, and a read says that a copy answered it.
func TestNear(t *testing.T) {
	server := redistest.Start(t)
	f := start(t, jackcache.Options{Redis: &jackcache.RedisOptions{Addrs: []string{server.Addr()}}, Budget: 5 * time.Second}, Options{})
	f.want(200, "PUT", agent, `1`)
	within(t, "a copy answers", func() bool {
		return f.want(200, "GET", agent, "").header.Get("Cache-Status") == "jackcache; hit; detail=near"
	})
	within(t, "it is proven", func() bool { // there is a moment between two proofs
		return gjson.Get(f.want(200, "GET", "/api/health", "").body, "store.nodes.0.near.proven").Bool()
	})
	health, statistics := f.want(200, "GET", "/api/health", "").body, f.want(200, "GET", "/api/cache/stats", "").body
	for _, c := range []struct {
		in, path string
		ok       func(gjson.Result) bool
	}{
		{statistics, "near.enabled", gjson.Result.Bool}, {statistics, "near.entries", positive}, {statistics, "near.bytes", positive},
		{statistics, "near.maxBytes", is(jackcache.DefaultNearBytes)}, {statistics, "near.fresh", positive}, {statistics, "near.stale", gjson.Result.Exists},
		{statistics, "near.misses", positive}, {statistics, "near.fills", positive}, {statistics, "near.refused", gjson.Result.Exists},
		{statistics, "near.refusedFor.noShare", is(0)}, {statistics, "near.evictions", is(0)}, {statistics, "near.organisations", is(1)},
		{statistics, "near.hitRatio", func(r gjson.Result) bool { return r.Num > 0 && r.Num < 1 }},
		{health, "near.enabled", gjson.Result.Bool}, {health, "near.maxBytes", is(jackcache.DefaultNearBytes)}, {health, "near.freshnessMs", is(1000)},
		{health, "near.nearProblem", func(r gjson.Result) bool { return !r.Exists() }},
		{health, "store.nodes.0.near.since", gjson.Result.Exists}, {health, "store.nodes.0.near.ageMs", gjson.Result.Exists},
		{health, "problems", func(r gjson.Result) bool { return r.Raw == "[]" }},
	} {
		if got := gjson.Get(c.in, c.path); !c.ok(got) {
			t.Errorf("%s is %q", c.path, got.Raw)
		}
	}
}

// within waits until something is so.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(5*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func positive(r gjson.Result) bool { return r.Num > 0 }

func is(n float64) func(gjson.Result) bool {
	return func(r gjson.Result) bool { return r.Exists() && r.Num == n }
}

// TestNearInWords: what is wrong with the copies is told apart from the problems.
func TestNearInWords(t *testing.T) {
	since := time.Unix(1e9, 0)
	h := toNearHealth(jackcache.NearHealth{Enabled: true, MaxBytes: 7, Freshness: 1500 * time.Millisecond, Problem: "it is refused"})
	if h != (nearHealth{Enabled: true, MaxBytes: 7, FreshnessMs: 1500, Problem: "it is refused"}) {
		t.Errorf("health %+v", h)
	}
	p := toNearProof(jackcache.NearProof{Proven: true, Age: 20 * time.Millisecond, Since: since, Problem: "late"})
	if p == nil || *p != (nearProof{Proven: true, AgeMs: 20, Since: since.UTC(), Problem: "late"}) {
		t.Errorf("proof %+v", p)
	}
	if p := toNearProof(jackcache.NearProof{}); p != nil {
		t.Errorf("where nobody listens: %+v", p)
	}
}
