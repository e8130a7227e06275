package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"
)

var asHTML = []string{"text/html; charset=utf-8"}

//go:embed docs.html
var docsHTML string

//go:embed docs.css
var docsCSS string

var docsPage = template.Must(template.New("docs").Funcs(template.FuncMap{
	"lines": func(s string) []string { return strings.Split(s, "\n\n") },
}).Parse(docsHTML))

// docsPolicy lets the page have its own style and nothing else.
var docsPolicy = []string{"default-src 'none'; style-src 'sha256-" + hashOf(docsCSS) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// descriptions are the document and the page, made when they are first asked
// for.
type descriptions struct {
	once       sync.Once
	json, html []byte
	err        error
}

func (s *Server) described() (*descriptions, error) {
	d := &s.descriptions
	d.once.Do(func() {
		var doc *document
		if doc, d.err = s.describe(); d.err != nil {
			return
		}
		if d.json, d.err = doc.bytes(); d.err == nil {
			d.html, d.err = doc.page()
		}
	})
	return d, d.err
}

func (s *Server) getOpenAPI(x *exchange) error {
	d, err := s.described()
	if err != nil {
		return err
	}
	return x.send(http.StatusOK, asJSON, d.json)
}

func (s *Server) getDocs(x *exchange) error {
	d, err := s.described()
	if err != nil {
		return err
	}
	h := x.Header()
	h["Content-Security-Policy"] = docsPolicy
	h["Referrer-Policy"] = []string{"no-referrer"}
	return x.send(http.StatusOK, asHTML, bytes.ReplaceAll(d.html, []byte(placeholder), []byte(origin(x.r))))
}

// placeholder stands for the server in the commands of the page.
const placeholder = "http://server.invalid"

// origin is what a request called this server, or where it listens by default
// if that is nothing that could be typed.
func origin(r *http.Request) string {
	for _, c := range []byte(r.Host) { // they are pasted into shells
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".:-[]", c) >= 0) {
			return "http://localhost:8080"
		}
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// page is the document for people.
func (d *document) page() ([]byte, error) {
	samples, err := readSamples()
	if err != nil {
		return nil, err
	}
	v := docsView{Version: d.Info.Version, About: d.Info.Description, Token: len(d.Security) > 0, Style: template.CSS(docsCSS)}
	for _, g := range d.groups {
		shown := docsGroup{Title: g.title, About: g.about, ID: strings.ToLower(g.title)}
		for _, rt := range g.routes {
			shown.Operations = append(shown.Operations, d.operationView(rt, samples[rt.name]))
		}
		v.Groups = append(v.Groups, shown)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		v.Bodies = append(v.Bodies, docsBody{Name: name, About: d.Components.Schemas[name].Description, Fields: fields(nil, "", d.Components.Schemas[name], false)})
	}
	for _, status := range problemStatuses() {
		for _, verdict := range verdicts {
			if verdict.status == status {
				v.Problems = append(v.Problems, docsProblem{status, "/problems/" + verdict.name, problemMeaning(verdict)})
			}
		}
	}
	var b bytes.Buffer
	err = docsPage.Execute(&b, v)
	return b.Bytes(), err
}

type (
	docsView struct {
		Version, About string
		Token          bool
		Style          template.CSS
		Groups         []docsGroup
		Bodies         []docsBody
		Problems       []docsProblem
	}
	docsGroup struct {
		ID, Title, About string
		Operations       []docsOperation
	}
	docsOperation struct {
		ID, Method, Path, Summary string
		Open                      bool
		Parameters                []docsParameter
		Takes                     *docsAnswer
		Answers                   []docsAnswer
		Samples                   []docsSample
	}
	docsParameter struct {
		Name, In, Form, About string
		Required              bool
	}
	docsAnswer struct {
		Status, About, Media, Body, Headers string
	}
	docsSample struct{ About, Command, Answer string }
	docsBody   struct {
		Name, About string
		Fields      []docsField
	}
	docsField struct {
		Name, Type, Ref, About string
		Required               bool
	}
	docsProblem struct {
		Status        int
		Type, Meaning string
	}
)

func (d *document) operationView(rt route, samples []sample) docsOperation {
	op := d.operation(rt)
	v := docsOperation{ID: rt.name, Method: rt.method, Path: documentPath(rt.pattern), Summary: op.Summary, Open: rt.open && len(d.Security) > 0}
	for _, p := range op.Parameters {
		if p.Ref == "" {
			v.Parameters = append(v.Parameters, docsParameter{p.Name, p.In, form(p.Schema), p.Description, p.Required})
		}
	}
	if op.RequestBody != nil {
		a := answerOf("", op.RequestBody.Description, op.RequestBody.Content)
		v.Takes = &a
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		v.Answers = append(v.Answers, d.answerView(status, op.Responses[status]))
	}
	for _, s := range samples {
		v.Samples = append(v.Samples, docsSample{s.About, s.command(placeholder, len(d.Security) > 0 && !rt.open), s.shown()})
	}
	return v
}

// answerView names the problems of a status; the page tells about them once.
func (d *document) answerView(status string, r *response) docsAnswer {
	if r.Ref == "" {
		a := answerOf(status, r.Description, r.Content)
		names := slices.Sorted(maps.Keys(r.Headers))
		a.Headers = strings.Join(slices.DeleteFunc(names, func(n string) bool { return n == "X-Request-Id" }), ", ")
		return a
	}
	n, _ := strconv.Atoi(status) // it was made of a number
	return docsAnswer{Status: status, About: http.StatusText(n), Body: "Problem"}
}

func answerOf(status, about string, content map[string]mediaType) docsAnswer {
	a := docsAnswer{Status: status, About: about}
	for media, c := range content {
		a.Media, a.Body = media, strings.TrimPrefix(c.Schema.Ref, schemaRef)
	}
	return a
}

// form says in words what a schema allows, as far as one line takes it.
func form(s *jsonschema.Schema) string {
	switch {
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, schemaRef)
	case len(s.Enum) > 0:
		var words []string
		for _, e := range s.Enum {
			words = append(words, fmt.Sprint(e))
		}
		return strings.Join(words, " | ")
	case s.Type == "array":
		return "list of " + form(s.Items)
	case len(s.Types) > 0:
		return strings.Join(s.Types, " or ")
	case s.Type == "integer" && s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf("%.0f to %.0f", *s.Minimum, *s.Maximum)
	case s.Format != "":
		return s.Format
	case s.Type == "":
		return "any JSON"
	}
	return s.Type
}

