package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is one operation, with what its description at /openapi.json and /docs
// says. The groups of Server.groups are the only list of them.
type route struct {
	name                     string // of the operation, for generated clients
	method, pattern, summary string
	query                    []string // the parameters it knows; each is described in openapi_parameters.go
	open                     bool     // served without a token
	moreWithToken            bool     // open, and tells more with the token, which must be right if it comes
	anyHost                  bool     // served whatever Options.LoopbackHosts says
	handle                   func(*exchange) error

	takes string // the body, by its name in bodies
	gives answers
	does  access // to the store
}

// answers are what a route answers with, by status: the name in bodies, empty
// where there is none. From 400 on it is a problem, and the statuses that
// follow from the rest of the route are not listed: see Server.failures.
type answers map[int]string

// access is what a route does to the store, which says how that can fail.
type access uint8

const (
	nothing access = iota
	reads
	writes
)

// group is a part of the table under one heading.
type group struct {
	title, about string
	routes       []route
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

func (s *Server) groups() []group {
	return []group{
		{"Conversations", "The messages between an organisation and a phone, oldest first.", s.conversationRoutes()},
		{"Summaries", "What a conversation was about. A summary lives as long as its own kind says.", s.summaryRoutes()},
		{"Leads", "Which lead a phone belongs to, and the way back.", s.leadRoutes()},
		{"Entries", "Values of every other kind: any JSON, given back byte for byte. The ETag is the version.", s.entryRoutes()},
		{"Organisations", "What reaches beyond one key of an organisation.", s.orgRoutes()},
		{"Operators", "Import, export, and keys of all organisations as they are stored.", s.operatorRoutes()},
		{"Service", "How the server is, and what it can do.", s.serviceRoutes()},
	}
}

func (s *Server) routes() []route {
	var all []route
	for _, g := range s.groups() {
		all = append(all, g.routes...)
	}
	return all
}

func (s *Server) conversationRoutes() []route {
	return []route{
		{name: "appendMessages", method: "POST", pattern: messages, handle: s.appendMessages, summary: "Append a message or an array of them",
			takes: "NewMessages", gives: answers{200: "Appended", 201: "Appended", 202: "Appended", 409: ""}, does: writes},
		{name: "readMessages", method: "GET", pattern: messages, handle: s.getMessages, query: []string{"last", "maxBytes", "maxTokens"}, summary: "Read messages, restricted by ?last=, ?maxTokens= and ?maxBytes=",
			gives: answers{200: "Messages", 404: ""}, does: reads},
		{name: "replaceMessages", method: "PUT", pattern: messages, handle: s.replaceMessages, summary: "Replace all messages",
			takes: "AllMessages", gives: answers{200: "Appended", 202: "Appended", 409: ""}, does: writes},
		{name: "clearMessages", method: "DELETE", pattern: messages, handle: s.clearMessages, summary: "Clear a conversation",
			gives: answers{202: "Accepted", 204: ""}, does: writes},
		{name: "listConversations", method: "GET", pattern: orgs + "/conversations", handle: s.listConversations, query: []string{"cursor", "limit"}, summary: "List conversations, by ?cursor= and ?limit=",
			gives: answers{200: "Conversations"}, does: reads},
		{name: "forgetPerson", method: "DELETE", pattern: conversation, handle: s.forget, summary: "Forget a person",
			gives: answers{200: "Forgotten", 202: "Forgotten"}, does: writes},
	}
}

func (s *Server) summaryRoutes() []route {
	return []route{
		{name: "writeSummary", method: "PUT", pattern: summary, handle: s.putSummary, summary: "Write a conversation's summary",
			takes: "Summary", gives: answers{200: "Written", 202: "Written", 412: ""}, does: writes},
		{name: "readSummary", method: "GET", pattern: summary, handle: s.getSummary, summary: "Read a conversation's summary",
			gives: answers{200: "StoredSummary", 304: "", 404: "", 412: ""}, does: reads},
		{name: "deleteSummary", method: "DELETE", pattern: summary, handle: s.deleteSummary, summary: "Delete a conversation's summary",
			gives: answers{202: "Accepted", 204: "", 412: ""}, does: writes},
	}
}

func (s *Server) leadRoutes() []route {
	return []route{
		{name: "linkPhone", method: "PUT", pattern: phoneLead, handle: s.putPhoneLead, summary: "Link a phone with a lead",
			takes: "Lead", gives: answers{200: "Link", 202: "Link"}, does: writes},
		{name: "readLeadOfPhone", method: "GET", pattern: phoneLead, handle: s.getPhoneLead, summary: "Read the lead of a phone",
			gives: answers{200: "StoredLead", 304: "", 404: "", 412: ""}, does: reads},
		{name: "unlinkPhone", method: "DELETE", pattern: phoneLead, handle: s.deletePhoneLead, summary: "Unlink a phone",
			gives: answers{202: "Accepted", 204: ""}, does: writes},
		{name: "linkLead", method: "PUT", pattern: leadPhone, handle: s.putLeadPhone, summary: "Link a lead with a phone",
			takes: "Phone", gives: answers{200: "Link", 202: "Link"}, does: writes},
		{name: "readPhoneOfLead", method: "GET", pattern: leadPhone, handle: s.getLeadPhone, summary: "Read the phone of a lead",
			gives: answers{200: "StoredPhone", 404: ""}, does: reads},
		{name: "unlinkLead", method: "DELETE", pattern: leadPhone, handle: s.deleteLeadPhone, summary: "Unlink a lead",
			gives: answers{202: "Accepted", 204: ""}, does: writes},
		{name: "linkPhoneInDirectory", method: "PUT", pattern: directory, handle: inDirectory(s.putPhoneLead), summary: "Link a phone with a lead in the directory",
			takes: "Lead", gives: answers{200: "Link", 202: "Link", 403: ""}, does: writes},
		{name: "readLeadInDirectory", method: "GET", pattern: directory, handle: inDirectory(s.getPhoneLead), summary: "Read the lead of a phone in the directory without an organisation",
			gives: answers{200: "StoredLead", 304: "", 403: "", 404: "", 412: ""}, does: reads},
		{name: "unlinkPhoneInDirectory", method: "DELETE", pattern: directory, handle: inDirectory(s.deletePhoneLead), summary: "Unlink a phone in the directory",
			gives: answers{202: "Accepted", 204: "", 403: ""}, does: writes},
	}
}

func (s *Server) entryRoutes() []route {
	return []route{
		{name: "writeEntry", method: "PUT", pattern: entry, handle: s.putEntry, summary: "Write a value",
			takes: "Value", gives: answers{200: "Written", 202: "Written", 412: ""}, does: writes},
		{name: "readEntry", method: "GET", pattern: entry, handle: s.getEntry, summary: "Read a value",
			gives: answers{200: "StoredValue", 304: "", 404: "", 412: ""}, does: reads},
		{name: "deleteEntry", method: "DELETE", pattern: entry, handle: s.deleteEntry, summary: "Delete a value",
			gives: answers{202: "Accepted", 204: "", 412: ""}, does: writes},
		{name: "writeOnlyEntry", method: "PUT", pattern: onlyEntry, handle: s.putEntry, summary: "Write the value of a kind without ids",
			takes: "Value", gives: answers{200: "Written", 202: "Written", 412: ""}, does: writes},
		{name: "readOnlyEntry", method: "GET", pattern: onlyEntry, handle: s.getEntry, summary: "Read the value of a kind without ids",
			gives: answers{200: "StoredValue", 304: "", 404: "", 412: ""}, does: reads},
		{name: "deleteOnlyEntry", method: "DELETE", pattern: onlyEntry, handle: s.deleteEntry, summary: "Delete the value of a kind without ids",
			gives: answers{202: "Accepted", 204: "", 412: ""}, does: writes},
	}
}

func (s *Server) orgRoutes() []route {
	return []route{
		{name: "readBatch", method: "POST", pattern: orgs + "/batch", handle: s.batch, summary: "Several reads in one call",
			takes: "Reads", gives: answers{200: "Results"}, does: reads},
		{name: "invalidateOrganisation", method: "POST", pattern: orgs + "/invalidate", handle: s.invalidate, summary: "Make everything of an organisation invisible",
			gives: answers{200: "Invalidated", 202: "Invalidated"}, does: writes},
		{name: "clearOrganisation", method: "DELETE", pattern: orgs, handle: s.clearOrg, summary: "Remove everything of an organisation from the store",
			gives: answers{200: "Cleared"}, does: writes},
	}
}

func (s *Server) operatorRoutes() []route {
	return []route{
		{name: "importLines", method: "POST", pattern: "/api/v1/import", handle: s.importAll, query: []string{"directory", "dryRun"}, summary: "Import NDJSON, plain or gzip",
			takes: "Lines", gives: answers{200: "ImportReport", 503: ""}}, // what the store does is told line by line
		{name: "exportLines", method: "GET", pattern: "/api/v1/export", handle: s.exportAll, query: []string{"directory", "kind", "org"}, summary: "Export NDJSON, restricted by ?org= and ?kind=",
			gives: answers{200: "ExportedLines"}, does: reads},
		{name: "clearAll", method: "DELETE", pattern: "/api/v1/all", handle: s.clearAll, query: []string{"confirm"}, summary: "Remove everything of all organisations, where ?confirm=all says so",
			gives: answers{200: "Cleared"}, does: writes},
		{name: "listKeys", method: "GET", pattern: "/api/v1/keys", handle: s.listKeys, query: []string{"cursor", "kind", "limit", "org"}, summary: "List the keys of ?kind= as they are stored, restricted by ?org=",
			gives: answers{200: "Keys"}, does: reads},
		{name: "inspectKey", method: "GET", pattern: "/api/v1/inspect", handle: s.inspect, query: []string{"key"}, summary: "Read what ?key= of the store holds",
			gives: answers{200: "Key", 404: ""}, does: reads},
		{name: "watchOperations", method: "GET", pattern: "/api/v1/monitor", handle: s.monitor, query: []string{"errors", "kind", "op", "org", "sample"}, summary: "Operations of this server as they end, as Server-Sent Events without values and with ids masked",
			gives: answers{200: "Operations", 503: ""}},
	}
}

func (s *Server) serviceRoutes() []route {
	all := []route{
		{name: "showIndex", method: "GET", pattern: "/{$}", handle: s.getIndex, summary: "Where to go from here",
			gives: answers{200: "Text"}},
		{name: "showDocs", method: "GET", pattern: "/docs", handle: s.getDocs, open: true, summary: "This description, for people",
			gives: answers{200: "Page"}},
		{name: "readDescription", method: "GET", pattern: "/openapi.json", handle: s.getOpenAPI, open: true, summary: "This description, for programs: OpenAPI 3.1",
			gives: answers{200: "Description"}},
		{name: "checkAlive", method: "GET", pattern: "/livez", handle: s.getLive, open: true, anyHost: true, summary: "Whether the process runs; never touches the store",
			gives: answers{200: "Text"}},
		{name: "checkReady", method: "GET", pattern: "/readyz", handle: s.getReady, open: true, anyHost: true, summary: "Whether requests should be sent here",
			gives: answers{200: "Text", 503: "Text"}},
		{name: "readHealth", method: "GET", pattern: "/api/health", handle: s.getHealth, open: true, moreWithToken: true, summary: "Health; without the token the status only",
			gives: answers{200: "Health", 503: "Health"}},
		{name: "readStats", method: "GET", pattern: "/api/cache/stats", handle: s.getStats, summary: "Counters and latencies",
			gives: answers{200: "Stats"}},
	}
	if s.opts.Metrics != nil {
		all = append(all, route{name: "readMetrics", method: "GET", pattern: "/metrics", handle: s.getMetrics, open: s.opts.MetricsOpen,
			summary: "What is measured, for Prometheus", gives: answers{200: "Text"}})
	}
	return all
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
		mux.Handle(pattern, s.handler(route{pattern: pattern, handle: func(x *exchange) error {
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
		x.route = rt.pattern
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
