package httpapi

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/jackcache/jackcache"
)

// conventions is what holds for all operations.
func conventions(s *Server) string {
	return fmt.Sprintf(`Working state of assistants: conversations, summaries, lead mappings and other values, apart per organisation.

Bodies are JSON in UTF-8 of at most %d bytes, but for imports. Clients ignore fields of answers that they do not know: later versions add some. A parameter that an operation does not know is refused.

Errors are problem details (RFC 9457) as application/problem+json; their type says what happened, and instance is the id of the request, which X-Request-Id has, too. After 503 nothing was stored, but where the type is /problems/outcome-unknown, and an invalidation is done where it is /problems/unseen; to repeat a write is safe: a message with the same id is stored once, and a value is replaced by itself.

A path that is no operation's answers 404 with /problems/no-route, another method 405 with Allow. HEAD is answered like GET, without the body. What is no HTTP, or has more than %d KiB of header fields, is refused by the HTTP server itself, in plain text.`,
		s.opts.MaxBody, MaxHeaderBytes>>10)
}

// meanings are of problems whose detail depends on the request.
var meanings = map[string]string{
	"invalid":            "the path, a parameter, a header or the body is not allowed; the detail says what is",
	"conflict":           "a message id is stored with another role or content; nothing was stored",
	"too-large":          "the body, a message or a value is over a limit, which the detail names",
	"disabled":           "the feature is off; the detail names its setting",
	"unauthorized":       "the token is missing or wrong",
	"cross-origin":       "a web page of another origin wants to write here",
	"wrong-host":         "this server has no token and answers to localhost alone",
	"busy":               "as many of these calls are under way as this server takes at a time; repeat it later",
	"media-type":         "the Content-Type or Content-Encoding is not allowed",
	"no-route":           "there is nothing at this path",
	"method-not-allowed": "the path has other methods, which Allow names",
}

func whole(low, high int) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "integer", Minimum: jsonschema.Ptr(float64(low)), Maximum: jsonschema.Ptr(float64(high)),
	}
}

func someText(most int) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", MinLength: jsonschema.Ptr(1), MaxLength: jsonschema.Ptr(most)}
}

// maxPart is the longest part of a key in bytes, before it is escaped.
const maxPart = 128

// known are the parameters of paths and queries. A name with its route before
// it goes before the name alone.
func (s *Server) known() map[string]parameter {
	entries, only, stored := s.kindNames()
	kindIn := func(names []string) *jsonschema.Schema {
		k := &jsonschema.Schema{Type: "string"}
		for _, n := range names {
			k.Enum = append(k.Enum, n)
		}
		return k
	}
	return map[string]parameter{
		"{org}": {Description: "The organisation: 1 to 128 bytes of UTF-8 without control characters, but not . or .. ; escaped as %XX as URLs want it.",
			Schema: someText(maxPart), Example: "org-123"},
		"{phone}": {Description: "A phone number in any spelling: +16049085474, tel:+1-604-908-5474, whatsapp:+16049085474, (604) 908-5474. After + or 00 it has 3 to 15 digits; without, it is read in the region of JACKCACHE_PHONE_REGION.",
			Schema: someText(maxPart), Example: "+16049085474"},
		"{lead}":             {Description: "The id of a lead: 1 to 128 bytes, as for organisations.", Schema: someText(maxPart), Example: "lead-7"},
		"{id}":               {Description: "The id of the value: 1 to 128 bytes, as for organisations; for kinds that are kept by phone, a phone number in any spelling.", Schema: someText(maxPart), Example: "sales"},
		entry + "{kind}":     {Description: "The kind of the value.", Schema: kindIn(entries), Example: "agentConfig"},
		onlyEntry + "{kind}": {Description: "The kind of the value.", Schema: kindIn(only), Example: "organizationData"},

		"?last":      {Description: "The most messages, from the newest back.", Schema: whole(1, jackcache.MaxWindow)},
		"?maxBytes":  {Description: "The most bytes of JSON, all messages together, from the newest back.", Schema: whole(1, math.MaxInt32)},
		"?maxTokens": {Description: "The most tokens, as this server estimates them, from the newest back.", Schema: whole(1, math.MaxInt32)},
		"?cursor":    {Description: "The cursor of the page before; left out: from the start.", Schema: &jsonschema.Schema{Type: "string"}},
		"?limit":     {Description: "About how many entries a page has; left out: 100.", Schema: whole(1, jackcache.MaxList)},
		"?directory": {Description: "With the phones of the directory without an organisation.", Schema: &jsonschema.Schema{Type: "boolean"}},
		"?confirm":   {Description: "all, so that nobody empties everything by a slip.", Schema: &jsonschema.Schema{Type: "string", Enum: []any{"all"}}},
		"?dryRun":    {Description: "Read and report, write nothing.", Schema: &jsonschema.Schema{Type: "boolean"}},
		"?org":       {Description: "Only this organisation; left out: all.", Schema: someText(maxPart)},
		"?kind":      {Description: "Only this kind.", Schema: kindIn(stored), Required: true},
		"?key":       {Description: "The key as it is written in the store.", Schema: &jsonschema.Schema{Type: "string", MinLength: jsonschema.Ptr(1)}, Required: true},
		"/api/v1/export?kind": {Description: "Only this kind or map; may come several times. Left out: all.",
			Schema: &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "string"}}},
		"/api/v1/monitor?kind": {Description: "Only this kind; left out: all.", Schema: &jsonschema.Schema{Type: "string", MinLength: jsonschema.Ptr(1)}},
		"?op":                  {Description: "Only this operation, by its name in the stats; left out: all.", Schema: &jsonschema.Schema{Type: "string", MinLength: jsonschema.Ptr(1)}},
		"?errors":              {Description: "Only operations that failed.", Schema: &jsonschema.Schema{Type: "string", Enum: []any{"only"}}},
		"?sample":              {Description: "Tell of one of so many, left to chance; left out: of all.", Schema: whole(1, jackcache.MaxSample)},
	}
}

