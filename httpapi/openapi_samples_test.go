package httpapi

import (
	"encoding/json"
	flags "flag" // this package has a flag of its own
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
)

var update = flags.Bool("update", false, "write openapi_samples.json anew from what a server answers")

const (
	theLead  = "/api/v1/orgs/org-123/phone-leads/+16049085474"
	thePhone = "/api/v1/orgs/org-123/lead-phones/lead-7"
	theBook  = "/api/v1/phone-leads/+16049085474"
	theOrg   = "/api/v1/orgs/org-123/entries/organizationData"
	ofJSON   = "Content-Type: application/json"
)

// sampleSteps are sent in this order to a server that has nothing.
var sampleSteps = []sample{
	{Name: "appendMessages", About: "A customer writes", Method: "POST", Path: talk, Header: []string{ofJSON}, Status: 201,
		Body: `{"id":"SM1","role":"user","content":"Is the blue one still there?","timestamp":1757000010845}`},
	{Name: "appendMessages", About: "The same message again, as webhooks do: it is stored once", Method: "POST", Path: talk, Header: []string{ofJSON}, Status: 200,
		Body: `{"id":"SM1","role":"user","content":"Is the blue one still there?","timestamp":1757000010845}`},
	{Name: "appendMessages", About: "The same id with another content is refused", Method: "POST", Path: talk, Header: []string{ofJSON}, Status: 409,
		Body: `{"id":"SM1","role":"user","content":"Is the red one still there?"}`},
	{Name: "replaceMessages", About: "From now on these are the messages; fields of your own are kept", Method: "PUT", Path: talk, Header: []string{ofJSON}, Status: 200,
		Body: `[{"id":"SM1","role":"user","content":"Is the blue one still there?"},{"id":"SM2","role":"assistant","content":"It is.","model":"small"}]`},
	{Name: "readMessages", About: "The newest messages", Method: "GET", Path: talk + "?last=20", Status: 200},
	{Name: "readMessages", About: "The phone in another spelling; nobody wrote from this one", Method: "GET", Path: "/api/v1/orgs/org-123/conversations/(604)%20908-5475/messages", Status: 404},
	{Name: "listConversations", About: "The first page", Method: "GET", Path: "/api/v1/orgs/org-123/conversations?limit=10", Status: 200},

	{Name: "writeSummary", About: "A summary", Method: "PUT", Path: person + "/summary", Header: []string{ofJSON}, Body: `{"text":"Wants the blue one."}`, Status: 200},
	{Name: "writeSummary", About: "Only if there is none yet; there is", Method: "PUT", Path: person + "/summary", Header: []string{ofJSON, "If-None-Match: *"}, Body: `{"text":"Wants a car."}`, Status: 412},
	{Name: "readSummary", About: "What was written", Method: "GET", Path: person + "/summary", Status: 200},

	{Name: "linkPhone", About: "Either end makes the link both ways", Method: "PUT", Path: theLead, Header: []string{ofJSON}, Body: `{"leadId":"lead-7"}`, Status: 200},
	{Name: "readLeadOfPhone", About: "The lead", Method: "GET", Path: theLead, Status: 200},
	{Name: "linkLead", About: "The same link from the other end", Method: "PUT", Path: thePhone, Header: []string{ofJSON}, Body: `{"phone":"+1 604 908 5474"}`, Status: 200},
	{Name: "readPhoneOfLead", About: "The phone", Method: "GET", Path: thePhone, Status: 200},
	{Name: "linkPhoneInDirectory", About: "Without an organisation, where JACKCACHE_DIRECTORY is on", Method: "PUT", Path: theBook, Header: []string{ofJSON}, Body: `{"leadId":"lead-7"}`, Status: 200},
	{Name: "readLeadInDirectory", About: "The lead", Method: "GET", Path: theBook, Status: 200},

	{Name: "writeEntry", About: "Any JSON", Method: "PUT", Path: agent, Header: []string{ofJSON}, Body: `{"model":"small","temperature":0.2}`, Status: 200},
	{Name: "readEntry", About: "The same bytes, with their version", Method: "GET", Path: agent, Status: 200},
	{Name: "writeOnlyEntry", About: "What an organisation has once", Method: "PUT", Path: theOrg, Header: []string{ofJSON}, Body: `{"name":"Dealer"}`, Status: 200},
	{Name: "readOnlyEntry", About: "The value", Method: "GET", Path: theOrg, Status: 200},

	{Name: "readBatch", About: "What a turn wants to know", Method: "POST", Path: batchPath, Header: []string{ofJSON}, Status: 200,
		Body: `{"reads":[{"kind":"conversationContext","id":"+16049085474","last":1},{"kind":"organizationData"},{"kind":"agentConfig","id":"service"}]}`},
	{Name: "importLines", About: "Two lines; one is stored already in a second run", Method: "POST", Path: "/api/v1/import", Header: []string{"Content-Type: application/x-ndjson"}, Status: 200,
		Body: `{"map":"agentConfig","key":"org-123:service","value":{"model":"large"}}` + "\n" + `{"map":"phoneToLeadMapping","key":"+16045550000","value":"lead-8"}` + "\n"},
	{Name: "exportLines", About: "One kind of one organisation", Method: "GET", Path: "/api/v1/export?org=org-123&kind=organizationData", Status: 200},
	{Name: "listKeys", About: "The keys of a kind", Method: "GET", Path: "/api/v1/keys?kind=organizationData&limit=10", Status: 200},
	{Name: "inspectKey", About: "One of them", Method: "GET", Path: "/api/v1/inspect?key=jack:dev:organization:org-123", Status: 200},

	{Name: "showIndex", About: "In a terminal", Method: "GET", Path: "/", Status: 200},
	{Name: "checkAlive", About: "A probe", Method: "GET", Path: "/livez", Status: 200},
	{Name: "checkReady", About: "A probe", Method: "GET", Path: "/readyz", Status: 200},
	{Name: "readHealth", About: "All of it", Method: "GET", Path: "/api/health", Status: 200},
	{Name: "readStats", About: "All of them", Method: "GET", Path: "/api/cache/stats", Status: 200},

	{Name: "unlinkPhone", About: "Both ways are gone", Method: "DELETE", Path: theLead, Status: 204},
	{Name: "unlinkLead", About: "What is gone already is no error", Method: "DELETE", Path: thePhone, Status: 204},
	{Name: "unlinkPhoneInDirectory", About: "Gone", Method: "DELETE", Path: theBook, Status: 204},
	{Name: "deleteSummary", About: "Gone", Method: "DELETE", Path: person + "/summary", Status: 204},
	{Name: "deleteEntry", About: "Gone", Method: "DELETE", Path: agent, Status: 204},
	{Name: "deleteOnlyEntry", About: "Gone", Method: "DELETE", Path: theOrg, Status: 204},
	{Name: "clearMessages", About: "Gone, and what arrives late stays away", Method: "DELETE", Path: talk, Status: 204},
	{Name: "forgetPerson", About: "What was kept of a person, in all kinds", Method: "DELETE", Path: person, Status: 200},
	{Name: "invalidateOrganisation", About: "Everything of an organisation", Method: "POST", Path: "/api/v1/orgs/org-123/invalidate", Status: 200},
	{Name: "clearOrganisation", About: "What became invisible before is removed now", Method: "DELETE", Path: "/api/v1/orgs/org-123", Status: 200},
	{Name: "clearAll", About: "Everything, if it is said twice", Method: "DELETE", Path: "/api/v1/all?confirm=all", Status: 200},
}

