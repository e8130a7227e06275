package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
)

const (
	person   = "/api/v1/orgs/org-123/conversations/+16049085474"
	talk     = person + "/messages"
	theHello = `{"id":"m1","role":"user","content":"hi"}`
)

type appendedBody struct {
	Appended   int `json:"appended"`
	Duplicates int `json:"duplicates"`
	Messages   []struct {
		ID        string            `json:"id"`
		Version   jackcache.Version `json:"version"`
		Duplicate bool              `json:"duplicate"`
	} `json:"messages"`
	Pending bool `json:"pending"`
}

type messagesBody struct {
	Messages []json.RawMessage `json:"messages"`
	Complete bool              `json:"complete"`
	Count    int               `json:"count"`
}

func (f *fixture) messages(path string) messagesBody {
	f.t.Helper()
	var m messagesBody
	f.want(200, "GET", path, "").decode(f.t, &m)
	return m
}

func TestAppendAndRead(t *testing.T) {
	f := newFixture(t)
	f.wantProblem(404, "not-found", "GET", talk, "")

	var first appendedBody
	f.want(201, "POST", talk, theHello).decode(t, &first)
	if first.Appended != 1 || first.Duplicates != 0 || first.Pending || len(first.Messages) != 1 ||
		first.Messages[0].ID != "m1" || len(first.Messages[0].Version) != 20 {
		t.Errorf("append answered %+v", first)
	}
	var again appendedBody
	f.want(200, "POST", talk, "["+theHello+"]").decode(t, &again)
	if again.Appended != 0 || again.Duplicates != 1 || !again.Messages[0].Duplicate || again.Messages[0].Version != first.Messages[0].Version {
		t.Errorf("the repetition answered %+v, the first append %+v", again, first)
	}
	p := f.wantProblem(409, "conflict", "POST", talk, `{"id":"m1","role":"user","content":"other"}`)
	if !strings.Contains(p.Detail, `"m1"`) {
		t.Errorf("the conflict does not name the message: %s", p.Detail)
	}

	odd := `{ "z":1e999, "role":"assistant",  "role":"assistant", "content":["a",{"b":null}],"id":"m2","n":123456789012345678901234567890.10 }`
	f.want(201, "POST", talk, odd)
	f.want(201, "POST", talk, `{"role":"user","content":"no id"}`)
	got := f.want(200, "GET", talk, "")
	if !strings.HasPrefix(got.body, `{"messages":[`+theHello+`,`+odd+`,{"id":"`) || !strings.HasSuffix(got.body, `],"complete":true,"count":3}`+"\n") {
		t.Errorf("messages are not as they were sent: %s", got.body)
	}
	if cs := got.header.Get("Cache-Status"); cs != "jackcache; hit; detail=shared" {
		t.Errorf("Cache-Status %q", cs)
	}
	if got.header.Get("Age") != "0" && got.header.Get("Age") != "1" {
		t.Errorf("Age %q", got.header.Get("Age"))
	}
}

func TestReadRestrictions(t *testing.T) {
	f := newFixture(t)
	var msgs []string
	for i := range 10 {
		msgs = append(msgs, fmt.Sprintf(`{"id":"m%d","role":"user","content":"%s"}`, i, strings.Repeat("x", 16)))
	}
	f.want(201, "POST", talk, "["+strings.Join(msgs, ",")+"]")
	for query, want := range map[string]int{
		"":                            10,
		"?last=3":                     3,
		"?last=10000":                 10,
		"?maxTokens=16":               2, // 16/4+4 each
		"?maxBytes=110":               2,
		"?maxBytes=1":                 0,
		"?last=5&maxTokens=24":        3,
		"?last=1":                     1,
		"?maxTokens=2147483647":       10,
		"?last=4&maxBytes=2147483647": 4,
	} {
		if got := f.messages(talk + query); got.Count != want || len(got.Messages) != want || !got.Complete {
			t.Errorf("%s: %d messages, want %d: %+v", query, len(got.Messages), want, got)
		}
	}
	for _, query := range []string{
		"?last=0", "?last=-1", "?last=10001", "?last=x", "?last=", "?last=1&last=2", "?last=1e3", "?last=%2B",
		"?maxTokens=0", "?maxBytes=99999999999", "?last=%zz", "?a;b", "?last=" + strings.Repeat("9", 1000),
	} {
		p := f.wantProblem(400, "invalid", "GET", talk+query, "")
		if len(p.Detail) > 200 {
			t.Errorf("%.40s: a long detail: %s", query, p.Detail)
		}
	}
}

