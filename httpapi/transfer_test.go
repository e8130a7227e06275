package httpapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/migrate"
)

func importLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"map":"conversationContexts","key":"org-%d:+1604555%04d","value":[{"id":"a","role":"user","content":"hi %d","timestamp":1757000010845}]}`+"\n", i%3, i, i)
	}
	b.WriteString(`{"map":"phoneToLeadMapping","key":"org-0:+16045550000","value":"L7"}` + "\n")
	b.WriteString(`{"map":"organizationCache","key":"org-0","value":{"name":"Dealer"}}` + "\n")
	return b.String()
}

func sorted(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return lines
}

func TestImportExport(t *testing.T) {
	f := newFixture(t)
	const n = 60
	var dry, first, second migrate.Report
	f.want(200, "POST", "/api/v1/import?dryRun=true", importLines(n)).decode(t, &dry)
	f.want(200, "GET", "/api/v1/export", "").wantBody(t, "")
	f.want(200, "POST", "/api/v1/import", importLines(n), "Content-Type: application/x-ndjson").decode(t, &first)
	if first.Seen != n+2 || first.Imported != n+2 || first.Messages != n || dry.Imported != n+2 {
		t.Errorf("the import answered %+v, the trial %+v", first, dry)
	}
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(zw, importLines(n)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	f.want(200, "POST", "/api/v1/import", zipped.String(), "Content-Encoding: gzip").decode(t, &second)
	if second.Imported != 0 || second.Unchanged != n+2 {
		t.Errorf("the second import answered %+v", second)
	}

	all := f.want(200, "GET", "/api/v1/export", "")
	if lines := sorted(all.body); len(lines) != n+2 {
		t.Errorf("%d lines exported, want %d", len(lines), n+2)
	}
	if ct := all.header.Get("Content-Type"); ct != "application/x-ndjson" {
		t.Errorf("Content-Type %q", ct)
	}
	one := f.want(200, "GET", "/api/v1/export?org=org-1&kind=conversationContext", "")
	if lines := sorted(one.body); len(lines) != n/3 || !strings.Contains(lines[0], "org-1:") {
		t.Errorf("of one organisation: %d lines, %s", len(lines), lines[0])
	}
	g := newFixture(t)
	g.want(200, "POST", "/api/v1/import", all.body)
	if got := g.want(200, "GET", "/api/v1/export", ""); !slices.Equal(sorted(got.body), sorted(all.body)) {
		t.Error("the export of what was imported differs")
	}
	var s stats
	f.want(200, "GET", "/api/cache/stats", "").decode(t, &s)
	if s.Migration.Imported != n+2 || s.Migration.Unchanged != n+2 || s.Migration.Errors != 0 {
		t.Errorf("stats of imports: %+v", s.Migration)
	}
}

// TestExportTrailer: the report of an export comes behind its lines.
func TestExportTrailer(t *testing.T) {
	f := newFixture(t)
	f.want(200, "POST", "/api/v1/import", importLines(3))
	res, err := f.client.Get(f.url + "/api/v1/export")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	var r migrate.ExportReport
	if err := json.Unmarshal([]byte(res.Trailer.Get(reportTrailer)), &r); err != nil || r.Entries != 5 {
		t.Errorf("trailer %v: %+v, %v", res.Trailer, r, err)
	}
}

func TestImportProblems(t *testing.T) {
	f := newFixture(t)
	var r migrate.Report
	f.want(200, "POST", "/api/v1/import", "nonsense\n\n"+`{"map":"conversationContexts","key":"+16045550000","value":[]}`+"\n"+
		`{"map":"what","key":"a:b","value":1}`).decode(t, &r)
	if r.Seen != 3 || r.Failed != 2 || r.SetAside != 1 || len(r.Problems) != 3 {
		t.Errorf("report %+v", r)
	}
	f.want(200, "POST", "/api/v1/import", "").decode(t, &r)
	f.wantProblem(415, "media-type", "POST", "/api/v1/import", "x", "Content-Encoding: br")
	f.wantProblem(400, "invalid", "POST", "/api/v1/import?dryRun=maybe", "")
	for _, q := range []string{"?kind=nonsense", "?org=", "?org=..", "?directory=1", "?kind=sseResponse"} {
		f.wantProblem(400, "invalid", "GET", "/api/v1/export"+q, "")
	}

	// Input that ends in the middle: what came before is there, and told of.
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(zw, importLines(2000)) // to memory
	_ = zw.Close()
	cut := zipped.Bytes()[:zipped.Len()/2]
	p := f.wantProblem(400, "invalid", "POST", "/api/v1/import", string(cut), "Content-Encoding: gzip")
	report, ok := p.Report.(map[string]any)
	if !ok || report["imported"] == 0.0 {
		t.Errorf("problem %+v", p)
	}
}

// TestImportIsUnbounded: a body of any length is imported, in bounded memory.
func TestImportIsUnbounded(t *testing.T) {
	f := start(t, jackcache.Options{}, Options{MaxBody: 1 << 10})
	line := `{"map":"agentConfig","key":"org-0:a","value":"` + strings.Repeat("x", 1000) + `"}` + "\n"
	var r migrate.Report
	f.stream("POST", "/api/v1/import", strings.NewReader(strings.Repeat(line, 2000))).decode(t, &r)
	if r.Seen != 2000 || r.Failed != 0 {
		t.Errorf("report %+v", r.Counts)
	}
}

// TestImportLine: a line beyond the bound fails, and what follows is imported.
func TestImportLine(t *testing.T) {
	f := newFixture(t)
	var r migrate.Report
	long := `{"map":"agentConfig","key":"org-0:a","value":"` + strings.Repeat("x", maxImportLine) + `"}` + "\n"
	f.want(200, "POST", "/api/v1/import", long+`{"map":"agentConfig","key":"org-0:b","value":1}`).decode(t, &r)
	if r.Failed != 1 || r.Imported != 1 || !strings.Contains(fmt.Sprint(r.Problems), fmt.Sprint(maxImportLine)) {
		t.Errorf("report %+v", r)
	}
}