// fields are those of an object, and of the objects in it.
func fields(out []docsField, path string, s *jsonschema.Schema, required bool) []docsField {
	if path != "" {
		f := docsField{Name: path, Type: form(s), About: s.Description, Required: required}
		if of := s; of.Ref != "" || of.Items != nil && of.Items.Ref != "" {
			if of.Ref == "" {
				of = of.Items
			}
			f.Ref = strings.TrimPrefix(of.Ref, schemaRef)
		}
		out = append(out, f)
		path += "."
	}
	inner := s
	switch {
	case s.Items != nil:
		inner = s.Items
	case s.AdditionalProperties != nil && s.AdditionalProperties.Not == nil:
		return fields(out, path+"*", s.AdditionalProperties, false)
	}
	for _, name := range inner.PropertyOrder {
		out = fields(out, path+name, inner.Properties[name], slices.Contains(inner.Required, name))
	}
	for _, choice := range slices.Concat(inner.OneOf, inner.AnyOf) {
		out = append(out, docsField{Name: "either", Type: form(choice), Ref: strings.TrimPrefix(cmpRef(choice), schemaRef)})
	}
	return out
}

func cmpRef(s *jsonschema.Schema) string {
	if s.Items != nil {
		s = s.Items
	}
	return s.Ref
}

// shown is the answer as curl -i prints what matters of it.
func (s sample) shown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\n", s.Status, http.StatusText(s.Status))
	for _, h := range s.Told {
		b.WriteString(h + "\n")
	}
	if s.Answer != "" {
		b.WriteString("\n" + strings.TrimRight(s.Answer, "\n"))
	}
	return b.String()
}
