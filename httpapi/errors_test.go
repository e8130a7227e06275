package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackcache/jackcache"
)

// answerWith sends what a handler with an error would.
func answerWith(t *testing.T, s *Server, r *http.Request, handle func(*exchange) error) answer {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", s.handler(route{handle: handle}))
	with := &Server{a: s.a, opts: s.opts, mux: mux}
	rec := httptest.NewRecorder()
	with.ServeHTTP(rec, r)
	return answer{status: rec.Code, header: rec.Header(), body: rec.Body.String()}
}

// TestVerdicts: each error has its status, and what is internal is not told.
func TestVerdicts(t *testing.T) {
	var log bytes.Buffer
	s := New(openAssistant(t, jackcache.Options{}), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	const internal = "dial tcp 10.1.2.3:6379"
	for _, c := range []struct {
		err    error
		status int
		name   string
		told   bool // the error's text
	}{
		{jackcache.ErrNotFound, 404, "not-found", false},
		{jackcache.ErrInvalid, 400, "invalid", true},
		{jackcache.ErrTooLarge, 413, "too-large", true},
		{jackcache.ErrConflict, 409, "conflict", true},
		{jackcache.ErrPrecondition, 412, "precondition-failed", false},
		{jackcache.ErrUnavailable, 503, "unavailable", false},
		{jackcache.ErrUnknown, 503, "outcome-unknown", false},
		{jackcache.ErrUnseen, 503, "unseen", false},
		{jackcache.ErrFull, 507, "full", false},
		{jackcache.ErrRejected, 502, "rejected", false},
		{jackcache.ErrCorrupt, 500, "corrupt", false},
		{jackcache.ErrDisabled, 403, "disabled", true},
		{jackcache.ErrClosed, 503, "closed", false},
		{errBusy, 503, "busy", true},
		{errHost, 403, "wrong-host", true},
		{errors.New("anything else"), 500, "internal", false},
		{fmt.Errorf("%w: %w", jackcache.ErrUnknown, jackcache.ErrUnavailable), 503, "outcome-unknown", false},
	} {
		err := fmt.Errorf("get: %w: %s", c.err, internal)
		a := answerWith(t, s, httptest.NewRequest("GET", "/", nil), func(*exchange) error { return err })
		p := a.problem(t)
		if a.status != c.status || p.Type != "/problems/"+c.name || strings.Contains(p.Detail, internal) != c.told {
			t.Errorf("%v: %+v", c.err, p)
		}
		if (a.header.Get("Retry-After") == "1") != (c.status == 503) {
			t.Errorf("%v: Retry-After %q", c.err, a.header.Get("Retry-After"))
		}
		if c.status == 500 && !strings.Contains(log.String(), internal) {
			t.Errorf("%v is not in the log", c.err)
		}
		if p.Type == "/problems/outcome-unknown" && !strings.Contains(p.Detail, "safe") {
			t.Errorf("the problem does not say what to do: %s", p.Detail)
		}
		log.Reset()
	}
}

// TestEndedRequests: a request that ends while it is served is not a failure of
// the store, and a write may have happened.
func TestEndedRequests(t *testing.T) {
	s := New(openAssistant(t, jackcache.Options{}), Options{Logger: slog.New(slog.DiscardHandler)})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	<-late.Done()
	for _, c := range []struct {
		method string
		ctx    context.Context
		status int
		name   string
	}{
		{"GET", canceled, 499, "client-gone"}, {"PUT", canceled, 499, "client-gone"},
		{"GET", late, 503, "unavailable"}, {"PUT", late, 503, "outcome-unknown"},
	} {
		req := httptest.NewRequest(c.method, "/", nil).WithContext(c.ctx)
		a := answerWith(t, s, req, func(x *exchange) error { return fmt.Errorf("set: %w", x.r.Context().Err()) })
		if p := a.problem(t); a.status != c.status || p.Type != "/problems/"+c.name {
			t.Errorf("%s: %+v, want %d %s", c.method, p, c.status, c.name)
		}
	}
}

// TestPanic: a panic costs its request; the answer is a problem, or a cut
// connection where the answer had begun.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	s := New(openAssistant(t, jackcache.Options{}), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s.mux.Handle("GET /panic", s.handler(route{handle: func(*exchange) error { panic("an inner secret") }}))
	s.mux.Handle("GET /late", s.handler(route{handle: func(x *exchange) error {
		_, _ = io.WriteString(x, strings.Repeat("x", 100_000))
		panic("an inner secret")
	}}))
	s.mux.Handle("GET /stream", s.handler(route{handle: func(x *exchange) error {
		_, _ = io.WriteString(x, strings.Repeat("x", 100_000))
		return errors.New("failed on the way")
	}}))
	srv := httptest.NewServer(s)
	defer srv.Close()
	f := &fixture{t: t, a: s.a, s: s, url: srv.URL, client: srv.Client()}
	if p := f.wantProblem(500, "internal", "GET", "/panic", ""); strings.Contains(p.Detail, "secret") {
		t.Errorf("the client is told: %+v", p)
	}
	if text := log.String(); !strings.Contains(text, "an inner secret") || !strings.Contains(text, "errors_test.go") {
		t.Errorf("no panic with its stack in the log: %s", text)
	}
	for _, path := range []string{"/late", "/stream"} {
		res, err := f.client.Get(f.url + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Errorf("%s: a part was taken for the whole", path)
		}
		_ = res.Body.Close()
	}
	f.want(200, "GET", "/livez", "")
}

