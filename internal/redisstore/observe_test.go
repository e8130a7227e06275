package redisstore

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/redis/rueidis"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/jackcache/jackcache/internal/redistest"
)

// TestErrorTypes: what a server says becomes a label only where it is one of the
// codes that Redis has, and the text never does.
func TestErrorTypes(t *testing.T) {
	server := redistest.Start(t)
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	do := func(args ...string) error {
		return c.Do(t.Context(), c.B().Arbitrary(args...).Build()).Error()
	}
	if err := do("SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for want, err := range map[string]error{
		"":          do("GET", "absent"),
		"WRONGTYPE": do("LPUSH", "k", "v"),
		otherError:  do("EVAL", "return redis.error_reply('ORG-7 +16045550000')", "0"),
		cancelled:   ended.Err(),
		timedOut:    context.DeadlineExceeded,
		connection:  errors.New("reset by peer"),
	} {
		if got := errorType(err); got != want {
			t.Errorf("%v is told as %q, want %q", err, got, want)
		}
	}
}

// TestTripsOfANode: a span below the caller's and one record for each trip; none
// where nothing was sent.
func TestTripsOfANode(t *testing.T) {
	server := redistest.Start(t)
	spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("t")
	s := openWith(t, server.Addr(), func(o *Options) {
		o.Tracer, o.Meter = tracer, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("t")
	})
	n := s.layout.Load().masters[0]
	under, parent := tracer.Start(t.Context(), "caller")
	cut := errors.New("cut off")
	// Names that heartbeats do not have.
	for _, trip := range []struct {
		ctx context.Context
		c   call
		err error
	}{{under, call{"A", 1}, nil}, {under, call{"B", 7}, cut}, {t.Context(), call{"C", 1}, nil}} {
		if err := n.do(trip.ctx, trip.c, func(*link) error { return trip.err }); !errors.Is(err, trip.err) {
			t.Fatal(err)
		}
	}
	n.breaker.Trip("a test")
	if err := n.do(under, call{"D", 1}, func(*link) error { return nil }); !errors.Is(err, errOpen) {
		t.Fatal(err)
	}
	var names []string
	for _, s := range spans.Ended() {
		names = append(names, s.Name())
		if s.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("%s is not below the caller", s.Name())
		}
	}
	if !slices.Equal(names, []string{"A", "PIPELINE B"}) {
		t.Errorf("spans %v", names)
	}
	counts := tripCounts(t, reader)
	for name, want := range map[string]uint64{"A ": 1, "PIPELINE B " + connection: 1, "C ": 1, "D ": 0} {
		if counts[name] != want {
			t.Errorf("%q counts %d, want %d: %v", name, counts[name], want, counts)
		}
	}
}

// tripCounts are the counts by operation and error.
func tripCounts(t *testing.T, reader *sdkmetric.ManualReader) map[string]uint64 {
	t.Helper()
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, p := range got.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints {
		op, _ := p.Attributes.Value(operationAttribute)
		failed, _ := p.Attributes.Value(errorAttribute)
		counts[op.AsString()+" "+failed.AsString()] += p.Count
	}
	return counts
}
