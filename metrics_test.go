package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/jackcache/jackcache"
)

// collected are the values of one collection, by name and labels.
func collected(t *testing.T, reader *sdkmetric.ManualReader) map[string]float64 {
	t.Helper()
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	add := func(name string, points []metricdata.DataPoint[float64]) {
		for _, p := range points {
			out[name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
		}
	}
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[float64]:
				add(m.Name, data.DataPoints)
			case metricdata.Gauge[float64]:
				add(m.Name, data.DataPoints)
			}
		}
	}
	return out
}

// TestMetricsOfALibrary: an application's own kinds are counted exactly, and a
// closed cache tells nothing.
func TestMetricsOfALibrary(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	mine := jackcache.NewKind[string](jackcache.KindOptions{Name: "mine", TTL: time.Hour})
	local := jackcache.NewKind[string](jackcache.KindOptions{Name: "here", TTL: time.Hour, LocalOnly: true})
	c, err := jackcache.Open(t.Context(), jackcache.Options{
		DataDir: t.TempDir(), Kinds: []jackcache.AnyKind{mine, local}, MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, org := t.Context(), c.Org("o")
	failed := errors.New("the loader's")
	for n := range 5 {
		if _, err := mine.Set(ctx, org, fmt.Sprint(n), "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := local.Set(ctx, org, fmt.Sprint(n), "x"); err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := mine.Get(ctx, org, fmt.Sprint(n)); err != nil {
				t.Fatal(err)
			}
			if _, err := mine.Get(ctx, org, "absent"); !errors.Is(err, jackcache.ErrNotFound) {
				t.Fatal(err)
			}
		}
		if _, err := mine.GetOrLoad(ctx, org, fmt.Sprint("l", n), func(context.Context) (string, error) { return "y", nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := mine.GetOrLoad(ctx, org, fmt.Sprint("f", n), func(context.Context) (string, error) { return "", failed }); !errors.Is(err, failed) {
			t.Fatal(err)
		}
		if _, err := mine.Set(ctx, org, fmt.Sprint(n), "z", jackcache.IfAbsent()); !errors.Is(err, jackcache.ErrPrecondition) {
			t.Fatal(err)
		}
		if _, err := local.Get(ctx, org, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	got := collected(t, reader)
	for name, want := range map[string]float64{
		"jackcache.gets kind=mine,result=hit": 10, "jackcache.gets kind=mine,result=miss": 15, "jackcache.loads kind=mine": 5,
		"jackcache.gets kind=here,result=hit": 5, "jackcache.gets kind=here,result=miss": 0, "jackcache.gets kind=conversationContext,result=hit": 0,
		"jackcache.operations op=set,result=ok": 5, "jackcache.operations op=set,result=precondition": 5,
		"jackcache.operations op=load,result=ok": 5, "jackcache.operations op=load,result=loaderFailed": 5,
		"jackcache.operations op=fill,result=ok": 5, "jackcache.operations op=get,result=failed": 0,
		"jackcache.local.entries ": 5, "jackcache.budget ": jackcache.DefaultEmbeddedBudget.Seconds(),
		"jackcache.store.state state=up": 1, "jackcache.store.state state=down": 0, "jackcache.health.status status=healthy": 1,
		"jackcache.health.problems ": 0, "jackcache.store.limit ": jackcache.DefaultEmbeddedBytes,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := collected(t, reader); len(got) > 0 {
		t.Errorf("a closed cache tells %v", got)
	}
}

// TestSpansOfALibrary: a span of each operation below that of the caller, and
// none for a caller who has none.
func TestSpansOfALibrary(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	mine := jackcache.NewKind[string](jackcache.KindOptions{Name: "mine", TTL: time.Hour})
	c, err := jackcache.Open(t.Context(), jackcache.Options{DataDir: t.TempDir(), Kinds: []jackcache.AnyKind{mine}, TracerProvider: provider})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	const org, id = "zqorg", "zqid"
	load := func(context.Context) (string, error) { return "v", nil }
	if _, err := mine.GetOrLoad(t.Context(), c.Org(org), id, load); err != nil {
		t.Fatal(err)
	}
	if got := spans.Ended(); len(got) > 0 {
		t.Errorf("a caller without a span made %v", got)
	}
	ctx, caller := provider.Tracer("caller").Start(t.Context(), "caller")
	if _, err := mine.GetOrLoad(ctx, c.Org(org), id+"2", load); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Set(ctx, c.Org(org), id, "w", jackcache.IfAbsent()); !errors.Is(err, jackcache.ErrPrecondition) {
		t.Fatal(err)
	}
	if _, err := c.Org(org).Conversation("+16045550000").Import(ctx, jackcache.Message{ID: "m", Role: "user", Content: "x"}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range spans.Ended() {
		names = append(names, s.Name())
		if s.Parent().SpanID() != caller.SpanContext().SpanID() {
			t.Errorf("%s is not below the caller", s.Name())
		}
		for _, a := range s.Attributes() {
			if a != attribute.String("jackcache.kind", "mine") && a != attribute.String("error.type", "precondition") {
				t.Errorf("%s has %v", s.Name(), a)
			}
		}
	}
	// A get before and one in the flight.
	if want := []string{"jackcache get", "jackcache get", "jackcache load", "jackcache fill", "jackcache set"}; !slices.Equal(names, want) {
		t.Errorf("spans %v, want %v", names, want)
	}
}
