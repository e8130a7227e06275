package httpapi

import (
	"net/url"
	"testing"

	"github.com/jackcache/jackcache"
)

func TestKeys(t *testing.T) {
	f := newFixture(t)
	f.want(200, "PUT", agent, `{"a":1}`)
	f.want(201, "POST", talk, theHello)
	f.want(200, "PUT", "/api/v1/orgs/other/entries/agentConfig/x", "1")

	var all, one, talks keyPage
	f.want(200, "GET", "/api/v1/keys?kind=agentConfig", "").decode(t, &all)
	f.want(200, "GET", "/api/v1/keys?kind=agentConfig&org=org-123&limit=10", "").decode(t, &one)
	f.want(200, "GET", "/api/v1/keys?kind=conversationContext", "").decode(t, &talks)
	if len(all.Keys) != 2 || len(one.Keys) != 1 || len(talks.Keys) != 1 || talks.Keys[0].Messages != 1 {
		t.Fatalf("%+v, of one organisation %+v, conversations %+v", all, one, talks)
	}
	var k storedKey
	f.want(200, "GET", "/api/v1/inspect?key="+url.QueryEscape(one.Keys[0].Key), "").decode(t, &k)
	if k.Kind != "agentConfig" || k.Org != "org-123" || k.Key != one.Keys[0].Key || string(k.Value) != `{"a":1}` {
		t.Errorf("inspected %+v", k)
	}

	f.want(204, "DELETE", agent, "")
	f.wantProblem(404, "not-found", "GET", "/api/v1/inspect?key="+url.QueryEscape(k.Key), "")
	f.wantProblem(405, "method-not-allowed", "POST", "/api/v1/keys", "")
	for _, bad := range []string{
		"/api/v1/inspect", "/api/v1/inspect?key=x", "/api/v1/keys", "/api/v1/keys?kind=nonsense",
		"/api/v1/keys?kind=agentConfig&org=", "/api/v1/keys?kind=agentConfig&limit=x", "/api/v1/keys?kind=agentConfig&limit=1001",
	} {
		f.wantProblem(400, "invalid", "GET", bad, "")
	}
}

func TestKeysToken(t *testing.T) {
	f := start(t, jackcache.Options{}, Options{Token: "x"})
	f.wantProblem(401, "unauthorized", "GET", "/api/v1/keys?kind=agentConfig", "")
	f.wantProblem(401, "unauthorized", "GET", "/api/v1/inspect?key=x", "")
	f.want(200, "GET", "/api/v1/keys?kind=agentConfig", "", "Authorization: Bearer x")
}

func TestKeysUnavailable(t *testing.T) {
	f := start(t, jackcache.Options{Redis: &jackcache.RedisOptions{Addrs: []string{"127.0.0.1:1"}}}, Options{})
	if a := f.want(503, "GET", "/api/v1/keys?kind=agentConfig", ""); a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
}