func TestReplaceClearForget(t *testing.T) {
	f := newFixture(t)
	f.want(201, "POST", talk, theHello)
	var a appendedBody
	f.want(200, "PUT", talk, `[{"id":"n1","role":"user","content":"x"},{"id":"n2","role":"user","content":"y"}]`).decode(t, &a)
	if a.Appended != 2 || len(a.Messages) != 2 {
		t.Errorf("replace answered %+v", a)
	}
	if got := f.messages(talk); got.Count != 2 || string(got.Messages[0]) != `{"id":"n1","role":"user","content":"x"}` {
		t.Errorf("after the replacement: %+v", got)
	}
	f.want(204, "DELETE", talk, "")
	f.want(404, "GET", talk, "")
	f.want(204, "DELETE", talk, "")

	f.want(201, "POST", talk, theHello)
	f.want(200, "PUT", person+"/summary", `{"text":"wants a red one"}`)
	f.want(200, "PUT", "/api/v1/orgs/org-123/phone-leads/+16049085474", `{"leadId":"L7"}`)
	f.want(200, "PUT", "/api/v1/orgs/org-123/entries/leadData/L7", `{"name":"Ann"}`)
	var gone forgotten
	f.want(200, "DELETE", person, "").decode(t, &gone)
	if gone.Phone != "+16049085474" || gone.LeadID != "L7" || len(gone.Kinds) < 5 {
		t.Errorf("forget answered %+v", gone)
	}
	for _, path := range []string{
		talk, person + "/summary", "/api/v1/orgs/org-123/phone-leads/+16049085474",
		"/api/v1/orgs/org-123/lead-phones/L7", "/api/v1/orgs/org-123/entries/leadData/L7",
	} {
		f.want(404, "GET", path, "")
	}
	f.want(200, "DELETE", person, "")
	f.wantProblem(400, "invalid", "DELETE", "/api/v1/orgs/org-123/conversations/nobody", "")
}

func TestListConversations(t *testing.T) {
	f := newFixture(t)
	const orgPath = "/api/v1/orgs/org-123/conversations"
	f.want(200, "GET", orgPath, "").wantBody(t, `{"conversations":[],"cursor":""}`)
	want := map[string]bool{}
	for i := range 7 {
		phone := fmt.Sprintf("+1604555%04d", i)
		want[phone] = true
		f.want(201, "POST", orgPath+"/"+phone+"/messages", theHello)
		f.want(201, "POST", "/api/v1/orgs/other/conversations/"+phone+"/messages", theHello)
	}
	cursor := ""
	for pages := 0; ; pages++ {
		var l listing
		f.want(200, "GET", orgPath+"?limit=3&cursor="+url.QueryEscape(cursor), "").decode(t, &l)
		for _, c := range l.Conversations {
			if !want[c.Phone] || c.Messages != 1 || c.Bytes == 0 || c.ExpiresAt.IsZero() || len(c.Version) != 20 {
				t.Errorf("listed %+v", c)
			}
			delete(want, c.Phone)
		}
		if cursor = l.Cursor; cursor == "" || pages > 10 {
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	f.wantProblem(400, "invalid", "GET", orgPath+"?limit=1001", "")
	if a := f.do("GET", orgPath+"?cursor=%00%FFnonsense", ""); a.status != 400 && a.status != 200 {
		t.Errorf("a wrong cursor: %d %s", a.status, a.body)
	}
}

func TestInvalidate(t *testing.T) {
	f := newFixture(t)
	f.want(201, "POST", talk, theHello)
	f.want(201, "POST", strings.Replace(talk, "org-123", "other", 1), theHello)
	f.want(200, "POST", "/api/v1/orgs/org-123/invalidate", "").wantBody(t, `{"invalidated":true,"pending":false}`)
	f.want(404, "GET", talk, "")
	f.want(200, "GET", strings.Replace(talk, "org-123", "other", 1), "")
	f.want(201, "POST", talk, theHello)
	f.want(200, "GET", talk, "")
}

// TestSpellings: however one number is written, it is one person.
func TestSpellings(t *testing.T) {
	f := newFixture(t)
	spellings := []string{
		"+16049085474", "+1 (604) 908-5474", "(604) 908-5474", "604-908-5474", "6049085474", "16049085474",
		"1-604-908-5474", "001 604 908 5474", "tel:+1-604-908-5474", "whatsapp:+16049085474", "604.908.5474", "+1 604 908 5474",
		"％", // checked below: not a number
	}
	for i, s := range spellings[:12] {
		f.want(201, "POST", "/api/v1/orgs/org-123/conversations/"+url.PathEscape(s)+"/messages", fmt.Sprintf(`{"id":"m%d","role":"user","content":"x"}`, i))
	}
	for _, s := range spellings[:12] {
		if got := f.messages("/api/v1/orgs/org-123/conversations/" + url.PathEscape(s) + "/messages"); got.Count != 12 {
			t.Errorf("%s: %d messages, want 12", s, got.Count)
		}
	}
	p := f.wantProblem(400, "invalid", "GET", "/api/v1/orgs/org-123/conversations/"+url.PathEscape(spellings[12])+"/messages", "")
	if !strings.Contains(p.Detail, "+") {
		t.Errorf("the refusal does not ask for +: %s", p.Detail)
	}
}

func TestHead(t *testing.T) {
	f := newFixture(t)
	f.want(201, "POST", talk, theHello)
	full, head := f.want(200, "GET", talk, ""), f.want(200, http.MethodHead, talk, "")
	if head.body != "" || head.header.Get("Content-Length") != full.header.Get("Content-Length") {
		t.Errorf("HEAD: %q, %v; GET: %v", head.body, head.header, full.header)
	}
}
