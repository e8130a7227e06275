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

// TestBatchBytes: what is in one answer is bounded, also where it is the same.
func TestBatchBytes(t *testing.T) {
	f := newFixture(t)
	const size = 1<<20 - 1<<10
	f.want(200, "PUT", agent, `"`+strings.Repeat("x", size-2)+`"`)
	f.want(201, "POST", talk, theHello)
	_, id, _ := strings.Cut(agent, "/entries/agentConfig/")
	reads := func(n int) string {
		return `{"reads":[` + strings.Repeat(fmt.Sprintf(`{"kind":"agentConfig","id":%q},`, id), n) +
			`{"kind":"conversationContext","id":"+16049085474"}]}`
	}
	const most = maxBatchBytes / size
	var b batchBody
	f.want(200, "POST", batchPath, reads(most)).decode(t, &b)
	for i, r := range b.Results {
		if !r.Found || i < most && len(r.Value) != size {
			t.Errorf("result %d: %s, %d bytes", i, r.Kind, len(r.Value))
		}
	}
	p := f.wantProblem(413, "too-large", "POST", batchPath, reads(most+1))
	if !strings.Contains(p.Detail, fmt.Sprint(maxBatchBytes)) {
		t.Errorf("the problem does not say what is allowed: %s", p.Detail)
	}

	// A conversation counts, too.
	for i := range 8 {
		f.want(201, "POST", talk, fmt.Sprintf(`{"id":"l%d","role":"user","content":"%s"}`, i, strings.Repeat("x", 8<<10)))
	}
	f.wantProblem(413, "too-large", "POST", batchPath, reads(most))
}

// TestBatchReadsOnce: what is wanted twice is read once, what differs is not
// taken for the same.
func TestBatchReadsOnce(t *testing.T) {
	f := newFixture(t)
	f.want(201, "POST", talk, `[{"id":"m1","role":"user","content":"a"},{"id":"m2","role":"user","content":"b"}]`)
	f.want(200, "PUT", agent, "1")
	loads := func() (n uint64) {
		for _, k := range f.a.Cache.Stats().Kinds {
			n += k.Hits + k.Misses
		}
		return n
	}
	before := loads()
	_, id, _ := strings.Cut(agent, "/entries/agentConfig/")
	one := fmt.Sprintf(`{"kind":"agentConfig","id":%q}`, id)
	var b batchBody
	f.want(200, "POST", batchPath, `{"reads":[`+one+`,`+one+`,`+one+`,
		{"kind":"conversationContext","id":"+16049085474","last":1},{"kind":"conversationContext","id":"+16049085474"},
		{"kind":"agentConfig","id":"another"}]}`).decode(t, &b)
	if n := loads() - before; n > 4 {
		t.Errorf("%d reads for four different ones", n)
	}
	for i, want := range []int{1, 1, 1, 1, 2, 0} {
		values := 1
		if i > 2 {
			var ms []json.RawMessage
			_ = json.Unmarshal(b.Results[i].Value, &ms) // nil where nothing is
			values = len(ms)
		}
		if values != want || b.Results[i].Found != (want > 0) {
			t.Errorf("result %d: %+v", i, b.Results[i])
		}
	}
}
