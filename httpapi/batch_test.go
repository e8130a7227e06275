package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
)

const batchPath = "/api/v1/orgs/org-123/batch"

type batchBody struct {
	Results []struct {
		Kind     string            `json:"kind"`
		ID       string            `json:"id"`
		Found    bool              `json:"found"`
		Value    json.RawMessage   `json:"value"`
		Version  jackcache.Version `json:"version"`
		Complete *bool             `json:"complete"`
	} `json:"results"`
}

func TestBatch(t *testing.T) {
	f := newFixture(t)
	const values = "/api/v1/orgs/org-123/entries/"
	f.want(201, "POST", talk, `[{"id":"m1","role":"user","content":"hi"},{"id":"m2","role":"assistant","content":"yes?"}]`)
	f.want(200, "PUT", person+"/summary", `{"text":"x"}`)
	f.want(200, "PUT", "/api/v1/orgs/org-123/phone-leads/+16049085474", `{"leadId":"L7"}`)
	f.want(200, "PUT", values+"leadData/L7", `{"n": 1e400}`)
	f.want(200, "PUT", values+"organizationData", `{"name":"Dealer"}`)
	f.want(200, "PUT", values+"sseResponse/s", `"local"`)
	f.want(200, "PUT", "/api/v1/orgs/other/entries/agentConfig/sales", `"theirs"`)

	var b batchBody
	f.want(200, "POST", batchPath, `{"reads":[
		{"kind":"conversationContext","id":"(604) 908-5474","last":1},
		{"kind":"conversationSummary","id":"604-908-5474"},
		{"kind":"phoneToLead","id":"+16049085474"},
		{"kind":"leadToPhone","id":"L7"},
		{"kind":"leadData","id":"L7"},
		{"kind":"organizationData"},
		{"kind":"agentConfig","id":"sales"},
		{"kind":"sseResponse","id":"s"},
		{"kind":"conversationContext","id":"+16040000000"}
	]}`).decode(t, &b)
	want := []string{
		`[{"id":"m2","role":"assistant","content":"yes?"}]`, `{"text":"x"}`, `{"leadId":"L7"}`, `{"phone":"+16049085474"}`,
		`{"n": 1e400}`, `{"name":"Dealer"}`, ``, `"local"`, ``,
	}
	if len(b.Results) != len(want) {
		t.Fatalf("%d results: %+v", len(b.Results), b)
	}
	for i, r := range b.Results {
		if string(r.Value) != want[i] || r.Found != (want[i] != "") || r.Found != (len(r.Version) == 20) {
			t.Errorf("result %d: %+v, value %s, want %s", i, r, r.Value, want[i])
		}
		if conversation := r.Kind == jackcache.ConversationKind; conversation != (r.Complete != nil && *r.Complete) {
			t.Errorf("result %d: complete is %v", i, r.Complete)
		}
	}
	if b.Results[0].ID != "(604) 908-5474" || b.Results[5].ID != "" {
		t.Errorf("ids are not as they were asked for: %+v", b.Results)
	}

	// The way back from a lead is verified here, too.
	f.want(200, "PUT", "/api/v1/orgs/org-123/phone-leads/+16049085474", `{"leadId":"L8"}`)
	f.want(200, "POST", batchPath, `{"reads":[{"kind":"leadToPhone","id":"L7"}]}`).
		wantBody(t, `{"results":[{"kind":"leadToPhone","id":"L7","found":false}]}`)
	f.want(200, "POST", batchPath, `{"reads":[]}`).wantBody(t, `{"results":[]}`)
}

func TestBatchErrors(t *testing.T) {
	f := newFixture(t)
	for _, bad := range []string{
		``, `[]`, `{}`, `{"reads":null}`, `{"reads":{}}`, `{"reads":[1]}`, `{"reads":[[]]}`, `{"reads":[{}]}`, `{"read":[]}`,
		`{"reads":[{"kind":"nonsense","id":"x"}]}`, `{"reads":[{"kind":1,"id":"x"}]}`, `{"reads":[{"kind":"agentConfig","id":1}]}`,
		`{"reads":[{"kind":"agentConfig"}]}`, `{"reads":[{"kind":"organizationData","id":"x"}]}`,
		`{"reads":[{"kind":"conversationContext","id":"nobody"}]}`, `{"reads":[{"kind":"conversationContext","id":"+16045550000","last":0}]}`,
		`{"reads":[{"kind":"conversationContext","id":"+16045550000","last":1.5}]}`, `{"reads":[{"kind":"agentConfig","id":"x","last":1}]}`,
		`{"reads":[{"kind":"agentConfig","id":"x","org":"other"}]}`, `{"reads":[{"kind":"agentConfig","id":"a\u0000b"}]}`,
		`{"reads":[{"kind":"agentConfig","id":"` + strings.Repeat("x", 129) + `"}]}`, `{"reads":[],"org":"other"}`,
	} {
		f.wantProblem(400, "invalid", "POST", batchPath, bad)
	}
	p := f.wantProblem(400, "invalid", "POST", batchPath, `{"reads":[{"kind":"agentConfig","id":"x"},{"kind":"x"}]}`)
	if !strings.HasPrefix(p.Detail, "read 1: ") {
		t.Errorf("the problem does not name the read: %s", p.Detail)
	}
	many := func(n int, read string) string {
		return `{"reads":[` + strings.TrimSuffix(strings.Repeat(read+",", n), ",") + `]}`
	}
	one := `{"kind":"agentConfig","id":"x"}`
	f.want(200, "POST", batchPath, many(jackcache.MaxReads, one))
	f.wantProblem(413, "too-large", "POST", batchPath, many(jackcache.MaxReads+1, one))
	talks := fmt.Sprintf(`{"kind":%q,"id":"+16045550000"}`, jackcache.ConversationKind)
	f.want(200, "POST", batchPath, many(maxConversations, talks))
	f.wantProblem(413, "too-large", "POST", batchPath, many(maxConversations+1, talks))
}
