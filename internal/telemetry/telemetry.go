// Package telemetry is the OpenTelemetry SDK of the program: it serves what is
// measured to Prometheus, and sends metrics and traces over OTLP where a
// standard OTEL_ variable names an endpoint. Packages that are measured know the
// API of OpenTelemetry only.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	goruntime "go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	service = "jackcache"
	// mostScrapes is how many scrapes are served at a time.
	mostScrapes = 4
	// scrapeTime bounds one.
	scrapeTime = 10 * time.Second
)

// Options says what is told. Every field is required.
type Options struct {
	Version string
	// Getenv reads the OTEL_ variables that are not read by the SDK itself.
	Getenv func(string) string
	Logger *slog.Logger
}

// Telemetry is what a program is measured with. Make it with Open, end it with
// Close.
type Telemetry struct {
	// Meters collects for both Handler and OTLP.
	Meters metric.MeterProvider
	// Tracers is nil where nobody gets traces.
	Tracers trace.TracerProvider
	// Handler serves /metrics.
	Handler http.Handler

	ends []func(context.Context) error
}

// Open reports wrong OTEL_ variables as one error. An endpoint that is not
// reached, or refuses what it is sent, is logged and nothing else.
func Open(ctx context.Context, o Options) (*Telemetry, error) {
	export, err := readExport(o.Getenv)
	if err != nil {
		return nil, err
	}
	logErrors(o.Logger)
	res, err := describe(ctx, o.Version)
	if err != nil {
		o.Logger.Warn("the OTEL_ variables describe this process badly", "err", err)
	}
	t := &Telemetry{}
	if err := t.openMetrics(ctx, o, res, export); err != nil {
		return nil, errors.Join(err, t.Close(ctx))
	}
	if err := t.openTraces(ctx, res, export); err != nil {
		return nil, errors.Join(err, t.Close(ctx))
	}
	return t, nil
}

// describe returns the attributes of this process; the environment has the last
// word. What could be read is returned with the error.
func describe(ctx context.Context, version string) (*resource.Resource, error) {
	return resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", version),
		attribute.String("service.instance.id", uuid.NewString()),
	), resource.WithFromEnv())
}

func (t *Telemetry) openMetrics(ctx context.Context, o Options, res *resource.Resource, export export) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	prom, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(prom)}
	if !export.traces {
		options = append(options, sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter)) // there are no traces to point to
	}
	if export.metrics {
		exporter, err := metricExporter(ctx, export)
		if err != nil {
			return fmt.Errorf("metrics over OTLP: %w", err)
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	t.ends = append(t.ends, provider.Shutdown)
	t.Meters = provider
	t.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: mostScrapes, Timeout: scrapeTime,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	})
	if export.metrics {
		// Prometheus has these from its own collector.
		if err := goruntime.Start(goruntime.WithMeterProvider(provider)); err != nil {
			return fmt.Errorf("metrics of the runtime: %w", err)
		}
	}
	return tellBuild(provider.Meter(scope), o.Version)
}

const scope = "github.com/jackcache/jackcache/internal/telemetry"

func tellBuild(m metric.Meter, version string) error {
	build := metric.WithAttributes(attribute.String("version", version), attribute.String("goversion", runtime.Version()))
	_, err := m.Int64ObservableGauge("jackcache.build.info", metric.WithDescription("Always 1; what this program was built from."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(1, build)
			return nil
		}))
	return err
}

func (t *Telemetry) openTraces(ctx context.Context, res *resource.Resource, export export) error {
	if !export.traces {
		return nil
	}
	exporter, err := traceExporter(ctx, export)
	if err != nil {
		return fmt.Errorf("traces over OTLP: %w", err)
	}
	// Spans wait in a queue of bounded length, and are dropped when it is full.
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(exporter))
	t.ends = append(t.ends, provider.Shutdown)
	t.Tracers = provider
	return nil
}

// Close sends what was not sent yet until ctx ends. Nothing is measured any
// more. It may be called once.
func (t *Telemetry) Close(ctx context.Context) error {
	errs := make(chan error, len(t.ends))
	for _, end := range t.ends {
		go func() { errs <- end(ctx) }()
	}
	var all error
	for range t.ends {
		select {
		case err := <-errs:
			all = errors.Join(all, err)
		case <-ctx.Done():
			return errors.Join(all, ctx.Err())
		}
	}
	return all
}
