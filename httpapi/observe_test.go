package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/jackcache/jackcache"
)

// TestRequestSeries: routes as in the table, methods as HTTP knows them.
func TestRequestSeries(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	a := openAssistant(t, jackcache.Options{})
	s := New(a, Options{Logger: slog.New(slog.DiscardHandler), MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	cut := s.handler(route{pattern: "/cut", handle: func(x *exchange) error {
		if _, err := x.Write([]byte("the first part")); err != nil {
			return err
		}
		return jackcache.ErrUnavailable
	}})
	s.mux.Handle("GET /cut", cut)
	s.mux.Handle("GET /panics", s.handler(route{pattern: "/panics", handle: func(*exchange) error { panic("a test") }}))
	for _, r := range [][2]string{
		{"GET", "/"}, {"GET", "/livez"}, {"HEAD", "/livez"}, {"POST", "/livez"}, {"GET", "/nowhere"}, {"FOO", "/livez"}, {"GET", "/a//b"},
		{"GET", "/cut"}, {"GET", "/panics"}, {"GET", "/api/v1/orgs/o/entries/agentConfig/secret"},
	} {
		serveAnyhow(s, httptest.NewRequestWithContext(t.Context(), r[0], "http://x/", nil), r[1])
	}
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, m := range got.ScopeMetrics[0].Metrics {
		h, ok := m.Data.(metricdata.Histogram[float64])
		if !ok {
			continue
		}
		for _, p := range h.DataPoints {
			text := func(k attribute.Key) string {
				v, _ := p.Attributes.Value(k)
				return v.String()
			}
			counts[fmt.Sprint(text(methodAttribute), " ", text(routeAttribute), " ", text(statusAttribute), " ", text(errorAttribute))] += p.Count
		}
	}
	want := map[string]uint64{
		"GET / 200 ": 1, "GET /livez 200 ": 1, "HEAD /livez 200 ": 1, "POST /livez 405 ": 1, "GET  404 ": 1, "_OTHER /livez 405 ": 1, "GET  400 ": 1,
		"GET /cut 200 aborted": 1, "GET /panics 500 500": 1, "GET " + entry + " 404 ": 1,
	}
	if !maps.Equal(counts, want) {
		t.Errorf("counted %v\nwant %v", counts, want)
	}
	for i := range s.observer.active {
		if n := s.observer.active[i][0].way.Load(); n != 0 {
			t.Errorf("%d requests with %s are under way", n, knownMethods[i])
		}
	}
}

// serveAnyhow serves one request, whatever becomes of it.
func serveAnyhow(s *Server, r *http.Request, path string) {
	defer func() { _ = recover() }() // an answer that is cut ends so
	r.URL.Path = path
	s.ServeHTTP(httptest.NewRecorder(), r)
}

// TestSpanOfAMountedServer: below the span of the server that it is mounted in,
// whatever the header says; probes have none.
func TestSpanOfAMountedServer(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	s := New(openAssistant(t, jackcache.Options{}), Options{TracerProvider: provider})
	ctx, outer := provider.Tracer("outer").Start(context.Background(), "outer")
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/api/health"} {
		r := httptest.NewRequestWithContext(ctx, "GET", "http://x"+path, nil)
		r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	var names []string
	for _, sp := range spans.Ended() {
		names = append(names, sp.Name())
		if sp.Parent().SpanID() != outer.SpanContext().SpanID() {
			t.Errorf("%s is not below the outer server's", sp.Name())
		}
	}
	if !slices.Equal(names, []string{"GET /api/health"}) {
		t.Errorf("spans %v", names)
	}
}
