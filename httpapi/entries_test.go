package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
)

const agent = "/api/v1/orgs/org-123/entries/agentConfig/sales"

func TestEntries(t *testing.T) {
	f := newFixture(t)
	for path, value := range map[string]string{
		agent: `{"b":1,"a":2,"a":3, "n":123456789012345678901234567890, "f":1.0e+400}`,
		"/api/v1/orgs/org-123/entries/organizationData":                  `{"name":"Dealer"}`,
		"/api/v1/orgs/org-123/entries/leadData/42":                       `"a string"`,
		"/api/v1/orgs/org-123/entries/conversationHistory/+16049085474":  `[]`,
		"/api/v1/orgs/org-123/entries/preComputedContext/(604)%20908-54": `null`,
		"/api/v1/orgs/org-123/entries/sseResponse/a%2Fb":                 ` 12345678901234567890 `,
	} {
		if strings.Contains(path, "(") {
			path = strings.Replace(path, "908-54", "908-5474", 1)
		}
		miss := f.want(404, "GET", path, "")
		if cs := miss.header.Get("Cache-Status"); cs != "jackcache; fwd=miss" {
			t.Errorf("%s: Cache-Status %q of a miss", path, cs)
		}
		put := f.want(200, "PUT", path, value)
		var body struct {
			Version jackcache.Version `json:"version"`
			Pending bool              `json:"pending"`
		}
		put.decode(t, &body)
		got := f.want(200, "GET", path, "")
		if got.body != value {
			t.Errorf("%s: got %q, want %q", path, got.body, value)
		}
		tag := `"` + string(body.Version) + `"`
		if got.header.Get("ETag") != tag || put.header.Get("ETag") != tag || got.header.Get("Age") == "" {
			t.Errorf("%s: version %s, headers %v", path, body.Version, got.header)
		}
		f.want(304, "GET", path, "", "If-None-Match: "+tag)
		f.want(204, "DELETE", path, "")
		f.want(404, "GET", path, "")
		f.want(204, "DELETE", path, "")
	}
	local := f.want(200, "PUT", "/api/v1/orgs/org-123/entries/sseResponse/x", `1`)
	if local = f.want(200, "GET", "/api/v1/orgs/org-123/entries/sseResponse/x", ""); local.header.Get("Cache-Status") != "jackcache; hit; detail=near" {
		t.Errorf("Cache-Status of a local kind: %v", local.header)
	}
}

func TestEntryErrors(t *testing.T) {
	f := newFixture(t)
	big := `"` + strings.Repeat("x", jackcache.DefaultValueBytes) + `"`
	for _, c := range []struct {
		status             int
		name, method, path string
		body               string
	}{
		{400, "invalid", "GET", "/api/v1/orgs/o/entries/nonsense/x", ""},
		{400, "invalid", "PUT", "/api/v1/orgs/o/entries/nonsense/x", "1"},
		{400, "invalid", "GET", "/api/v1/orgs/o/entries/agentConfig", ""},
		{400, "invalid", "GET", "/api/v1/orgs/o/entries/organizationData/x", ""},
		{400, "invalid", "PUT", "/api/v1/orgs/o/entries/organizationData/x", "1"},
		{400, "invalid", "PUT", "/api/v1/orgs/o/entries/conversationHistory/nobody", "1"},
		{400, "invalid", "PUT", "/api/v1/orgs/o/entries/conversationContext/+16045550000", "[]"},
		{400, "invalid", "PUT", "/api/v1/orgs/o/entries/phoneToLead/+16045550000", `{"leadId":"x"}`},
		{400, "invalid", "GET", "/api/v1/orgs/o/entries/leadToPhone/x", ""},
		{400, "invalid", "DELETE", "/api/v1/orgs/o/entries/conversationSummary/+16045550000", ""},
		{400, "invalid", "PUT", "/api/v1/orgs/o/entries/agentConfig/" + strings.Repeat("x", 129), "1"},
		{400, "invalid", "PUT", "/api/v1/orgs/o/entries/agentConfig/a%00b", "1"},
		{400, "invalid", "PUT", "/api/v1/orgs/o/entries/agentConfig/a%FFb", "1"},
		{400, "invalid", "PUT", agent, ""},
		{400, "invalid", "PUT", agent, "{"},
		{400, "invalid", "PUT", agent, `{"a":1} x`},
		{400, "invalid", "PUT", agent, "\"\xff\""},
		{413, "too-large", "PUT", agent, big},
	} {
		f.wantProblem(c.status, c.name, c.method, c.path, c.body)
	}
	f.want(404, "GET", agent, "")
}

