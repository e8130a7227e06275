package httpapi

import (
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
)

func TestLeads(t *testing.T) {
	f := newFixture(t)
	const phone, lead = "/api/v1/orgs/org-123/phone-leads/+16049085474", "/api/v1/orgs/org-123/lead-phones/L7"
	f.wantProblem(404, "not-found", "GET", phone, "")
	f.wantProblem(404, "not-found", "GET", lead, "")

	f.want(200, "PUT", strings.Replace(phone, "+16049085474", "604-908-5474", 1), `{"leadId":"L7"}`).
		wantBody(t, `{"phone":"+16049085474","leadId":"L7","pending":false}`)
	f.want(200, "GET", phone, "").wantBody(t, `{"leadId":"L7"}`)
	f.want(200, "GET", lead, "").wantBody(t, `{"phone":"+16049085474"}`)
	f.want(404, "GET", strings.Replace(phone, "org-123", "other", 1), "")

	// The phone goes to another lead: the way back from the first is not believed.
	f.want(200, "PUT", "/api/v1/orgs/org-123/lead-phones/L8", `{"phone":"(604) 908-5474"}`)
	f.want(200, "GET", phone, "").wantBody(t, `{"leadId":"L8"}`)
	f.want(404, "GET", lead, "")

	f.want(204, "DELETE", phone, "")
	f.want(404, "GET", phone, "")
	f.want(404, "GET", "/api/v1/orgs/org-123/lead-phones/L8", "")
	f.want(200, "PUT", phone, `{"leadId":"L7"}`)
	f.want(204, "DELETE", lead, "")
	f.want(404, "GET", phone, "")
	f.want(204, "DELETE", lead, "")

	for _, bad := range []string{``, `{}`, `{"leadId":7}`, `{"leadId":""}`, `{"leadId":"."}`, `{"leadId":"` + strings.Repeat("x", 129) + `"}`, `[]`, `{"leadid":"x"}`} {
		f.wantProblem(400, "invalid", "PUT", phone, bad)
	}
	for _, bad := range []string{`{}`, `{"phone":16049085474}`, `{"phone":"nobody"}`, `{"phone":"` + strings.Repeat("1", 2000) + `"}`} {
		f.wantProblem(400, "invalid", "PUT", lead, bad)
	}
	f.want(404, "GET", phone, "")
	f.want(404, "GET", lead, "")
}

func TestDirectory(t *testing.T) {
	const path = "/api/v1/phone-leads/+16049085474"
	f := newFixture(t)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		p := f.wantProblem(403, "disabled", method, path, `{"leadId":"L7"}`)
		if !strings.Contains(p.Detail, "JACKCACHE_DIRECTORY") {
			t.Errorf("the refusal does not name the setting: %s", p.Detail)
		}
	}
	f = start(t, jackcache.Options{Directory: true}, Options{})
	f.want(404, "GET", path, "")
	f.want(200, "PUT", path, `{"leadId":"L7"}`)
	f.want(200, "GET", path, "").wantBody(t, `{"leadId":"L7"}`)
	f.want(404, "GET", "/api/v1/orgs/org-123/phone-leads/+16049085474", "")
	f.want(404, "GET", "/api/v1/orgs/+16049085474/phone-leads/+16049085474", "")
	f.want(204, "DELETE", path, "")
	f.want(404, "GET", path, "")
}
