package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// document is an OpenAPI 3.1 description, as much of it as this server needs.
type document struct {
	OpenAPI    string                           `json:"openapi"`
	Info       documentInfo                     `json:"info"`
	Tags       []documentTag                    `json:"tags"`
	Paths      map[string]map[string]*operation `json:"paths"` // by path and method
	Components components                       `json:"components"`
	Security   []map[string][]string            `json:"security,omitempty"`

	groups []group
}

type documentInfo struct {
	Title       string `json:"title"`
	Version     string `json:"version"`
	Description string `json:"description"`
}

type documentTag struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

type operation struct {
	OperationID string                 `json:"operationId"`
	Tags        []string               `json:"tags"`
	Summary     string                 `json:"summary"`
	Parameters  []*parameter           `json:"parameters"`
	RequestBody *requestBody           `json:"requestBody,omitempty"`
	Responses   map[string]*response   `json:"responses"`
	Security    *[]map[string][]string `json:"security,omitempty"` // nil: that of the document
}

type parameter struct {
	Ref         string             `json:"$ref,omitempty"`
	Name        string             `json:"name,omitempty"`
	In          string             `json:"in,omitempty"`
	Description string             `json:"description,omitempty"`
	Required    bool               `json:"required,omitempty"`
	Schema      *jsonschema.Schema `json:"schema,omitempty"`
	Example     string             `json:"example,omitempty"`
}

type requestBody struct {
	Description string               `json:"description"`
	Required    bool                 `json:"required"`
	Content     map[string]mediaType `json:"content"`
}

type response struct {
	Ref         string               `json:"$ref,omitempty"`
	Description string               `json:"description,omitempty"`
	Headers     map[string]header    `json:"headers,omitempty"`
	Content     map[string]mediaType `json:"content,omitempty"`
}

type mediaType struct {
	Schema   *jsonschema.Schema        `json:"schema"`
	Examples map[string]documentSample `json:"examples,omitempty"`
}

type documentSample struct {
	Summary string `json:"summary"`
	Value   any    `json:"value"`
}

type header struct {
	Ref         string             `json:"$ref,omitempty"`
	Description string             `json:"description,omitempty"`
	Required    bool               `json:"required,omitempty"`
	Schema      *jsonschema.Schema `json:"schema,omitempty"`
}

type components struct {
	Schemas         map[string]*jsonschema.Schema `json:"schemas"`
	Responses       map[string]*response          `json:"responses"`
	Parameters      map[string]*parameter         `json:"parameters"`
	Headers         map[string]header             `json:"headers"`
	SecuritySchemes map[string]securityScheme     `json:"securitySchemes,omitempty"`
}

type securityScheme struct {
	Type        string `json:"type"`
	Scheme      string `json:"scheme"`
	Description string `json:"description"`
}

const (
	schemaRef   = "#/components/schemas/"
	responseRef = "#/components/responses/"
	headerRef   = "#/components/headers/"
	tokenScheme = "token"
)

// describer makes the description of a server.
type describer struct {
	s       *Server
	bodies  map[string]body
	samples map[string][]sample // by the name of the operation
}

// describe makes the description from the route table.
func (s *Server) describe() (*document, error) {
	samples, err := readSamples()
	if err != nil {
		return nil, err
	}
	schemas, bodies, err := s.describeBodies()
	if err != nil {
		return nil, err
	}
	d := describer{s: s, bodies: bodies, samples: samples}
	doc := &document{
		OpenAPI: "3.1.0",
		Info:    documentInfo{Title: "jackcache", Version: s.opts.Version, Description: conventions(s)},
		Paths:   make(map[string]map[string]*operation),
		Components: components{
			Schemas: schemas, Responses: problemResponses(), Headers: headers,
			Parameters: map[string]*parameter{"requestId": requestIDParameter},
		},
		groups: s.groups(),
	}
	if s.opts.Token != "" {
		doc.Security = []map[string][]string{{tokenScheme: {}}}
		doc.Components.SecuritySchemes = map[string]securityScheme{
			tokenScheme: {Type: "http", Scheme: "bearer", Description: "The server's JACKCACHE_API_TOKEN."},
		}
	}
	for _, g := range doc.groups {
		doc.Tags = append(doc.Tags, documentTag{Name: g.title, Description: g.about})
		for _, rt := range g.routes {
			op, err := d.operation(g, rt)
			if err != nil {
				return nil, fmt.Errorf("describe %s %s: %w", rt.method, rt.pattern, err)
			}
			path := documentPath(rt.pattern)
			if doc.Paths[path] == nil {
				doc.Paths[path] = make(map[string]*operation)
			}
			doc.Paths[path][strings.ToLower(rt.method)] = op
		}
	}
	return doc, nil
}

// documentPath is the pattern without what is the multiplexer's alone.
func documentPath(pattern string) string { return strings.TrimSuffix(pattern, "{$}") }

