// Package httpapi serves a cache over HTTP: conversations, values, lead
// mappings, batches, import and export, stored keys, health and stats. New
// returns an http.Handler that can be mounted in any server; NewHTTPServer
// returns a server with the timeouts that it wants.
//
//	api := httpapi.New(a, httpapi.Options{Token: token})
//	err := httpapi.NewHTTPServer(api).ListenAndServe()
//
// Values and messages pass through as the bytes that came. Errors are problem
// details (RFC 9457). The routes are listed in routes.go.
package httpapi

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// DefaultMaxBody is the default of Options.MaxBody.
const DefaultMaxBody = 8 << 20

// Options says how a cache is served. Every zero field means its documented
// default.
type Options struct {
	// Token, if set, must come with every request as "Authorization: Bearer
	// <token>", but for the probes /livez and /readyz. Without it /api/health
	// tells the status and nothing else.
	Token string

	// LoopbackHosts refuses requests whose Host is not localhost, a name below it
	// or a loopback address, but for the probes. It is for a server without a
	// token that listens on loopback: a web page whose name is made to point
	// there must not reach it.
	LoopbackHosts bool

	// StrictReady makes /readyz answer 503 while the cache is degraded, too.
	StrictReady bool

	// MaxBody bounds the body of a request in bytes. Default DefaultMaxBody. An
	// import may be of any length.
	MaxBody int64

	// Version is this build's version, in health and stats. Default "devel".
	Version string

	// Metrics, if set, is served at /metrics, with the token like other routes, or
	// without one if MetricsOpen is set.
	Metrics     http.Handler
	MetricsOpen bool

	// MeterProvider, if set, collects the metrics of requests and imports that
	// docs/metrics.md lists, as long as the provider lives. Nil: none. Servers that
	// share a provider report the same series, so give each its own.
	MeterProvider metric.MeterProvider

	// TracerProvider, if set, gets a span of each request, below the trace that
	// the request names (traceparent) or that of its context; not of /livez,
	// /readyz and /metrics. Nil: none.
	TracerProvider trace.TracerProvider

	// Logger gets a line at debug level for each request, without bodies and with
	// phones masked, and the detail of failures. Default slog.Default().
	Logger *slog.Logger
}

// Server serves a cache. Make it with New. Safe for concurrent use.
type Server struct {
	a         *assistant.Assistant
	opts      Options
	mux       *http.ServeMux
	token     [sha256.Size]byte // of Options.Token
	origins   http.CrossOriginProtection
	summaries jackcache.RawKind
	leads     jackcache.RawKind
	draining  atomic.Bool
	drained   context.Context // ends with Drain
	drain     context.CancelFunc
	patience  time.Duration // with clients of monitors
	sumUp     time.Duration // between summaries of monitors
	migrated  migrated
	refused   failures
	batches   gate
	imports   gate

	descriptions descriptions
	observer     observer
}

// New returns a handler for a cache that is open. The caller closes the cache,
// after the server.
func New(a *assistant.Assistant, o Options) *Server {
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Version == "" {
		o.Version = "devel"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	drained, drain := context.WithCancel(context.Background())
	s := &Server{
		drained: drained, drain: drain, patience: monitorPatience, sumUp: summaryEvery,
		a: a, opts: o, token: sha256.Sum256([]byte(o.Token)),
		summaries: mustKind(a, assistant.SummaryKind), leads: mustKind(a, assistant.PhoneToLeadKind),
		batches: make(gate, batchesAtOnce), imports: make(gate, importsAtOnce),
	}
	s.mux = s.newMux()
	s.observe()
	return s
}

// mustKind panics where an Assistant was not made by assistant.Open.
func mustKind(a *assistant.Assistant, name string) jackcache.RawKind {
	k, err := a.Cache.RawKind(name)
	if err != nil {
		panic(fmt.Sprintf("httpapi: the cache has no kind %s; open it with assistant.Open", name))
	}
	return k
}

// Drain makes /readyz answer 503 from now on, so that load balancers send
// nothing more, and ends the streams of monitors. Other requests are served as
// before.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.drain()
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, s: s, r: r}
	x.begin()
	defer x.end()
	if !cleanPath(r.URL) {
		x.fail(fmt.Errorf("%w: the path has an empty segment or a dot segment; write %%2E for a dot and check that no id is empty", jackcache.ErrInvalid))
		return
	}
	s.mux.ServeHTTP(x, x.r)
}

// end recovers from a panic of a handler, which costs that request only.
func (x *exchange) end() {
	p := recover()
	if p == nil {
		x.ended(sentAll)
		return
	}
	if p != http.ErrAbortHandler {
		err := panicked(p)
		if x.status == 0 {
			x.fail(err)
			x.ended(sentAll)
			return
		}
		x.s.opts.Logger.Error("panic while the answer was sent", x.identity(), "route", x.r.Pattern, "err", err)
	}
	x.ended(sentPart)
	panic(http.ErrAbortHandler) // what was sent is not complete: cut the connection
}

// ended tells of a request whose answer was sent, or cut.
func (x *exchange) ended(how completeness) {
	x.log()
	x.s.observer.end(x, how)
}

// panicked makes an error of what recover returned.
func panicked(p any) error { return fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack()) }
