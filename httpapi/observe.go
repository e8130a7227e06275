package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scope names this package to providers.
const scope = "github.com/jackcache/jackcache/httpapi"

// buckets of the duration of requests in seconds: those that the conventions
// advise, and below them what a cache needs.
var buckets = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// Attributes of the conventions. None has a path, a host or a text of a client.
const (
	methodAttribute = attribute.Key("http.request.method")
	routeAttribute  = attribute.Key("http.route")
	statusAttribute = attribute.Key("http.response.status_code")
	schemeAttribute = attribute.Key("url.scheme")
	errorAttribute  = attribute.Key("error.type")
)

// aborted is the error.type of an answer that was cut.
const aborted = "aborted"

// knownMethods are told by name; the last stands for all others.
var knownMethods = [...]string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "_OTHER"}

func methodIndex(method string) int {
	for i, m := range knownMethods[:len(knownMethods)-1] {
		if m == method {
			return i
		}
	}
	return len(knownMethods) - 1
}

var schemes = [...]string{"http", "https"}

func schemeIndex(r *http.Request) int {
	if r.TLS != nil {
		return 1
	}
	return 0
}

// untraced are routes that are asked all the time by machines: they get no spans.
var untraced = map[string]bool{"/livez": true, "/readyz": true, "/metrics": true}

// observer measures requests and makes their spans. The zero value does neither.
type observer struct {
	tracer   trace.Tracer            // nil: no spans
	duration metric.Float64Histogram // nil: nothing is measured
	active   [len(knownMethods)][len(schemes)]under

	// known has the series that were seen; it is replaced, never changed.
	known atomic.Pointer[map[series][]metric.RecordOption]
	mu    sync.Mutex // held while known is replaced
}

// under counts requests under way; it is told of from the first on.
type under struct {
	way  atomic.Int64
	seen atomic.Bool
}

// series is one combination of labels. The route is one of the table's.
type series struct {
	method, scheme int
	route          string // empty: none
	status         int
	sent           completeness
}

// completeness tells whether an answer was sent to its end.
type completeness uint8

const (
	sentAll completeness = iota
	sentPart
)

func (s series) errorType() string {
	switch {
	case s.sent == sentPart:
		return aborted
	case s.status >= http.StatusInternalServerError:
		return strconv.Itoa(s.status)
	}
	return ""
}

func (s series) attributes() []attribute.KeyValue {
	as := []attribute.KeyValue{
		methodAttribute.String(knownMethods[s.method]), schemeAttribute.String(schemes[s.scheme]), statusAttribute.Int(s.status),
	}
	if s.route != "" {
		as = append(as, routeAttribute.String(s.route))
	}
	if e := s.errorType(); e != "" {
		as = append(as, errorAttribute.String(e))
	}
	return as
}

// observe makes the instruments. A provider that refuses them is logged: it is
// no reason not to serve.
func (s *Server) observe() {
	o := &s.observer
	if p := s.opts.TracerProvider; p != nil {
		o.tracer = p.Tracer(scope)
	}
	if s.opts.MeterProvider == nil {
		return
	}
	m := s.opts.MeterProvider.Meter(scope)
	duration, err := m.Float64Histogram("http.server.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP server requests."), metric.WithExplicitBucketBoundaries(buckets...))
	o.duration = duration
	if err := errors.Join(err, o.tellActive(m), s.migrated.tell(m)); err != nil {
		s.opts.Logger.Warn("some metrics are missing", "err", err)
	}
}

func (o *observer) tellActive(m metric.Meter) error {
	active, err := m.Int64ObservableUpDownCounter("http.server.active_requests", metric.WithUnit("{request}"),
		metric.WithDescription("Number of active HTTP server requests."))
	if err != nil {
		return err
	}
	_, err = m.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for i := range o.active {
			for j := range o.active[i] {
				if u := &o.active[i][j]; u.seen.Load() {
					to.ObserveInt64(active, u.way.Load(), metric.WithAttributes(
						methodAttribute.String(knownMethods[i]), schemeAttribute.String(schemes[j])))
				}
			}
		}
		return nil
	}, active)
	return err
}

