package httpapi

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
)

// TestDocs: the page shows every operation, loads nothing, and has commands for
// the server that was asked.
func TestDocs(t *testing.T) {
	f := start(t, jackcache.Options{}, Options{Token: "secret"})
	a := f.want(200, "GET", "/docs", "")
	for _, rt := range f.s.routes() {
		if !strings.Contains(a.body, `<article id="`+rt.name+`">`) {
			t.Errorf("%s %s is not on the page", rt.method, rt.pattern)
		}
	}
	if loads := regexp.MustCompile(`(?i)<(script|link|img|iframe|object|embed)|\bsrc=|url\(|@import|href="[a-z]+:`).FindString(a.body); loads != "" {
		t.Errorf("the page has %q", loads)
	}
	if policy := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") {
		t.Errorf("policy %q", policy)
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(a.body)
	if len(style) != 2 || style[1] != docsCSS {
		t.Error("the style is not the one of the policy")
	}
	if strings.Contains(a.body, placeholder) || !strings.Contains(a.body, "curl -i &#39;"+f.url+"/api/v1/") || strings.Contains(a.body, "secret") {
		t.Error("the commands are not those for this server")
	}
}

func TestOrigin(t *testing.T) {
	for host, want := range map[string]string{
		"cache.internal:8080": "http://cache.internal:8080", "[::1]:80": "http://[::1]:80",
		"x'$(reboot)'": "http://localhost:8080", "<b>": "http://localhost:8080",
	} {
		r := httptest.NewRequest("GET", "/docs", nil)
		r.Host = host
		if got := origin(r); got != want {
			t.Errorf("%q: %s", host, got)
		}
	}
}