func TestDetail(t *testing.T) {
	err := fmt.Errorf("message 3: %w: %w", jackcache.ErrInvalid, errors.New("a role is missing"))
	if got := detail(err, jackcache.ErrInvalid); got != "message 3: a role is missing" {
		t.Errorf("detail %q", got)
	}
	long := detail(fmt.Errorf("%w: %s", jackcache.ErrInvalid, strings.Repeat("é", 1000)), jackcache.ErrInvalid)
	if len(long) > maxDetail+3 || !utf8.ValidString(long) {
		t.Errorf("a long detail: %d bytes, %q", len(long), long)
	}
}

// TestUnavailable: without Redis and without a journal every call answers in time and says that
// nothing was stored.
func TestUnavailable(t *testing.T) {
	f := start(t, jackcache.Options{
		Redis:   &jackcache.RedisOptions{Addrs: []string{"127.0.0.1:1"}},
		Journal: jackcache.JournalOptions{Mode: jackcache.JournalOff},
	}, Options{})
	for _, c := range [][3]string{
		{"GET", agent, ""}, {"PUT", agent, "1"}, {"DELETE", agent, ""}, {"GET", talk, ""}, {"POST", talk, theHello},
		{"PUT", talk, theHello}, {"DELETE", talk, ""}, {"DELETE", person, ""}, {"GET", person + "/summary", ""},
		{"GET", "/api/v1/orgs/o/phone-leads/+16045550000", ""}, {"GET", "/api/v1/orgs/o/lead-phones/L7", ""},
		{"POST", batchPath, `{"reads":[{"kind":"agentConfig","id":"x"},{"kind":"conversationContext","id":"+16045550000"}]}`},
		{"POST", "/api/v1/orgs/org-123/invalidate", ""}, {"GET", "/api/v1/orgs/org-123/conversations", ""},
	} {
		p := f.wantProblem(503, "unavailable", c[0], c[1], c[2])
		if strings.Contains(p.Detail, "127.0.0.1") {
			t.Errorf("%v tells an address: %s", c, p.Detail)
		}
	}
	f.want(200, "PUT", "/api/v1/orgs/o/entries/sseResponse/x", "1") // stays in the process
	f.want(200, "GET", "/livez", "")
	if a := f.want(200, "GET", "/readyz", ""); a.body != "degraded\n" {
		t.Errorf("readiness %q", a.body)
	}
	if a := f.want(200, "GET", "/api/health", ""); !strings.Contains(a.body, `"status":"degraded"`) {
		t.Errorf("health %s", a.body)
	}
	strict := New(f.a, Options{StrictReady: true})
	rec := httptest.NewRecorder()
	strict.ServeHTTP(rec, httptest.NewRequest("GET", "/readyz", nil))
	if rec.Code != 503 {
		t.Errorf("strict readiness while degraded: %d", rec.Code)
	}
}
