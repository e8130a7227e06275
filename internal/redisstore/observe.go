package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// buckets of the duration of a trip in seconds: those that the conventions
// advise, below them what a cache needs, and the default budget.
var buckets = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10}

// Attributes of the conventions. Keys and texts of commands are not among them.
const (
	systemAttribute    = attribute.Key("db.system.name")
	operationAttribute = attribute.Key("db.operation.name")
	namespaceAttribute = attribute.Key("db.namespace")
	batchAttribute     = attribute.Key("db.operation.batch.size")
	codeAttribute      = attribute.Key("db.response.status_code")
	addressAttribute   = attribute.Key("server.address")
	portAttribute      = attribute.Key("server.port")
	errorAttribute     = attribute.Key("error.type")
)

// Values of error.type that are not codes of Redis.
const (
	timedOut   = "timeout"
	cancelled  = "cancelled"
	connection = "connection"
	otherError = "_OTHER"
)

// replyCodes are the errors of Redis that are told by name: a server could
// answer with anything. ERR is not among them, which the client cuts off.
var replyCodes = map[string]bool{
	"OOM": true, "READONLY": true, "LOADING": true, "MASTERDOWN": true, "CLUSTERDOWN": true, "TRYAGAIN": true,
	"NOREPLICAS": true, "BUSY": true, "NOAUTH": true, "WRONGPASS": true, "NOPERM": true, "NOSCRIPT": true, "WRONGTYPE": true,
	"MOVED": true, "ASK": true, "MISCONF": true, "CROSSSLOT": true,
}

// observer measures the trips to servers and makes their spans. The zero value
// does neither.
type observer struct {
	tracer    trace.Tracer            // nil: no spans
	duration  metric.Float64Histogram // nil: nothing is measured
	namespace string                  // the number of the database
}

func newObserver(o Options) (observer, error) {
	ob := observer{tracer: o.Tracer, namespace: strconv.Itoa(o.DB)}
	if o.Meter == nil {
		return ob, nil
	}
	duration, err := o.Meter.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of database client operations."), metric.WithExplicitBucketBoundaries(buckets...))
	if err != nil {
		return ob, fmt.Errorf("metrics: %w", err)
	}
	ob.duration = duration
	return ob, nil
}

// tripKind is one combination of labels of a node.
type tripKind struct{ operation, errorType string }

// labelled is a combination of labels in the form that costs least.
type labelled struct {
	tripKind
	options []metric.RecordOption
}

// trips are those to one node.
type trips struct {
	observer
	addr string

	// known has the labels that were seen, a few; it is replaced, never changed.
	known atomic.Pointer[[]labelled]
	mu    sync.Mutex // held while known is replaced
}

// operation is the name of what is sent together.
func (c call) operation() string {
	if c.commands == 1 {
		return c.name
	}
	return "PIPELINE " + c.name
}

// begin starts a span below that of the caller. It returns nil where there is
// none to be made: heartbeats have no caller.
func (t *trips) begin(ctx context.Context, c call) trace.Span {
	if t.tracer == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	_, span := t.tracer.Start(ctx, c.operation(), trace.WithSpanKind(trace.SpanKindClient))
	return span
}

// end tells of a trip that began at start.
func (t *trips) end(ctx context.Context, span trace.Span, c call, start time.Time, err error) {
	if t.duration == nil && span == nil {
		return
	}
	k := tripKind{operation: c.operation(), errorType: errorType(err)}
	if t.duration != nil {
		t.duration.Record(ctx, time.Since(start).Seconds(), t.options(k)...)
	}
	if span == nil {
		return
	}
	if span.IsRecording() {
		span.SetAttributes(t.attributes(k)...)
		if c.commands > 1 {
			span.SetAttributes(batchAttribute.Int64(c.commands))
		}
		if k.errorType != "" {
			span.SetStatus(codes.Error, "")
			if replyCodes[k.errorType] {
				span.SetAttributes(codeAttribute.String(k.errorType))
			}
		}
	}
	span.End()
}

func (t *trips) attributes(k tripKind) []attribute.KeyValue {
	as := []attribute.KeyValue{
		systemAttribute.String("redis"), operationAttribute.String(k.operation), namespaceAttribute.String(t.namespace),
	}
	host, port, err := net.SplitHostPort(t.addr)
	if err != nil {
		host = t.addr
	}
	as = append(as, addressAttribute.String(host))
	if n, err := strconv.Atoi(port); err == nil {
		as = append(as, portAttribute.Int(n))
	}
	if k.errorType != "" {
		as = append(as, errorAttribute.String(k.errorType))
	}
	return as
}

// options returns the labels of a record.
func (t *trips) options(k tripKind) []metric.RecordOption {
	if opts := t.find(k); opts != nil {
		return opts
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if opts := t.find(k); opts != nil {
		return opts
	}
	var all []labelled
	if old := t.known.Load(); old != nil {
		all = slices.Clone(*old)
	}
	opts := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(t.attributes(k)...))}
	all = append(all, labelled{tripKind: k, options: opts})
	t.known.Store(&all)
	return opts
}

func (t *trips) find(k tripKind) []metric.RecordOption {
	all := t.known.Load()
	if all == nil {
		return nil
	}
	for i := range *all {
		if l := &(*all)[i]; l.tripKind == k {
			return l.options
		}
	}
	return nil
}

// errorType classifies an error for those who count; empty: there was none.
func errorType(err error) string {
	if err == nil || rueidis.IsRedisNil(err) {
		return ""
	}
	if re, ok := rueidis.IsRedisErr(err); ok {
		if code, _, _ := strings.Cut(re.Error(), " "); replyCodes[code] {
			return code
		}
		return otherError
	}
	switch {
	case errors.Is(err, context.Canceled):
		return cancelled
	case isTimeout(err):
		return timedOut
	}
	return connection
}
