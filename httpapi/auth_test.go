package httpapi

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
)

func TestToken(t *testing.T) {
	const token = "correct horse"
	f := start(t, jackcache.Options{}, Options{Token: token})
	f.want(200, "GET", "/livez", "")
	f.want(200, "GET", "/readyz", "")
	brief := f.want(200, "GET", "/api/health", "")
	if got := gjson.Parse(brief.body); got.Get("status").Str != "healthy" || len(got.Map()) != 2 {
		t.Errorf("health without a token: %s", brief.body)
	}
	const right = "Authorization: Bearer " + token
	if got := f.want(200, "GET", "/api/health", "", right); !gjson.Get(got.body, "store.kind").Exists() {
		t.Errorf("health with the token: %s", got.body)
	}
	closed := [][3]string{
		{"GET", "/", ""}, {"GET", "/api/cache/stats", ""}, {"GET", agent, ""}, {"PUT", agent, "1"}, {"DELETE", agent, ""},
		{"POST", talk, theHello}, {"GET", "/nowhere", ""}, {"PATCH", agent, ""}, {"POST", "/api/v1/import", importLines(1)},
		{"GET", "/api/v1/export", ""}, {"GET", "/api/v1/phone-leads/+16045550000", ""},
	}
	for _, wrong := range [][]string{
		nil, {"Authorization: Bearer"}, {"Authorization: Bearer "}, {"Authorization: Bearer x"}, {"Authorization: Bearer " + token + "x"},
		{"Authorization: Basic " + token}, {"Authorization: " + token}, {right, right}, {"X-Api-Key: " + token},
		{"Authorization: Bearer " + strings.Repeat("x", 9000)},
	} {
		for _, c := range closed {
			a := f.want(401, c[0], c[1], c[2], wrong...)
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") || a.problem(t).Type != "/problems/unauthorized" {
				t.Errorf("%v with %v: %v %s", c, wrong, a.header, a.body)
			}
		}
	}
	f.want(401, "GET", "/api/health", "", "Authorization: Bearer x")
	f.want(404, "GET", agent, "", right)
	f.want(200, "PUT", agent, "1", "Authorization: bearer  "+token)
	f.want(200, "GET", agent, "", right)
	f.want(405, "PATCH", agent, "", right)
}

// TestCrossOrigin: a page of another origin cannot make a browser write.
func TestCrossOrigin(t *testing.T) {
	f := newFixture(t)
	f.wantProblem(403, "cross-origin", "POST", "/api/v1/orgs/org-123/invalidate", "", "Sec-Fetch-Site: cross-site")
	f.wantProblem(403, "cross-origin", "PUT", agent, "1", "Origin: https://evil.example")
	f.want(404, "GET", agent, "", "Sec-Fetch-Site: cross-site")
	f.want(200, "PUT", agent, "1", "Sec-Fetch-Site: same-origin", "Origin: "+f.url)
	f.want(200, "PUT", agent, "1", "Origin: "+f.url)
}

func TestRequestID(t *testing.T) {
	f := newFixture(t)
	if got := f.want(200, "GET", "/livez", "", "X-Request-Id: a.B-9_").header.Get("X-Request-Id"); got != "a.B-9_" {
		t.Errorf("a sane id became %q", got)
	}
	seen := map[string]bool{}
	for _, id := range []string{"", " ", strings.Repeat("x", 65), "a b", "a;b", "é", "a\tb", "<x>"} {
		got := f.want(200, "GET", "/livez", "", "X-Request-Id: "+id).header.Get("X-Request-Id")
		if got == id || !saneID(got) || seen[got] {
			t.Errorf("id %q became %q", id, got)
		}
		seen[got] = true
	}
	if got := f.want(200, "GET", "/livez", "", "X-Request-Id: a", "X-Request-Id: b").header.Get("X-Request-Id"); got == "a" || got == "b" {
		t.Errorf("of two ids one was taken: %q", got)
	}
}

