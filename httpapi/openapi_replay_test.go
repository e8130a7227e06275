package httpapi

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// unseen are statuses that are described and cannot be brought about here, by
// operation and status, with the reason.
var unseen = map[string]string{
	"replaceMessages 409": "takes an id that another server stored ahead of this one's clock",
	"importLines 408":     "takes StreamIdle, half a minute",
}

// seenAnywhere are statuses of failures that any operation can have; each must
// have been received from one.
var seenAnywhere = []int{408, 500, 502, 507}

// TestDescription replays requests to real servers, the good and the bad: every
// request that is taken, and every answer, must be as /openapi.json says. Every
// route is replayed, and what is described is received, too.
func TestDescription(t *testing.T) {
	seen := coverage{}
	for _, part := range []struct {
		name string
		run  func(*testing.T, coverage)
	}{
		{"embedded", replayEmbedded}, {"redis", replayRedis}, {"away", replayAway}, {"refused", replayRefused}, {"token", replayToken}, {"hosts", replayHosts},
		{"closed", replayClosed}, {"slow", replaySlow}, {"unhealthy", replayDraining}, {"live", replayLive},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, seen) })
	}
	everything := newReplayer(start(t, jackcache.Options{}, everyOption()), coverage{})
	anywhere := make(map[int]bool)
	for _, rt := range everything.s.routes() {
		if len(seen[rt.name]) == 0 {
			t.Errorf("%s %s was never replayed", rt.method, rt.pattern)
		}
		for status := range everything.told[rt.name] {
			var n int
			fmt.Sscan(status, &n)
			anywhere[n] = anywhere[n] || seen[rt.name][n]
			if _, known := unseen[rt.name+" "+status]; !seen[rt.name][n] && !known && !slices.Contains(seenAnywhere, n) {
				t.Errorf("%s %s: %s is described, and was never received", rt.method, rt.pattern, status)
			}
		}
	}
	for _, status := range seenAnywhere {
		if !anywhere[status] {
			t.Errorf("%d is described, and was never received", status)
		}
	}
}

// everyOption opens every route and brings about every status.
func everyOption() Options {
	return Options{
		Token: "secret", LoopbackHosts: true,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "# TYPE a counter\n") }),
	}
}

// replayAll sends the samples, and what they leave out.
func (r *replayer) replayAll() {
	r.t.Helper()
	for _, s := range sampleSteps {
		r.replay(s.Status, s.Method, s.Path, s.Body, s.Header...)
	}
	for _, c := range []struct{ path, value string }{
		{agent, `"x"`}, {theOrg, "1"}, {person + "/summary", `{"text":"a","more":[1]}`}, {theLead, `{"leadId":"lead-7"}`}, {theBook, `{"leadId":"lead-7"}`},
	} {
		r.replay(200, "PUT", c.path, c.value, ofJSON)
		tag := r.replay(200, "GET", c.path, "").header.Get("ETag")
		r.replay(304, "GET", c.path, "", "If-None-Match: "+tag)
		r.replay(412, "GET", c.path, "", `If-Match: "00000000000000000000"`)
		if c.path != theLead && c.path != theBook {
			r.replay(412, "PUT", c.path, c.value, ofJSON, "If-None-Match: *")
			r.replay(412, "DELETE", c.path, "", `If-Match: "00000000000000000000"`)
			r.replay(200, "PUT", c.path, c.value, ofJSON, "If-Match: "+tag)
		}
		r.replay(204, "DELETE", c.path, "")
		r.replay(404, "GET", c.path, "")
	}
	r.replay(404, "GET", thePhone, "")
	r.replay(404, "GET", "/api/v1/inspect?key=jack:dev:agentConfig:org-123:nothing", "")
	r.replay(404, "GET", talk, "")
	for _, c := range []struct{ path, value string }{
		{"/api/v1/orgs/s%C3%BCd%20auto/entries/leadData/a%2Fb%3Fc", "null"},
		{"/api/v1/orgs/org-123/entries/conversationHistory/tel:+16049085474", "[]"},
		{"/api/v1/orgs/org-123/entries/sseResponse/x", `{"a":{}}`},
	} {
		r.replay(200, "PUT", c.path, c.value, ofJSON)
		r.replay(200, "GET", c.path, "")
	}
	r.replay(200, "PUT", talk, `[]`, ofJSON)
	r.replay(201, "POST", talk, `[{"role":"user","content":{"parts":[1]},"timestamp":"2026-01-01T00:00:00Z"},{"id":"é","role":"tool"}]`, ofJSON)
	r.replay(200, "GET", talk+"?last=5&maxBytes=10000&maxTokens=10000", "")
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(zw, importLines(3)) // to memory
	_ = zw.Close()
	r.replay(200, "POST", "/api/v1/import?dryRun=true&directory=true", zipped.String(), "Content-Type: application/x-ndjson", "Content-Encoding: gzip")
	r.replay(400, "POST", "/api/v1/import", zipped.String()[:zipped.Len()-9], "Content-Type: application/x-ndjson")
	r.replay(200, "POST", "/api/v1/import", importLines(30)+"nonsense\n", "Content-Type: application/x-ndjson")
	r.replay(200, "GET", "/api/v1/export?kind=conversationContext&kind=agentConfig&directory=true", "")
	cursor := r.replay(200, "GET", "/api/v1/keys?kind=conversationContext&limit=5&org=org-1", "")
	if strings.Contains(cursor.body, `"cursor":""`) {
		r.t.Errorf("there is no second page: %s", cursor.body)
	}
	for _, path := range []string{"/openapi.json", "/docs"} {
		r.replay(200, "GET", path, "")
	}
}

