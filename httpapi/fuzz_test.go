package httpapi

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
)

func fuzzServer(f *testing.F) *Server {
	return New(openAssistant(f, jackcache.Options{}), Options{Logger: slog.New(slog.DiscardHandler), MaxBody: 1 << 20})
}

// serve sends a request without a network. Anything but an answer below 500 is
// a failure of the test; a panic of a handler would be a 500.
func serve(t *testing.T, s *Server, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	req, err := http.NewRequest(method, "http://x", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	u, err := url.ParseRequestURI(path)
	if err != nil {
		rec.Code = http.StatusBadRequest // net/http answers such a request line itself
		return rec
	}
	req.URL = u
	s.ServeHTTP(rec, req)
	switch {
	case rec.Code >= 500:
		t.Fatalf("%s %q with %q: %d %s", method, path, body, rec.Code, rec.Body)
	case rec.Code >= 400 && !json.Valid(rec.Body.Bytes()):
		t.Fatalf("%s %q with %q: the problem is not JSON: %s", method, path, body, rec.Body)
	}
	return rec
}

// FuzzBody: no body of any shape does harm, and what is accepted comes back as
// the same bytes.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		theHello, `[` + theHello + `]`, `{"role":"user","content":{"a":[1e400]},"id":"\u00e9"}`, `{"reads":[{"kind":"agentConfig","id":"x"}]}`,
		`{"reads":[{"kind":"conversationContext","id":"+16045550000","last":2}]}`, `{"text":"x"}`, `{"leadId":"L7"}`, `{"phone":"604-908-5474"}`,
		`[[[[`, `{"a":1,"a":2}`, `"\ud800"`, "\xff", `-0`, `{"role":"user","role":7}`, `{"id":"x","id":null,"role":"a"}`, "[{\"role\":\"\b\"}]", `{"role":"\x"}`,
	} {
		f.Add(seed)
	}
	s := fuzzServer(f)
	f.Fuzz(func(t *testing.T, body string) {
		if rec := serve(t, s, "PUT", agent, body); rec.Code == 200 {
			if got := serve(t, s, "GET", agent, "").Body.String(); got != body {
				t.Fatalf("stored %q, read %q", body, got)
			}
		}
		serve(t, s, "PUT", talk, `[]`)
		if rec := serve(t, s, "POST", talk, body); rec.Code == 201 {
			read := serve(t, s, "GET", talk, "")
			var m messagesBody
			if err := json.Unmarshal(read.Body.Bytes(), &m); err != nil || m.Count == 0 || m.Count != len(m.Messages) {
				t.Fatalf("appended %q, read %s, %v", body, read.Body, err)
			}
		}
		if rec := serve(t, s, "POST", batchPath, body); rec.Code == 200 && !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("batch %q: %s", body, rec.Body)
		}
		serve(t, s, "PUT", person+"/summary", body)
		serve(t, s, "PUT", "/api/v1/orgs/o/phone-leads/+16045550000", body)
		serve(t, s, "PUT", "/api/v1/orgs/o/lead-phones/L7", body)
		serve(t, s, "POST", "/api/v1/import", body)
	})
}

// FuzzPath: an organisation and an id of any shape are refused, or hold what
// was put there and nothing else.
func FuzzPath(f *testing.F) {
	for _, org := range []string{"org-123", "a:b", "*", "{x}", "..", "", "global", "+16045550000", "😀", "a%2Fb", "\x00", "\xff", "a/b"} {
		for _, id := range []string{"+16049085474", "(604) 908-5474", "x", ":", "..", "%2e%2e", "", "001604"} {
			f.Add(org, id)
		}
	}
	s := fuzzServer(f)
	guard := "/api/v1/orgs/guard/entries/agentConfig/x"
	f.Fuzz(func(t *testing.T, org, id string) {
		base := "/api/v1/orgs/" + url.PathEscape(org)
		serve(t, s, "PUT", guard, `"guard"`)
		entry := base + "/entries/agentConfig/" + url.PathEscape(id)
		if rec := serve(t, s, "PUT", entry, `"mine"`); rec.Code == 200 {
			if got := serve(t, s, "GET", entry, "").Body.String(); got != `"mine"` {
				t.Fatalf("read %q", got)
			}
		}
		conv := base + "/conversations/" + url.PathEscape(id)
		serve(t, s, "POST", conv+"/messages", theHello)
		serve(t, s, "GET", conv+"/messages", "")
		serve(t, s, "PUT", conv+"/summary", `{"text":"x"}`)
		serve(t, s, "PUT", base+"/phone-leads/"+url.PathEscape(id), `{"leadId":"L7"}`)
		serve(t, s, "DELETE", conv, "")
		if org != "guard" {
			serve(t, s, "POST", base+"/invalidate", "")
			if got := serve(t, s, "GET", guard, "").Body.String(); got != `"guard"` {
				t.Fatalf("org %q touched another organisation: %q", org, got)
			}
		}
		serve(t, s, "GET", "/"+org+"/"+id, "") // as it is
	})
}