func TestCommonHeaders(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/", "/livez", "/api/health", agent, "/nowhere", "/api/v1/export"} {
		h := f.do("GET", path, "").header
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

// TestMethods: every route refuses what it does not serve, and says what it does.
func TestMethods(t *testing.T) {
	f := newFixture(t)
	served := map[string][]string{}
	for _, rt := range f.s.routes() {
		served[rt.pattern] = append(served[rt.pattern], rt.method)
		if rt.summary == "" {
			t.Errorf("%s %s has no summary", rt.method, rt.pattern)
		}
	}
	fill := strings.NewReplacer("{$}", "", "{org}", "o", "{phone}", "+16045550000", "{lead}", "L7", "{kind}", "agentConfig", "{id}", "x")
	for pattern, methods := range served {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
			if strings.Contains(strings.Join(methods, " "), method) {
				continue
			}
			a := f.want(405, method, fill.Replace(pattern), "")
			if allow := a.header.Get("Allow"); len(strings.Split(allow, ", ")) < len(methods) || !strings.Contains(allow, methods[0]) {
				t.Errorf("%s %s: Allow %q, served are %v", method, pattern, allow, methods)
			}
		}
	}
	for _, path := range []string{"/nowhere", "/api", "/api/v1/orgs", "/api/v1/orgs/o/conversations/x/y", "/api/v1/orgs/o/entries/a/b/c", "/livez/x"} {
		f.wantProblem(404, "no-route", "GET", path, "")
	}
}

func TestMediaTypes(t *testing.T) {
	f := newFixture(t)
	for _, ok := range []string{"application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json", ""} {
		f.want(200, "PUT", agent, "1", "Content-Type: "+ok)
	}
	for _, bad := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "nonsense", "json"} {
		f.wantProblem(415, "media-type", "PUT", agent, "1", "Content-Type: "+bad)
		f.wantProblem(415, "media-type", "POST", talk, theHello, "Content-Type: "+bad)
	}
	f.wantProblem(415, "media-type", "PUT", agent, "1", "Content-Encoding: gzip")
	f.want(200, "PUT", agent, "1", "Content-Encoding: identity")
}

// TestLog: the access log has neither bodies nor whole phones, and failures no
// input of a client.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := New(openAssistant(t, jackcache.Options{}), Options{Logger: logger})
	for _, c := range [][3]string{
		{"POST", talk, `{"id":"m1","role":"user","content":"a secret"}`}, {"GET", talk, ""},
		{"POST", talk, `{"id":"m1","role":"user","content":"another secret"}`},
		{"PUT", "/api/v1/orgs/org-123/entries/conversationHistory/+16049085474", `["a secret"]`},
		{"PUT", "/api/v1/orgs/org-123/lead-phones/L7", `{"phone":"+16049085474"}`},
		{"GET", "/nowhere/+16049085474", ""}, {"GET", "//+16049085474", ""}, {"PATCH", talk, ""},
		{"DELETE", person, ""}, {"GET", "/api/v1/orgs/org-123/conversations/whatsapp:+1604908547x/messages", ""},
	} {
		req, err := http.NewRequest(c[0], c[1], strings.NewReader(c[2]))
		if err != nil {
			t.Fatal(err)
		}
		s.ServeHTTP(&sink{header: http.Header{}}, req)
	}
	text := log.String()
	for _, never := range []string{"9085474", "secret", "908547x"} {
		if strings.Contains(text, never) {
			t.Errorf("the log has %q:\n%s", never, text)
		}
	}
	if want := "path=/api/v1/orgs/org-123/conversations/***74/messages status=201"; !strings.Contains(text, want) {
		t.Errorf("the log has no %q:\n%s", want, text)
	}
	if strings.Count(text, "msg=request ") != 10 {
		t.Errorf("not one line for each request:\n%s", text)
	}
}
