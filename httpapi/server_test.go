package httpapi

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// fixture is a server over an embedded store, and a client of it.
type fixture struct {
	t      testing.TB
	a      *assistant.Assistant
	s      *Server
	url    string
	client *http.Client
}

func openAssistant(t testing.TB, o jackcache.Options) *assistant.Assistant {
	t.Helper()
	o.DataDir, o.Logger = t.TempDir(), slog.New(slog.DiscardHandler)
	a, err := assistant.Open(t.Context(), o, assistant.TTLs{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(noCancel(t)); err != nil {
			t.Error("close:", err)
		}
	})
	return a
}

func start(t testing.TB, co jackcache.Options, o Options) *fixture {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := openAssistant(t, co)
	s := New(a, o)
	srv := httptest.NewUnstartedServer(s)
	srv.Config = NewHTTPServer(s)
	srv.Start()
	t.Cleanup(srv.Close)
	return &fixture{t: t, a: a, s: s, url: srv.URL, client: srv.Client()}
}

func newFixture(t testing.TB) *fixture { return start(t, jackcache.Options{}, Options{}) }

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; each extra is a header "Name: value".
func (f *fixture) do(method, path, body string, extra ...string) answer {
	f.t.Helper()
	return f.stream(method, path, strings.NewReader(body), extra...)
}

func (f *fixture) stream(method, path string, body io.Reader, extra ...string) answer {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range extra {
		name, value, _ := strings.Cut(e, ": ")
		req.Header.Add(name, value)
	}
	res, err := f.client.Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatalf("%s %s: body: %v", method, path, err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: string(got)}
}

// want sends a request and checks the status.
func (f *fixture) want(status int, method, path, body string, extra ...string) answer {
	f.t.Helper()
	a := f.do(method, path, body, extra...)
	if a.status != status {
		f.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	if a.status >= 400 {
		a.problem(f.t)
	}
	return a
}

// wantProblem also checks the problem's name, and that the detail says something.
func (f *fixture) wantProblem(status int, name, method, path, body string, extra ...string) problem {
	f.t.Helper()
	p := f.want(status, method, path, body, extra...).problem(f.t)
	if p.Type != "/problems/"+name {
		f.t.Errorf("%s %s: %+v, want the type %s", method, path, p, name)
	}
	return p
}

func (a answer) problem(t testing.TB) problem {
	t.Helper()
	var p problem
	a.decode(t, &p)
	if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type %q of %s", ct, a.body)
	}
	if p.Status != a.status || p.Title == "" || p.Detail == "" || p.Instance != a.header.Get("X-Request-Id") || !strings.HasPrefix(p.Type, "/problems/") {
		t.Errorf("problem %+v with status %d", p, a.status)
	}
	if strings.Contains(p.Detail, "jackcache:") {
		t.Errorf("the detail %q has the name of a Go error", p.Detail)
	}
	return p
}

func (a answer) decode(t testing.TB, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(a.body)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
}

func (a answer) wantBody(t testing.TB, want string) {
	t.Helper()
	if got := strings.TrimSpace(a.body); got != want {
		t.Errorf("body\n%s\nwant\n%s", got, want)
	}
}