func TestConditions(t *testing.T) {
	f := newFixture(t)
	f.wantProblem(412, "precondition-failed", "PUT", agent, `1`, `If-Match: "0197a2b3c4d50000a1b2"`)
	first := f.want(200, "PUT", agent, `1`, "If-None-Match: *").header.Get("ETag")
	f.wantProblem(412, "precondition-failed", "PUT", agent, `2`, "If-None-Match: *")
	second := f.want(200, "PUT", agent, `2`, "If-Match: "+first).header.Get("ETag")
	f.wantProblem(412, "precondition-failed", "PUT", agent, `3`, "If-Match: "+first)
	f.wantProblem(412, "precondition-failed", "DELETE", agent, ``, "If-Match: "+first)
	if got := f.want(200, "GET", agent, ""); got.body != "2" || got.header.Get("ETag") != second || first == second {
		t.Errorf("after refused writes: %s %v", got.body, got.header)
	}
	for _, c := range [][]string{
		{"If-Match: *"}, {"If-Match: W/" + second}, {"If-Match: " + second + ", " + first}, {"If-Match: " + second, "If-Match: " + first},
		{"If-Match: nonsense"}, {`If-Match: "nonsense"`}, {`If-Match: ""`}, {"If-Match: "}, {"If-None-Match: " + second},
		{"If-None-Match: *", "If-Match: " + second}, {"If-None-Match: *, *"},
	} {
		f.wantProblem(400, "invalid", "PUT", agent, `4`, c...)
		f.wantProblem(400, "invalid", "DELETE", agent, ``, c...)
	}
	for _, c := range []struct {
		status int
		header string
	}{
		{304, "If-None-Match: " + second}, {304, "If-None-Match: W/" + second}, {304, `If-None-Match: "x", ` + second},
		{304, "If-None-Match: *"}, {200, "If-None-Match: " + first}, {200, "If-Match: " + second}, {412, "If-Match: " + first},
	} {
		a := f.do("GET", agent, "", c.header)
		if a.status != c.status || c.status == 304 && (a.body != "" || a.header.Get("ETag") != second) {
			t.Errorf("GET with %s: %d %s, want %d", c.header, a.status, a.body, c.status)
		}
	}
	f.want(204, "DELETE", agent, "", "If-Match: "+second)
	f.want(404, "GET", agent, "")
	f.want(200, "PUT", agent, `5`, "If-None-Match: *") // a deleted value is absent

	for _, c := range [][2]string{
		{"POST", talk}, {"PUT", talk}, {"DELETE", talk}, {"DELETE", person}, {"PUT", "/api/v1/orgs/o/phone-leads/+16045550000"},
		{"PUT", "/api/v1/orgs/o/entries/sseResponse/x"}, {"DELETE", "/api/v1/orgs/o/lead-phones/x"},
	} {
		f.wantProblem(400, "invalid", c[0], c[1], theHello, "If-None-Match: *")
	}
	f.want(404, "GET", talk, "")
}

func TestSummary(t *testing.T) {
	f := newFixture(t)
	path := person + "/summary"
	f.want(404, "GET", path, "")
	body := `{"lang":"en","text":"wants \"red\"", "n":1e400}`
	tag := f.want(200, "PUT", path, body).header.Get("ETag")
	if got := f.want(200, "GET", strings.Replace(path, "+16049085474", "(604)%20908-5474", 1), ""); got.body != body || got.header.Get("ETag") != tag {
		t.Errorf("summary %s, want %s", got.body, body)
	}
	f.want(412, "PUT", path, body, "If-None-Match: *")
	for _, bad := range []string{`"text"`, `[]`, `{}`, `{"text":1}`, `{"text":null}`, `{"TEXT":"x"}`, `{"text":"x"`, ``, `null`, `{"text":"a","text":{}}`} {
		f.wantProblem(400, "invalid", "PUT", path, bad)
	}
	turn, err := f.a.Turn(t.Context(), f.a.Cache.Org("org-123"), "+16049085474", jackcache.ReadOptions{})
	if err != nil || turn.Summary != `wants "red"` {
		t.Errorf("the Go API reads %+v, %v", turn, err)
	}
	f.want(204, "DELETE", path, "")
	f.want(404, "GET", path, "")
}

// TestBytesSurvive: what is valid JSON comes back as the same bytes.
func TestBytesSurvive(t *testing.T) {
	f := newFixture(t)
	nested := strings.Repeat("[", 1000) + strings.Repeat("]", 1000)
	for i, value := range []string{
		`-0`, `1E+2`, `0.1e-9999`, `"\u0000\ud83d\ude00"`, `"é😀"`, "\t{\r\n}\t", nested, `{"":"","":""}`, `"\ud800"`, `[1 , 2]`,
		"\"" + strings.Repeat("long ", 5000) + "\"",
	} {
		path := fmt.Sprintf("/api/v1/orgs/org-123/entries/agentConfig/v%d", i)
		f.want(200, "PUT", path, value)
		if got := f.want(200, "GET", path, ""); got.body != value || !json.Valid([]byte(got.body)) {
			t.Errorf("got %.80q, want %.80q", got.body, value)
		}
	}
}