// kindNames are the kinds whose values have ids, those that have one value per
// organisation, and all that the store has.
func (s *Server) kindNames() (entries, only, stored []string) {
	stored = []string{jackcache.ConversationKind}
	for name, k := range s.a.Cache.Kinds() {
		if !k.LocalOnly {
			stored = append(stored, name)
		}
		switch _, other := elsewhere[name]; {
		case other:
		case k.ID == jackcache.NoID:
			only = append(only, name)
		default:
			entries = append(entries, name)
		}
	}
	slices.Sort(entries)
	slices.Sort(only)
	slices.Sort(stored)
	return entries, only, stored
}

var requestIDParameter = &parameter{
	Name: "X-Request-Id", In: "header",
	Description: "An id of the caller's for this request; one that is missing or not of this form is replaced.",
	Schema:      &jsonschema.Schema{Type: "string", Pattern: fmt.Sprintf("^[A-Za-z0-9._-]{1,%d}$", maxRequestID)},
}

// parameters are those of the path, of the query, and of the header.
func (d *describer) parameters(rt route) ([]*parameter, error) {
	var out []*parameter
	known := d.s.known()
	add := func(in, mark, name string) error {
		p, ok := known[rt.pattern+mark]
		if !ok {
			p, ok = known[mark]
		}
		if !ok {
			return fmt.Errorf("the parameter %s is not described in openapi_parameters.go", mark)
		}
		p.Name, p.In, p.Required = name, in, p.Required || in == "path"
		out = append(out, &p)
		return nil
	}
	for part := range strings.SplitSeq(documentPath(rt.pattern), "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			if err := add("path", part, strings.TrimSuffix(name, "}")); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range rt.query {
		if err := add("query", "?"+name, name); err != nil {
			return nil, err
		}
	}
	out = append(out, d.conditions(rt)...)
	if rt.takes == streamed {
		out = append(out, &parameter{
			Name: "Content-Encoding", In: "header", Description: "gzip is found out without it, too.",
			Schema: &jsonschema.Schema{Type: "string", Enum: []any{"gzip", "identity"}},
		})
	}
	return append(out, &parameter{Ref: "#/components/parameters/requestId"}), nil
}

// conditions are the header fields of conditional requests.
func (d *describer) conditions(rt route) []*parameter {
	if _, ok := rt.gives[http.StatusPreconditionFailed]; !ok {
		return nil
	}
	field := func(name, about, form string) *parameter {
		return &parameter{Name: name, In: "header", Description: about, Schema: &jsonschema.Schema{Type: "string", Pattern: form}}
	}
	if rt.method == http.MethodGet {
		return []*parameter{
			field("If-Match", "Answer 412 unless the value has one of these tags; * is any value.", ""),
			field("If-None-Match", "Answer 304 where the value has one of these tags.", ""),
		}
	}
	return []*parameter{
		field("If-Match", "Write only if the stored value has this tag, as ETag gave it. Not for kinds that stay in the process.", `^"[^", ]+"$`),
		field("If-None-Match", "Write only if nothing is stored.", `^\*$`),
	}
}

// headers are the fields of answers.
var headers = map[string]header{
	"X-Request-Id":     {Description: "The id of this request, for the server's log.", Required: true, Schema: &jsonschema.Schema{Type: "string"}},
	"ETag":             {Description: "The version of the value, in quotes.", Schema: &jsonschema.Schema{Type: "string", Pattern: `^"[0-9a-f]{20}"$`}},
	"Cache-Status":     {Description: "Where the value came from (RFC 9211): near is this process, shared the store.", Schema: &jsonschema.Schema{Type: "string", Enum: cacheStatuses()}},
	"Age":              {Description: "Seconds since the value was last known to be current (RFC 9111, section 5.1): 0 for shared and loader; for near, the age of the proof, which is below the freshness bound; for stale and pending, since this server wrote it, or since its copy was last proven.", Schema: &jsonschema.Schema{Type: "integer", Minimum: jsonschema.Ptr(0.0)}},
	"Retry-After":      {Description: "Seconds to wait before the request is repeated.", Required: true, Schema: &jsonschema.Schema{Type: "integer"}},
	"WWW-Authenticate": {Description: "What is wanted.", Required: true, Schema: &jsonschema.Schema{Type: "string"}},
	"Allow":            {Description: "The methods of the path.", Required: true, Schema: &jsonschema.Schema{Type: "string"}},
	"Trailer":          {Description: "Names the field behind the body: " + reportTrailer + " has the report of the export as JSON. Where it is missing the export is not whole.", Schema: &jsonschema.Schema{Type: "string"}},

	"X-Accel-Buffering":       {Description: "Tells nginx to send events on at once.", Schema: &jsonschema.Schema{Type: "string"}},
	"Content-Security-Policy": {Description: "Forbids the page to load anything.", Required: true, Schema: &jsonschema.Schema{Type: "string"}},
	"Referrer-Policy":         {Description: "Always no-referrer.", Required: true, Schema: &jsonschema.Schema{Type: "string"}},
}

func cacheStatuses() []any {
	all := map[string]bool{missed[0]: true}
	for _, h := range hits {
		all[h[0]] = true
	}
	out := []any{}
	for _, h := range slices.Sorted(maps.Keys(all)) {
		out = append(out, h)
	}
	return out
}
