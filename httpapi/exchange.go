package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"

	"github.com/jackcache/jackcache"
)

// exchange is one request and the answer to it. It is the http.ResponseWriter of
// its handlers.
type exchange struct {
	http.ResponseWriter
	s     *Server
	r     *http.Request
	id    string // of the request
	begun time.Time
	route string     // pattern of the table; empty: none
	span  trace.Span // nil: none

	query     url.Values // nil: none
	directory bool       // the path means the directory without an organisation

	status  int // sent; 0: nothing yet
	written int64
	values  [4]string // header values: see set
	used    int
}

// Header values that every answer of a sort shares. They must not be changed.
var (
	asJSON    = []string{"application/json"}
	asProblem = []string{"application/problem+json"}
	asText    = []string{"text/plain; charset=utf-8"}
	asNDJSON  = []string{"application/x-ndjson"}

	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}
	missed  = []string{"jackcache; fwd=miss"}
	hits    = map[jackcache.Source][]string{
		jackcache.SourceNear:   {"jackcache; hit; detail=near"},
		jackcache.SourceShared: {"jackcache; hit; detail=shared"},
		jackcache.SourceLoader: {"jackcache; fwd=miss; stored; detail=loader"},
		// The server itself has it: Redis is away, or not up to date yet.
		jackcache.SourcePending: {"jackcache; hit; detail=pending"},
		jackcache.SourceStale:   {"jackcache; hit; detail=stale"},
	}
)

func (x *exchange) begin() {
	x.begun = time.Now()
	x.id = requestID(x.r)
	x.s.observer.begin(x)
	h := x.Header()
	x.set(h, "X-Request-Id", x.id)
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
}

// set sets a header field by its canonical name; the slice that a header wants
// is part of the exchange.
func (x *exchange) set(h http.Header, name, value string) {
	if x.used == len(x.values) {
		h[name] = []string{value}
		return
	}
	i := x.used
	x.used++
	x.values[i] = value
	h[name] = x.values[i : i+1 : i+1]
}

// WriteHeader notes the status.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.ResponseWriter.Write(b)
	x.written += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// send answers with a body in one write.
func (x *exchange) send(status int, contentType []string, body []byte) error {
	h := x.Header()
	h["Content-Type"] = contentType
	x.set(h, "Content-Length", strconv.Itoa(len(body)))
	x.WriteHeader(status)
	if _, err := x.Write(body); err != nil {
		x.debug("the answer was not received", err)
	}
	return nil
}

// sendJSON answers with what encoding/json makes of v. It is for answers that
// are not on the way of a conversation's turn.
func (x *exchange) sendJSON(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return x.send(status, asJSON, append(body, '\n'))
}

// receipt returns the context for a write, and what tells whether it waits for
// the store.
func (x *exchange) receipt() (context.Context, *jackcache.Receipt) {
	return jackcache.WithReceipt(x.r.Context())
}

// accepted is the body of a write that has none of its own and waits for the
// store.
var accepted = []byte(`{"pending":true}` + "\n")

// done answers a write that has no body of its own.
func (x *exchange) done(r *jackcache.Receipt) error {
	if r.Pending() {
		return x.send(http.StatusAccepted, asJSON, accepted)
	}
	return x.noContent()
}

// orAccepted is the status of a write that succeeded.
func orAccepted(r *jackcache.Receipt, status int) int {
	if r.Pending() {
		return http.StatusAccepted
	}
	return status
}

func (x *exchange) noContent() error {
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// now is the Age of what the store has just said.
var now = []string{"0"}

// found sets what a read tells of a value: where it came from, and how long ago it
// was known to be current, rounded down to seconds (RFC 9111, section 5.1).
func (x *exchange) found(source jackcache.Source, age time.Duration) {
	h := x.Header()
	h["Cache-Status"] = hits[source]
	if age < time.Second {
		h["Age"] = now
		return
	}
	x.set(h, "Age", strconv.FormatInt(int64(age/time.Second), 10))
}

func (x *exchange) miss() error {
	x.Header()["Cache-Status"] = missed
	return jackcache.ErrNotFound
}

func (x *exchange) setETag(v jackcache.Version) {
	x.set(x.Header(), "Etag", `"`+string(v)+`"`)
}

func (x *exchange) debug(msg string, err error) {
	x.s.opts.Logger.LogAttrs(x.r.Context(), slog.LevelDebug, msg, x.identity(), slog.Any("err", err))
}

// keepBuffer is the size up to which a buffer is used again.
const keepBuffer = 256 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func buffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

// release gives a buffer back; nothing may refer to its bytes any more.
func release(b *bytes.Buffer) {
	if b.Cap() > keepBuffer {
		return
	}
	b.Reset()
	buffers.Put(b)
}

// appendString adds s to dst as a JSON string.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // a string always has a JSON form
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
