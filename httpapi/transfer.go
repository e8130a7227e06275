package httpapi

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/migrate"
)

const (
	// exportBuffer is how much of an export is sent at a time. An export that
	// fails before it has so much answers with the problem.
	exportBuffer = 64 << 10
	// maxImportLine bounds a line of an import in bytes.
	maxImportLine = 16 << 20
	// reportTrailer carries the report of an export behind its lines, as JSON.
	reportTrailer = "Jackcache-Report"
)

// migrated counts the entries of all imports through this server.
type migrated struct{ imported, unchanged, setAside, failed, messages atomic.Int64 }

func (m *migrated) add(c migrate.Counts) {
	m.imported.Add(int64(c.Imported))
	m.unchanged.Add(int64(c.Unchanged))
	m.setAside.Add(int64(c.SetAside))
	m.failed.Add(int64(c.Failed))
	m.messages.Add(int64(c.Messages))
}

// importAll reads lines until the body ends and answers with the report. What
// was stored before an error stays: the import can be repeated.
func (s *Server) importAll(x *exchange) error {
	if enc := x.r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "gzip") && !strings.EqualFold(enc, "identity") {
		return fmt.Errorf("%w: Content-Encoding %.40q; allowed is gzip", errMediaType, enc)
	}
	o := migrate.ImportOptions{MaxLine: maxImportLine, Logger: s.opts.Logger}
	var err error
	if o.DryRun, err = flag(x.query, "dryRun"); err != nil {
		return err
	}
	if o.IncludeDirectory, err = flag(x.query, "directory"); err != nil {
		return err
	}
	if !s.imports.try() {
		return fmt.Errorf("%w: %d imports are under way, the most at a time; repeat it later", errBusy, cap(s.imports))
	}
	defer s.imports.leave()
	body := &patientReader{r: x.r.Body, control: http.NewResponseController(x.ResponseWriter)}
	report, err := migrate.Import(x.belowNoSpan(), s.a, body, o)
	if !o.DryRun {
		s.migrated.add(report.Counts)
	}
	extendWrite(body.control, StreamIdle)
	switch {
	case err == nil:
		return x.sendJSON(http.StatusOK, report)
	case body.err != nil:
		err = bodyError(body.err)
	case errors.Is(judge(err).err, internalError.err):
		err = fmt.Errorf("%w: %w", jackcache.ErrInvalid, err) // what is left is input that cannot be decompressed
	}
	return reportedError{error: x.ownCause(err), report: report}
}

// patientReader gives every read its own time, whatever the whole takes.
type patientReader struct {
	r       io.Reader
	control *http.ResponseController
	err     error // of reading; nil at the end
}

func (p *patientReader) Read(b []byte) (int, error) {
	// A server without deadlines needs none.
	_ = p.control.SetReadDeadline(time.Now().Add(StreamIdle))
	n, err := p.r.Read(b)
	if err != nil {
		// What comes after the body is not waited for: net/http would take the
		// end of the time for the end of the client.
		_ = p.control.SetReadDeadline(time.Time{})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}

func extendWrite(c *http.ResponseController, by time.Duration) {
	_ = c.SetWriteDeadline(time.Now().Add(by)) // a server without deadlines needs none
}

// exportAll streams lines. Where it fails on the way the connection is cut, so
// that no client takes a part for the whole.
func (s *Server) exportAll(x *exchange) error {
	o := migrate.ExportOptions{Org: x.query.Get("org"), Kinds: x.query["kind"]}
	var err error
	if o.IncludeDirectory, err = flag(x.query, "directory"); err != nil {
		return err
	}
	if x.query.Has("org") && o.Org == "" {
		return invalid("?org= is empty; leave it out to export all organisations")
	}
	control := http.NewResponseController(x.ResponseWriter)
	_ = control.SetReadDeadline(time.Time{}) // as in patientReader
	h := x.Header()
	h["Content-Type"] = asNDJSON
	h["Trailer"] = []string{reportTrailer}
	w := bufio.NewWriterSize(patientWriter{x, control, StreamIdle}, exportBuffer)
	report, err := migrate.Export(x.belowNoSpan(), s.a, w, o)
	if err != nil {
		h.Del("Trailer")
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	trailer, err := json.Marshal(report)
	if err != nil {
		return err
	}
	h.Set(reportTrailer, string(trailer))
	return nil
}

// patientWriter gives every write its own time.
type patientWriter struct {
	w        io.Writer
	control  *http.ResponseController
	patience time.Duration
}

func (p patientWriter) Write(b []byte) (int, error) {
	extendWrite(p.control, p.patience)
	return p.w.Write(b)
}

// flag returns a parameter that is true or false, false where it is not there.
func flag(q url.Values, name string) (bool, error) {
	switch v := q.Get(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, invalid("?%s=%.40s: allowed are true and false", name, v)
	}
}