// tell reports the imports.
func (m *migrated) tell(meter metric.Meter) error {
	entries, err1 := meter.Int64ObservableCounter("jackcache.import.entries", metric.WithUnit("{entry}"),
		metric.WithDescription("Entries that came with imports through this server."))
	messages, err2 := meter.Int64ObservableCounter("jackcache.import.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Messages of conversations that imports held."))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for result, n := range map[string]*atomic.Int64{
			"imported": &m.imported, "unchanged": &m.unchanged, "set_aside": &m.setAside, "failed": &m.failed,
		} {
			to.ObserveInt64(entries, n.Load(), metric.WithAttributes(attribute.String("result", result)))
		}
		to.ObserveInt64(messages, m.messages.Load())
		return nil
	}, entries, messages)
	return err
}

// begin is called before the route is known.
func (o *observer) begin(x *exchange) {
	if o.duration != nil {
		u := &o.active[methodIndex(x.r.Method)][schemeIndex(x.r)]
		u.way.Add(1)
		u.seen.Store(true)
	}
	if o.tracer == nil || untraced[x.r.URL.Path] {
		return
	}
	ctx := x.r.Context()
	if !trace.SpanContextFromContext(ctx).IsValid() { // a server that this one is mounted in may have made one
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(x.r.Header))
	}
	method := knownMethods[methodIndex(x.r.Method)]
	ctx, x.span = o.tracer.Start(ctx, spanName(method, ""), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithTimestamp(x.begun), trace.WithAttributes(methodAttribute.String(method)))
	x.r = x.r.WithContext(ctx)
}

func spanName(method, route string) string {
	if method == knownMethods[len(knownMethods)-1] {
		method = "HTTP"
	}
	if route == "" {
		return method
	}
	return method + " " + route
}

// belowNoSpan is the context of jobs whose steps come by the thousand and have
// no spans of their own.
func (x *exchange) belowNoSpan() context.Context {
	if x.span == nil {
		return x.r.Context()
	}
	return trace.ContextWithSpan(x.r.Context(), nil)
}

// end is called when the answer was sent, or cut.
func (o *observer) end(x *exchange, sent completeness) {
	if o.duration == nil && x.span == nil {
		return
	}
	s := series{
		method: methodIndex(x.r.Method), scheme: schemeIndex(x.r), route: strings.TrimSuffix(x.route, "{$}"), status: x.status, sent: sent,
	}
	if s.status == 0 {
		s.status = http.StatusOK // what net/http sends
	}
	if o.duration != nil {
		o.active[s.method][s.scheme].way.Add(-1)
		o.duration.Record(x.r.Context(), time.Since(x.begun).Seconds(), o.options(s)...)
	}
	if x.span == nil {
		return
	}
	if x.span.IsRecording() {
		x.span.SetName(spanName(knownMethods[s.method], s.route))
		x.span.SetAttributes(s.attributes()...)
		if s.errorType() != "" {
			x.span.SetStatus(codes.Error, "")
		}
	}
	x.span.End()
}

// options returns the labels of a series in the form that costs least.
func (o *observer) options(s series) []metric.RecordOption {
	if all := o.known.Load(); all != nil {
		if opts, ok := (*all)[s]; ok {
			return opts
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make(map[series][]metric.RecordOption)
	if old := o.known.Load(); old != nil {
		all = maps.Clone(*old)
	}
	all[s] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(s.attributes()...))}
	o.known.Store(&all)
	return all[s]
}

func (s *Server) getMetrics(x *exchange) error {
	s.opts.Metrics.ServeHTTP(x, x.r)
	return nil
}

// identity names the request in log lines, and its trace where it has one.
func (x *exchange) identity() slog.Attr {
	id := slog.String("requestId", x.id)
	if sc := trace.SpanContextFromContext(x.r.Context()); sc.IsValid() {
		return slog.Group("", id, slog.String("trace_id", sc.TraceID().String()))
	}
	return id
}