// withoutSample are operations whose answer is this description, has no end, or
// is not there without a setting.
var withoutSample = []string{"showDocs", "readDescription", "watchOperations", "readMetrics"}

// TestSamples: what the description shows was really sent and received, and a
// server answers the same today.
func TestSamples(t *testing.T) {
	f := start(t, jackcache.Options{Directory: true}, Options{Version: "1.0.0"})
	var got []sample
	for _, s := range sampleSteps {
		a := f.want(s.Status, s.Method, s.Path, s.Body, s.Header...)
		for _, name := range []string{"Content-Type", "Etag", "Cache-Status", "Age", "Trailer"} {
			for _, v := range a.header[name] {
				s.Told = append(s.Told, name+": "+v)
			}
		}
		s.Answer = a.body
		got = append(got, s)
	}
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("openapi_samples.json", append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	var kept []sample
	if err := json.Unmarshal(samplesFile, &kept); err != nil {
		t.Fatal(err)
	}
	const how = "run go test ./httpapi -run TestSamples -update, and read what changed"
	if len(kept) != len(got) {
		t.Fatalf("%d samples are kept, %d were received; %s", len(kept), len(got), how)
	}
	for i := range got {
		if a, b := masked(t, kept[i]), masked(t, got[i]); a != b {
			t.Errorf("%s %s: kept is\n%s\nreceived was\n%s\n%s", got[i].Method, got[i].Path, a, b, how)
		}
	}
	for _, rt := range f.s.routes() {
		if len(withName(got, rt.name)) == 0 && !slices.Contains(withoutSample, rt.name) {
			t.Errorf("%s %s has no sample", rt.method, rt.pattern)
		}
	}
}

func withName(all []sample, name string) []sample {
	return slices.DeleteFunc(slices.Clone(all), func(s sample) bool { return s.Name != name })
}

var (
	anyID     = regexp.MustCompile(`"?\b[0-9a-f]{16,20}\b"?`)
	anyNumber = regexp.MustCompile(`[0-9]+(\.[0-9]+)?(e-?[0-9]+)?`)
)

// masked is a sample without what differs each time.
func masked(t *testing.T, s sample) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return anyNumber.ReplaceAllString(anyID.ReplaceAllString(strings.ReplaceAll(string(b), `\"`, `"`), `"id"`), "0")
}