// request is one that the route takes, but that nothing is stored.
func valid(rt route) (path, body string, header []string) {
	kind := "agentConfig"
	if rt.pattern == onlyEntry {
		kind = "organizationData"
	}
	path = strings.NewReplacer("{$}", "", "{org}", "org-9", "{phone}", "+16045550009", "{lead}", "lead-9", "{kind}", kind, "{id}", "x").Replace(rt.pattern)
	switch rt.name {
	case "listKeys":
		path += "?kind=agentConfig"
	case "clearAll":
		path += "?confirm=all"
	case "inspectKey":
		path += "?key=jack:dev:agentConfig:org-9:x"
	}
	if rt.takes != "" {
		header = []string{ofJSON}
	}
	switch rt.takes {
	case streamed:
		return path, importLines(1), []string{"Content-Type: application/x-ndjson"}
	case "NewMessages", "AllMessages":
		return path, theHello, header
	case "Summary":
		return path, `{"text":"x"}`, header
	case "Lead":
		return path, `{"leadId":"x"}`, header
	case "Phone":
		return path, `{"phone":"+16045550009"}`, header
	case "Reads":
		return path, `{"reads":[{"kind":"agentConfig","id":"x"}]}`, header
	case "Value":
		return path, "1", header
	}
	return path, "", nil
}

// each replays a request to every route that a status is described of.
func (r *replayer) each(status int, change func(rt route, path, body string, header []string) (string, string, []string)) {
	r.t.Helper()
	for _, rt := range r.s.routes() {
		if _, told := r.told[rt.name][fmt.Sprint(status)]; told {
			path, body, header := valid(rt)
			if change != nil {
				path, body, header = change(rt, path, body, header)
			}
			r.replay(status, rt.method, path, body, header...)
		}
	}
}

func replayEmbedded(t *testing.T, seen coverage) {
	newReplayer(start(t, jackcache.Options{Directory: true}, Options{}), seen).replayAll()
}

