package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is one operation. The table in Server.routes is the only list of them.
type route struct {
	method, pattern, summary string
	query                    []string // the parameters it knows
	open                     bool     // served without a token
	anyHost                  bool     // served whatever Options.LoopbackHosts says
	handle                   func(*exchange) error
}

const (
	orgs         = "/api/v1/orgs/{org}"
	conversation = orgs + "/conversations/{phone}"
	messages     = conversation + "/messages"
	summary      = conversation + "/summary"
	phoneLead    = orgs + "/phone-leads/{phone}"
	leadPhone    = orgs + "/lead-phones/{lead}"
	directory    = "/api/v1/phone-leads/{phone}"
	entry        = orgs + "/entries/{kind}/{id}"
	onlyEntry    = orgs + "/entries/{kind}" // of kinds with one value per organisation
)

func (s *Server) routes() []route {
	return []route{
		{method: "GET", pattern: "/{$}", handle: s.getIndex, summary: "Where to go from here"},
		{method: "GET", pattern: "/livez", handle: s.getLive, open: true, anyHost: true, summary: "Whether the process runs; never touches the store"},
		{method: "GET", pattern: "/readyz", handle: s.getReady, open: true, anyHost: true, summary: "Whether requests should be sent here"},
		{method: "GET", pattern: "/api/health", handle: s.getHealth, open: true, summary: "Health; without the token the status only"},
		{method: "GET", pattern: "/api/cache/stats", handle: s.getStats, summary: "Counters and latencies"},

		{method: "GET", pattern: orgs + "/conversations", handle: s.listConversations, query: []string{"cursor", "limit"}, summary: "List conversations, by ?cursor= and ?limit="},
		{method: "DELETE", pattern: conversation, handle: s.forget, summary: "Forget a person"},
		{method: "GET", pattern: messages, handle: s.getMessages, query: []string{"last", "maxBytes", "maxTokens"}, summary: "Read messages, restricted by ?last=, ?maxTokens= and ?maxBytes="},
		{method: "POST", pattern: messages, handle: s.appendMessages, summary: "Append a message or an array of them"},
		{method: "PUT", pattern: messages, handle: s.replaceMessages, summary: "Replace all messages"},
		{method: "DELETE", pattern: messages, handle: s.clearMessages, summary: "Clear a conversation"},
		{method: "GET", pattern: summary, handle: s.getSummary, summary: "Read a conversation's summary"},
		{method: "PUT", pattern: summary, handle: s.putSummary, summary: "Write a conversation's summary"},
		{method: "DELETE", pattern: summary, handle: s.deleteSummary, summary: "Delete a conversation's summary"},

		{method: "GET", pattern: phoneLead, handle: s.getPhoneLead, summary: "Read the lead of a phone"},
		{method: "PUT", pattern: phoneLead, handle: s.putPhoneLead, summary: "Link a phone with a lead"},
		{method: "DELETE", pattern: phoneLead, handle: s.deletePhoneLead, summary: "Unlink a phone"},
		{method: "GET", pattern: leadPhone, handle: s.getLeadPhone, summary: "Read the phone of a lead"},
		{method: "PUT", pattern: leadPhone, handle: s.putLeadPhone, summary: "Link a lead with a phone"},
		{method: "DELETE", pattern: leadPhone, handle: s.deleteLeadPhone, summary: "Unlink a lead"},
		{method: "GET", pattern: directory, handle: inDirectory(s.getPhoneLead), summary: "Read the lead of a phone in the directory without an organisation"},
		{method: "PUT", pattern: directory, handle: inDirectory(s.putPhoneLead), summary: "Link a phone with a lead in the directory"},
		{method: "DELETE", pattern: directory, handle: inDirectory(s.deletePhoneLead), summary: "Unlink a phone in the directory"},

		{method: "GET", pattern: entry, handle: s.getEntry, summary: "Read a value"},
		{method: "PUT", pattern: entry, handle: s.putEntry, summary: "Write a value"},
		{method: "DELETE", pattern: entry, handle: s.deleteEntry, summary: "Delete a value"},
		{method: "GET", pattern: onlyEntry, handle: s.getEntry, summary: "Read the value of a kind without ids"},
		{method: "PUT", pattern: onlyEntry, handle: s.putEntry, summary: "Write the value of a kind without ids"},
		{method: "DELETE", pattern: onlyEntry, handle: s.deleteEntry, summary: "Delete the value of a kind without ids"},

		{method: "POST", pattern: orgs + "/batch", handle: s.batch, summary: "Several reads in one call"},
		{method: "POST", pattern: orgs + "/invalidate", handle: s.invalidate, summary: "Make everything of an organisation invisible"},
		{method: "POST", pattern: "/api/v1/import", handle: s.importAll, query: []string{"directory", "dryRun"}, summary: "Import NDJSON, plain or gzip"},
		{method: "GET", pattern: "/api/v1/export", handle: s.exportAll, query: []string{"directory", "kind", "org"}, summary: "Export NDJSON, restricted by ?org= and ?kind="},
		{method: "GET", pattern: "/api/v1/keys", handle: s.listKeys, query: []string{"cursor", "kind", "limit", "org"}, summary: "List the keys of ?kind= as they are stored, restricted by ?org="},
		{method: "GET", pattern: "/api/v1/inspect", handle: s.inspect, query: []string{"key"}, summary: "Read what ?key= of the store holds"},
	}
}

func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	methods := make(map[string][]string)
	for _, rt := range s.routes() {
		mux.Handle(rt.method+" "+rt.pattern, s.handler(rt))
		methods[rt.pattern] = append(methods[rt.pattern], rt.method)
		if rt.method == "GET" {
			methods[rt.pattern] = append(methods[rt.pattern], "HEAD")
		}
	}
	for pattern, allowed := range methods {
		slices.Sort(allowed)
		allow := []string{strings.Join(allowed, ", ")}
		mux.Handle(pattern, s.handler(route{handle: func(x *exchange) error {
			x.Header()["Allow"] = allow
			return fmt.Errorf("%w: allowed are %s", errMethod, allow[0])
		}}))
	}
	mux.Handle("/", s.handler(route{handle: func(*exchange) error { return errRoute }}))
	return mux
}

// handler puts a route behind the checks that all share. The multiplexer is
// called with exchanges only.
func (s *Server) handler(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		err := s.authorize(x, rt)
		if err == nil {
			err = x.parseQuery(rt)
		}
		if err == nil {
			err = rt.handle(x)
		}
		if err != nil {
			x.fail(err)
		}
	})
}

// cleanPath reports whether no segment of the path is empty or made of dots,
// as it was sent. The multiplexer would redirect such a path to another one,
// which may be another organisation's.
func cleanPath(u *url.URL) bool {
	p := u.RawPath
	if p == "" {
		p = u.Path
	}
	if p == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(p, "/")
	for ok {
		var segment string
		if segment, rest, ok = strings.Cut(rest, "/"); segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return rest == "" && len(p) > 1
}
