package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache"
)

// TestGate: who waits gets in when another leaves, and is told when it takes
// too long.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate, 1)
		if err := g.enter(t.Context()); err != nil || g.try() {
			t.Fatalf("the first: %v", err)
		}
		entered := make(chan error)
		go func() { entered <- g.enter(t.Context()) }()
		synctest.Wait()
		g.leave()
		if err := <-entered; err != nil {
			t.Errorf("the second: %v", err)
		}
		begun := time.Now()
		if err := g.enter(t.Context()); judge(err).name != "busy" || time.Since(begun) != batchWait {
			t.Errorf("a full gate: %v after %v", err, time.Since(begun))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.enter(gone); err != context.Canceled {
			t.Errorf("a client that is gone: %v", err)
		}
	})
}

func fill(g gate) {
	for g.try() {
	}
}

func TestBatchesAtOnce(t *testing.T) {
	f := newFixture(t)
	fill(f.s.batches)
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	req := httptest.NewRequestWithContext(late, "POST", batchPath, strings.NewReader(`{"reads":[]}`))
	rec := httptest.NewRecorder()
	f.s.ServeHTTP(rec, req)
	a := answer{status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	if p := a.problem(t); a.status != 503 || p.Type != "/problems/busy" || a.header.Get("Retry-After") != "1" {
		t.Errorf("%v %+v", a.header, p)
	}
	f.s.batches.leave()
	for range 2 * batchesAtOnce { // each gives its place back
		f.want(200, "POST", batchPath, `{"reads":[]}`)
	}
}

func TestImportsAtOnce(t *testing.T) {
	f := newFixture(t)
	fill(f.s.imports)
	if a := f.want(503, "POST", "/api/v1/import", importLines(1)); a.problem(t).Type != "/problems/busy" || a.header.Get("Retry-After") != "1" {
		t.Errorf("%v %s", a.header, a.body)
	}
	f.s.imports.leave()
	for range 2 * importsAtOnce {
		f.want(200, "POST", "/api/v1/import", "")
	}
}

func TestLoopbackHosts(t *testing.T) {
	s := New(openAssistant(t, jackcache.Options{}), Options{LoopbackHosts: true})
	get := func(path, host string) answer {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		req.Host = host
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		return answer{status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	}
	for _, host := range []string{
		"localhost", "localhost:8080", "LOCALHOST.", "jack.localhost:80", "127.0.0.1", "127.1.2.3:8080", "[::1]", "[::1]:8080", "::1",
	} {
		if a := get("/api/cache/stats", host); a.status != 200 {
			t.Errorf("%q: %d %s", host, a.status, a.body)
		}
	}
	for _, host := range []string{
		"", "evil.example", "evil.example:8080", "localhost.evil.example", "evillocalhost", "127.0.0.1.evil.example", "10.0.0.1", "[::2]:80", "0.0.0.0",
	} {
		for _, path := range []string{"/", "/api/health", "/api/cache/stats", "/api/v1/export", "/nowhere"} {
			a := get(path, host)
			if p := a.problem(t); a.status != 403 || p.Type != "/problems/wrong-host" || !strings.Contains(p.Detail, "set JACKCACHE_API_TOKEN, or use localhost") {
				t.Errorf("%s of %q: %+v", path, host, p)
			}
		}
		for _, probe := range []string{"/livez", "/readyz"} {
			if a := get(probe, host); a.status != 200 {
				t.Errorf("%s of %q: %d %s", probe, host, a.status, a.body)
			}
		}
	}
}

func TestUnknownParameters(t *testing.T) {
	f := newFixture(t)
	for _, c := range [][3]string{
		{"GET", talk + "?lsat=1", "last, maxBytes, maxTokens"}, {"GET", talk + "?last=1&Last=1", "last, maxBytes, maxTokens"},
		{"GET", "/api/v1/orgs/org-123/conversations?kind=x", "cursor, limit"}, {"POST", "/api/v1/import?dryrun=true", "directory, dryRun"},
		{"GET", "/api/v1/export?orgs=a", "directory, kind, org"}, {"GET", "/api/v1/keys?key=x", "cursor, kind, limit, org"},
		{"GET", "/api/v1/inspect?org=x", "key"}, {"DELETE", talk + "?before=1", "none"}, {"PUT", agent + "?ttl=1", "none"},
	} {
		p := f.wantProblem(400, "invalid", c[0], c[1], "")
		if !strings.HasPrefix(p.Detail, "unknown parameter ?") || !strings.HasSuffix(p.Detail, "; allowed are "+c[2]) && !strings.HasSuffix(p.Detail, "; allowed is "+c[2]) {
			t.Errorf("%s: %s", c[1], p.Detail)
		}
	}
	f.wantProblem(400, "invalid", "GET", talk+"?last=1;maxBytes=2", "")
	f.want(200, "GET", "/livez?x=1", "")
	f.wantProblem(404, "no-route", "GET", "/nowhere?x=1", "")
}