// replayRedis is the same with Redis, which then refuses what it was asked.
func replayRedis(t *testing.T, seen coverage) {
	redis := redistest.Start(t)
	r := newReplayer(start(t, jackcache.Options{
		Directory: true, Redis: &jackcache.RedisOptions{Addrs: []string{redis.Addr()}}, Budget: 30 * time.Second,
	}, Options{}), seen)
	r.replayAll()
	do := func(args ...string) {
		t.Helper()
		if _, err := redis.Do(args...); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	do("SET", "jack:dev:agentConfig:org-7:corrupt", "01a2057a60e7000028f3f000|{}")
	r.replay(500, "GET", "/api/v1/orgs/org-7/entries/agentConfig/corrupt", "")
	do("CONFIG", "SET", "maxmemory", "1")
	r.replay(507, "PUT", agent, `"x"`, ofJSON)
	r.replay(507, "POST", talk, `{"id":"new","role":"user","content":"x"}`, ofJSON)
	do("CONFIG", "SET", "maxmemory", "0")
	do("ACL", "SETUSER", "default", "-mget", "-get")
	r.replay(502, "GET", agent, "")
}

// replayAway writes while Redis is away: what is accepted waits, and is read back
// as far as this server knows it.
func replayAway(t *testing.T, seen coverage) {
	redis := redistest.Start(t)
	r := newReplayer(start(t, jackcache.Options{
		Directory: true, Redis: &jackcache.RedisOptions{Addrs: []string{redis.Addr()}}, Budget: 30 * time.Second,
	}, Options{}), seen)
	r.replay(200, "PUT", agent, `"x"`, ofJSON) // it is there
	// Who is unlinked or forgotten has to be known here.
	r.replay(200, "PUT", "/api/v1/orgs/org-9/lead-phones/lead-9", `{"phone":"+16045550009"}`, ofJSON)
	for _, lead := range []string{"lead-8", "lead-7"} { // whose phone it is not any more
		r.replay(200, "PUT", "/api/v1/orgs/org-9/lead-phones/"+lead, `{"phone":"+16045550008"}`, ofJSON)
	}
	redis.Kill()
	r.each(202, func(rt route, path, body string, header []string) (string, string, []string) {
		if rt.name == "unlinkLead" {
			path = "/api/v1/orgs/org-9/lead-phones/lead-8"
		}
		return path, body, header
	})
	// While they belong together, that takes a condition, which only Redis decides.
	r.replay(503, "DELETE", "/api/v1/orgs/org-9/lead-phones/lead-9", "")
	r.replay(202, "PUT", agent, `"y"`, ofJSON)
	if a := r.replay(200, "GET", agent, ""); a.body != `"y"` || a.header.Get("Cache-Status") != "jackcache; hit; detail=pending" {
		t.Errorf("read back: %s, %v", a.body, a.header)
	}
	r.replay(202, "POST", talk, theHello, ofJSON)
	if a := r.replay(200, "GET", talk, ""); !strings.Contains(a.body, `"complete":false`) {
		t.Errorf("read back: %s", a.body)
	}
	_, id, _ := strings.Cut(agent, "/entries/agentConfig/")
	known := `{"kind":"agentConfig","id":"` + id + `"},{"kind":"conversationContext","id":"+16049085474"}`
	if a := r.replay(200, "POST", batchPath, `{"reads":[`+known+`]}`, ofJSON); strings.Count(a.body, `"source":"pending"`) != 2 {
		t.Errorf("read back in a batch: %s", a.body)
	}
	r.replay(503, "POST", batchPath, `{"reads":[`+known+`,{"kind":"agentConfig","id":"unknown"}]}`, ofJSON)
	r.replay(503, "GET", "/api/v1/orgs/org-123/entries/agentConfig/unknown", "")
	r.replay(503, "PUT", agent, `"z"`, ofJSON, "If-None-Match: *")
	r.replay(200, "GET", "/api/health", "")
	r.replay(200, "GET", "/api/cache/stats", "")
}

// replayRefused is what a server does not take, for the reason that the status
// tells.
func replayRefused(t *testing.T, seen coverage) {
	r := newReplayer(start(t, jackcache.Options{}, Options{MaxBody: 1 << 10}), seen)
	r.each(400, func(_ route, path, body string, header []string) (string, string, []string) {
		mark := "?"
		if strings.Contains(path, "?") {
			mark = "&"
		}
		return path + mark + "nothing=1", body, header
	})
	r.each(415, func(rt route, path, body string, _ []string) (string, string, []string) {
		if rt.takes == streamed {
			return path, body, []string{"Content-Encoding: br"}
		}
		return path, body, []string{"Content-Type: text/plain"}
	})
	r.each(413, func(_ route, path, _ string, header []string) (string, string, []string) {
		return path, `"` + strings.Repeat("x", 2<<10) + `"`, header
	})
	for _, rt := range r.s.routes() {
		if rt.pattern == directory {
			path, body, header := valid(rt)
			r.replay(403, rt.method, path, body, header...)
		}
	}
	r.each(403, func(_ route, path, body string, header []string) (string, string, []string) {
		return path, body, append(header, "Origin: https://evil.example")
	})
	p := r.wantProblem(405, "method-not-allowed", "PATCH", agent, "")
	if p.Type != "/problems/method-not-allowed" || !r.described405(agent) {
		t.Errorf("the answer to another method: %+v", p)
	}
}

// described405 reports whether the answer to another method is as described:
// that of no operation, so that it stands among the components alone.
func (r *replayer) described405(path string) bool {
	d, err := r.s.describe()
	if err != nil {
		r.t.Fatal(err)
	}
	p := d.Components.Responses[problemName(http.StatusMethodNotAllowed)]
	return p != nil && p.Headers["Allow"].Ref != "" && r.do("PATCH", path, "").header.Get("Allow") != ""
}

func replayToken(t *testing.T, seen coverage) {
	r := newReplayer(start(t, jackcache.Options{Directory: true}, everyOption()), seen)
	r.each(401, func(rt route, path, body string, header []string) (string, string, []string) {
		if rt.open {
			header = append(header, "Authorization: Bearer wrong")
		}
		return path, body, header
	})
	const right = "Authorization: Bearer secret"
	r.replay(200, "GET", "/api/health", "")
	r.replay(200, "GET", "/api/health", "", right)
	r.replay(200, "GET", "/api/cache/stats", "", right)
	r.replay(200, "PUT", agent, "1", ofJSON, right)
	r.replay(200, "GET", agent, "", right)
	r.replay(200, "GET", "/metrics", "", right)
	r.replay(400, "GET", "/metrics?x=1", "", right)
	for _, path := range []string{"/livez", "/readyz", "/docs", "/openapi.json"} {
		r.replay(200, "GET", path, "")
	}
}

func replayHosts(t *testing.T, seen coverage) {
	o := everyOption()
	o.Token = ""
	r := newReplayer(start(t, jackcache.Options{Directory: true}, o), seen)
	r.each(403, func(_ route, path, body string, header []string) (string, string, []string) {
		return path, body, append(header, "Host: evil.example")
	})
}

// replayClosed asks a server whose cache was closed.
func replayClosed(t *testing.T, seen coverage) {
	r := newReplayer(start(t, jackcache.Options{Directory: true}, Options{}), seen)
	if err := r.a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	fill(r.s.imports) // an import of a closed cache is told line by line
	r.each(503, nil)
}

// replaySlow sends bodies that do not arrive.
func replaySlow(t *testing.T, seen coverage) {
	r := newReplayer(hurried(t, 100*time.Millisecond, time.Minute), seen)
	for _, rt := range r.s.routes() {
		if rt.takes == "" || rt.takes == streamed {
			continue
		}
		path, _, _ := valid(rt)
		a := r.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1", rt.method, path))
		r.hold(408, a, r.request(rt.method, path, "1"))
	}
}

func replayDraining(t *testing.T, seen coverage) {
	r := newReplayer(start(t, jackcache.Options{}, Options{Logger: slog.New(slog.DiscardHandler)}), seen)
	r.s.Drain()
	r.replay(503, "GET", "/readyz", "")
	r.replay(200, "GET", "/livez", "")
}

// replayLive reads operations as they end, until the server stops.
func replayLive(t *testing.T, seen coverage) {
	r := newReplayer(newFixture(t), seen)
	req := r.request("GET", "/api/v1/monitor?kind=agentConfig&op=set", "")
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r.want(200, "PUT", agent, "1")
	var got strings.Builder
	buf := make([]byte, 4<<10)
	for !strings.Contains(got.String(), "event: operation") {
		n, err := res.Body.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
	}
	r.s.Drain()
	rest, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.hold(200, answer{status: res.StatusCode, header: res.Header, body: got.String() + string(rest)}, req)
}