func (d *describer) operation(g group, rt route) (*operation, error) {
	if rt.name == "" || rt.summary == "" || len(rt.gives) == 0 {
		return nil, fmt.Errorf("the route wants a name, a summary and what it gives")
	}
	op := &operation{
		OperationID: rt.name, Tags: []string{g.title}, Summary: rt.summary,
		Responses: make(map[string]*response),
	}
	var err error
	if op.Parameters, err = d.parameters(rt); err != nil {
		return nil, err
	}
	if rt.takes != "" {
		b, ok := d.bodies[rt.takes]
		if !ok {
			return nil, fmt.Errorf("no body is called %q", rt.takes)
		}
		op.RequestBody = &requestBody{Description: b.about, Required: true, Content: b.content(d.given(rt))}
	}
	for status, name := range rt.gives {
		if op.Responses[strconv.Itoa(status)], err = d.response(rt, status, name); err != nil {
			return nil, err
		}
	}
	for _, status := range d.s.failures(rt) {
		if _, told := rt.gives[status]; !told {
			op.Responses[strconv.Itoa(status)] = &response{Ref: responseRef + problemName(status)}
		}
	}
	op.Security = d.security(rt)
	return op, nil
}

// security is nil where the document's holds.
func (d *describer) security(rt route) *[]map[string][]string {
	switch {
	case d.s.opts.Token == "" || !rt.open:
		return nil
	case rt.moreWithToken:
		return &[]map[string][]string{{}, {tokenScheme: {}}}
	}
	return &[]map[string][]string{}
}

func (d *describer) response(rt route, status int, name string) (*response, error) {
	if name == "" && status >= http.StatusBadRequest {
		return &response{Ref: responseRef + problemName(status)}, nil
	}
	r := &response{Description: http.StatusText(status), Headers: refHeaders("X-Request-Id")}
	if name == "" {
		if status == http.StatusNotModified {
			r.Headers = refHeaders("X-Request-Id", "ETag", "Cache-Status", "Age")
		}
		return r, nil
	}
	b, ok := d.bodies[name]
	if !ok {
		return nil, fmt.Errorf("no body is called %q", name)
	}
	r.Description = b.about
	r.Headers = refHeaders(append([]string{"X-Request-Id"}, b.headers...)...)
	r.Content = b.content(d.received(rt, status))
	return r, nil
}

func refHeaders(names ...string) map[string]header {
	out := make(map[string]header, len(names))
	for _, name := range names {
		out[name] = header{Ref: headerRef + name}
	}
	return out
}

// failures are the statuses that follow from what a route is.
func (s *Server) failures(rt route) []int {
	fails := []int{http.StatusInternalServerError, http.StatusBadRequest}
	if rt.open {
		fails = fails[:1] // its path has no parameters, and it takes any query
	}
	if s.opts.Token != "" && (!rt.open || rt.moreWithToken) {
		fails = append(fails, http.StatusUnauthorized)
	}
	if rt.method != http.MethodGet || s.opts.LoopbackHosts && !rt.anyHost {
		fails = append(fails, http.StatusForbidden)
	}
	if rt.takes != "" {
		fails = append(fails, http.StatusRequestTimeout, http.StatusUnsupportedMediaType)
		if rt.takes != streamed {
			fails = append(fails, http.StatusRequestEntityTooLarge)
		}
	}
	if rt.does != nothing {
		fails = append(fails, http.StatusBadGateway, http.StatusServiceUnavailable)
	}
	if rt.does == writes {
		fails = append(fails, http.StatusInsufficientStorage)
	}
	slices.Sort(fails)
	return fails
}

// bytes are the document as it is served.
func (d *document) bytes() ([]byte, error) {
	b, err := json.MarshalIndent(d, "", " ")
	return append(b, '\n'), err
}

// operations are those of the paths in the order of the route table.
func (d *document) operation(rt route) *operation {
	return d.Paths[documentPath(rt.pattern)][strings.ToLower(rt.method)]
}

// problemStatuses are the statuses of verdicts that an answer can have.
func problemStatuses() []int {
	found := make(map[int]bool)
	for _, v := range verdicts {
		found[v.status] = v.status != statusClientGone
	}
	maps.DeleteFunc(found, func(_ int, told bool) bool { return !told })
	return slices.Sorted(maps.Keys(found))
}

func problemName(status int) string { return "Problem" + strconv.Itoa(status) }

// problemResponses has one answer for each status of the verdicts.
func problemResponses() map[string]*response {
	extra := map[int][]string{
		http.StatusUnauthorized: {"WWW-Authenticate"}, http.StatusServiceUnavailable: {"Retry-After"},
		http.StatusMethodNotAllowed: {"Allow"}, http.StatusNotFound: {"Cache-Status"},
		http.StatusPreconditionFailed: {"ETag", "Cache-Status", "Age"},
	}
	out := make(map[string]*response)
	for _, status := range problemStatuses() {
		var b strings.Builder
		for _, v := range verdicts {
			if v.status == status {
				fmt.Fprintf(&b, "- `/problems/%s`: %s\n", v.name, problemMeaning(v))
			}
		}
		out[problemName(status)] = &response{
			Description: strings.TrimSpace(b.String()),
			Headers:     refHeaders(append([]string{"X-Request-Id"}, extra[status]...)...),
			Content:     map[string]mediaType{asProblem[0]: {Schema: &jsonschema.Schema{Ref: schemaRef + "Problem"}}},
		}
	}
	return out
}

// problemMeaning says when a problem comes, where its detail always differs.
func problemMeaning(v verdict) string {
	if v.detail != "" {
		return v.detail
	}
	if m := meanings[v.name]; m != "" {
		return m
	}
	return strings.ToLower(v.title)
}
