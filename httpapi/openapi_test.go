package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/content"
	"github.com/pb33f/libopenapi-validator/errors"
)

// replayer sends requests to a server and holds them and the answers against
// the description that the server gives of itself.
type replayer struct {
	*fixture
	description validator.Validator
	told        claims // what is described
	seen        coverage
}

// claims has the header fields of answers, by operation and status.
type claims map[string]map[string]map[string]bool

// coverage has the statuses that were received, by operation.
type coverage map[string]map[int]bool

// undescribed are header fields that every answer has, and HTTP's own.
var undescribed = []string{
	"Cache-Control", "Connection", "Content-Length", "Content-Type", "Content-Encoding", "Date", "Transfer-Encoding", "X-Content-Type-Options",
}

func newReplayer(f *fixture, seen coverage) *replayer {
	f.t.Helper()
	// Without a socket: some servers are in too much of a hurry for it.
	answer, req := httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost/openapi.json", nil)
	f.s.ServeHTTP(answer, req)
	v, told, err := understand(tightened(f.t, answer.Body.String()))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(v.Release)
	return &replayer{fixture: f, description: v, told: told, seen: seen}
}

// TestBrokenDescription: what is wrong in a description is found.
func TestBrokenDescription(t *testing.T) {
	f := newFixture(t)
	text := string(tightened(t, f.want(200, "GET", "/openapi.json", "").body))
	req := func() *http.Request {
		r := &replayer{fixture: f}
		return r.request("POST", talk, theHello, "Content-Type: application/json")
	}
	a := f.want(201, "POST", talk, theHello, "Content-Type: application/json")
	for what, change := range map[string][2]string{
		"nothing":                 {"", ""},
		"a wrong type":            {`"duplicates":{"description":"How many were stored before.","type":"integer"}`, `"duplicates":{"type":"string"}`},
		"a field that is missing": {`"duplicates":{"description":"How many were stored before.","type":"integer"},`, ``},
		"a status":                {`"201":{"content"`, `"299":{"content"`},
		"a path":                  {`"/api/v1/orgs/{org}/conversations/{phone}/messages":`, `"/api/v1/orgs/{org}/conversations/{phone}/message":`},
		"a header field":          {`"headers":{"X-Request-Id":{"$ref":"#/components/headers/X-Request-Id"}}`, `"headers":{}`},
		"the body of a request":   {`"properties":{"content":{"description":"The text, or any other JSON."}`, `"properties":{"content":{"type":"integer"}`},
		"the form of a document":  {`"openapi":"3.1.0"`, `"openapi":"3.1.0","pathss":{}`},
	} {
		broken := strings.ReplaceAll(text, change[0], change[1])
		if change[0] == "" {
			broken = text
		} else if broken == text {
			t.Errorf("%s: there is no %s to break", what, change[0])
			continue
		}
		v, told, err := understand([]byte(broken))
		if err == nil {
			r := &replayer{fixture: f, description: v, told: told}
			err = r.check("appendMessages", req(), a)
			v.Release()
		}
		if (err != nil) != (change[0] != "") {
			t.Errorf("with %s broken: %v", what, err)
		}
	}
}

// understand reads a description, which must be one by the schema of OpenAPI 3.1.
func understand(text []byte) (validator.Validator, claims, error) {
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, nil, err
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		return nil, nil, err
	}
	v, wrong := validator.NewValidator(doc, config.WithFormatAssertions(), config.WithStandardBodyDecoders(),
		config.WithBodyDecoder(asNDJSON[0], content.TextDecoder()), config.WithRejectUndeclaredRequestBody())
	if len(wrong) > 0 {
		return nil, nil, wrong[0]
	}
	if ok, wrong := v.ValidateDocument(); !ok {
		return nil, nil, fmt.Errorf("not OpenAPI 3.1: %s", reasons(wrong))
	}
	told := make(claims)
	for _, path := range model.Model.Paths.PathItems.FromOldest() {
		for _, op := range path.GetOperations().FromOldest() {
			told[op.OperationId] = make(map[string]map[string]bool)
			for status, answer := range op.Responses.Codes.FromOldest() {
				told[op.OperationId][status] = make(map[string]bool)
				for name := range answer.Headers.FromOldest() {
					told[op.OperationId][status][http.CanonicalHeaderKey(name)] = true
				}
			}
		}
	}
	return v, told, nil
}

