package httpapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// samples are requests that were sent to a server, with what it answered.
// TestSamples writes them and checks that they still hold.
//
//go:embed openapi_samples.json
var samplesFile []byte

type sample struct {
	Name   string   `json:"name"` // of the operation
	About  string   `json:"about"`
	Method string   `json:"method"`
	Path   string   `json:"path"`
	Header []string `json:"header,omitempty"`
	Body   string   `json:"body,omitempty"`
	Status int      `json:"status"`
	Told   []string `json:"told,omitempty"` // header fields of the answer
	Answer string   `json:"answer,omitempty"`
}

func readSamples() (map[string][]sample, error) {
	var all []sample
	if err := json.Unmarshal(samplesFile, &all); err != nil {
		return nil, fmt.Errorf("openapi_samples.json: %w", err)
	}
	by := make(map[string][]sample)
	for _, s := range all {
		by[s.Name] = append(by[s.Name], s)
	}
	return by, nil
}

// given are the bodies of the samples of a route that were taken.
func (d *describer) given(rt route) map[string]documentSample {
	out := make(map[string]documentSample)
	for i, s := range d.samples[rt.name] {
		if s.Body != "" && s.Status < 400 {
			out[fmt.Sprintf("%s%d", rt.name, i+1)] = documentSample{Summary: s.About, Value: jsonOrText(s.Body)}
		}
	}
	return out
}

// received are the bodies of the answers with a status.
func (d *describer) received(rt route, status int) map[string]documentSample {
	out := make(map[string]documentSample)
	for i, s := range d.samples[rt.name] {
		if s.Status == status && s.Answer != "" {
			out[fmt.Sprintf("%s%d", rt.name, i+1)] = documentSample{Summary: s.About, Value: jsonOrText(s.Answer)}
		}
	}
	return out
}

// jsonOrText is a body in the form that the description wants it.
func jsonOrText(s string) any {
	if json.Valid([]byte(s)) && !strings.HasSuffix(s, "}\n{") {
		return json.RawMessage(s)
	}
	return s
}

// command is the sample as it is typed.
func (s sample) command(base string, token bool) string {
	var b strings.Builder
	b.WriteString("curl -i")
	if s.Method != "GET" && !(s.Method == "POST" && s.Body != "") {
		b.WriteString(" -X " + s.Method)
	}
	b.WriteString(" " + quoted(base+s.Path))
	if token {
		b.WriteString(` \` + "\n  " + `-H "Authorization: Bearer $JACKCACHE_API_TOKEN"`)
	}
	for _, h := range s.Header {
		b.WriteString(` \` + "\n  -H " + quoted(h))
	}
	if s.Body != "" {
		b.WriteString(` \` + "\n  --data-binary " + quoted(s.Body))
	}
	return b.String()
}

// quoted is s as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