// open are the schemas of what callers give fields of their own.
var open = []string{"Message", "Summary"}

// tightened is a description that allows no fields but those that it names, so
// that the server has none that it forgot.
func tightened(t testing.TB, text string) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	for name, schema := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
		if !slices.Contains(open, name) {
			tighten(schema)
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tighten(schema any) {
	switch v := schema.(type) {
	case []any:
		for _, inner := range v {
			tighten(inner)
		}
	case map[string]any:
		for _, inner := range v {
			tighten(inner)
		}
		if _, object := v["properties"].(map[string]any); object && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
	}
}

func reasons(wrong []*errors.ValidationError) string {
	var all []string
	for _, w := range wrong {
		text := w.Message + ": " + w.Reason
		for _, s := range w.SchemaValidationErrors {
			text += fmt.Sprintf("; %s at %s", s.Reason, s.KeywordLocation)
		}
		all = append(all, text)
	}
	return strings.Join(all, "\n\t")
}

// replay sends a request. It must be as described where the server takes it,
// and the answer must be as described in any case.
func (r *replayer) replay(status int, method, path, body string, extra ...string) answer {
	r.t.Helper()
	res, err := r.client.Do(r.request(method, path, body, extra...))
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatalf("%s %s: body: %v", method, path, err)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(got)}
	r.hold(status, a, r.request(method, path, body, extra...))
	return a
}

// hold holds an answer and the request for it against the description.
func (r *replayer) hold(status int, a answer, req *http.Request) {
	r.t.Helper()
	op := r.operation(req)
	if op == "" {
		r.t.Fatalf("%s %s is no operation", req.Method, req.URL)
	}
	if r.seen[op] == nil {
		r.seen[op] = make(map[int]bool)
	}
	r.seen[op][a.status] = true
	if a.status != status {
		r.t.Errorf("%s %s: %d %s, want %d", req.Method, req.URL, a.status, a.body, status)
	}
	if a.status >= 400 && a.header.Get("Content-Type") == asProblem[0] {
		a.problem(r.t)
	}
	if err := r.check(op, req, a); err != nil {
		r.t.Errorf("%s %s: %d\n\t%v\n%.300s", req.Method, req.URL, a.status, err, a.body)
	}
}

func (r *replayer) check(op string, req *http.Request, a answer) error {
	fields, told := r.told[op][fmt.Sprint(a.status)]
	if !told {
		return fmt.Errorf("%s: the status %d is not described", op, a.status)
	}
	for name := range a.header {
		if !fields[name] && !slices.Contains(undescribed, name) {
			return fmt.Errorf("%s %d: the header field %s is not described", op, a.status, name)
		}
	}
	if a.status < 400 {
		if ok, wrong := r.description.ValidateHttpRequestSync(req); !ok {
			return fmt.Errorf("the request: %s", reasons(wrong))
		}
	}
	res := &http.Response{
		StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body)), Request: req,
		ContentLength: int64(len(a.body)),
	}
	if ok, wrong := r.description.ValidateHttpResponse(req, res); !ok {
		return fmt.Errorf("the answer: %s", reasons(wrong))
	}
	return nil
}

func (r *replayer) request(method, path, body string, extra ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range extra {
		name, value, _ := strings.Cut(e, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	return req
}

// operation is the name of the route that serves a request; empty: none does.
func (r *replayer) operation(req *http.Request) string {
	_, pattern := r.s.mux.Handler(req)
	i := slices.IndexFunc(r.s.routes(), func(rt route) bool { return rt.method+" "+rt.pattern == pattern })
	if i < 0 {
		return ""
	}
	return r.s.routes()[i].name
}
