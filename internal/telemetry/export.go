package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The protocols of OTLP that are spoken.
const (
	overHTTP = "http/protobuf"
	overGRPC = "grpc"
)

// export says what goes out over OTLP, and how. The exporters themselves read
// endpoints, headers, certificates, compression, temporality and time limits
// from the environment; so does the SDK with samplers, queues and intervals.
type export struct {
	traces, metrics                 bool
	tracesProtocol, metricsProtocol string
}

// readExport reads what the SDK of Go leaves to its caller.
//
// See https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
func readExport(getenv func(string) string) (export, error) {
	var (
		e        export
		problems []string // each once: both signals may read one variable
	)
	wrong := func(problem string) {
		if !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return e, nil
	}
	for _, signal := range []struct {
		name     string
		on       *bool
		protocol *string
	}{{"TRACES", &e.traces, &e.tracesProtocol}, {"METRICS", &e.metrics, &e.metricsProtocol}} {
		first := func(names ...string) (name, value string) {
			for _, name := range names {
				if v := getenv(name); v != "" {
					return name, v
				}
			}
			return "", ""
		}
		name, endpoint := first("OTEL_EXPORTER_OTLP_"+signal.name+"_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
		if endpoint == "" {
			continue
		}
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			wrong(fmt.Sprintf("%s is %q: allowed are URLs such as http://localhost:4318", name, endpoint))
		}
		switch v := getenv("OTEL_" + signal.name + "_EXPORTER"); v {
		case "", "otlp":
			*signal.on = true
		case "none":
			continue
		default:
			wrong(fmt.Sprintf("OTEL_%s_EXPORTER is %q: allowed are otlp and none", signal.name, v))
		}
		switch name, v := first("OTEL_EXPORTER_OTLP_"+signal.name+"_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); v {
		case "":
			*signal.protocol = overHTTP
		case overHTTP, overGRPC:
			*signal.protocol = v
		default:
			wrong(fmt.Sprintf("%s is %q: allowed are %s and %s", name, v, overHTTP, overGRPC))
		}
	}
	if len(problems) > 0 {
		return e, errors.New(strings.Join(problems, "\n"))
	}
	return e, nil
}

func metricExporter(ctx context.Context, e export) (sdkmetric.Exporter, error) {
	if e.metricsProtocol == overGRPC {
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}

func traceExporter(ctx context.Context, e export) (sdktrace.SpanExporter, error) {
	if e.tracesProtocol == overGRPC {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

// quiet is how long the same failure of an exporter is not told again.
const quiet = time.Minute

// logErrors sends what the SDK has to say to a logger: failures once in a while,
// because an endpoint that is away fails again and again.
func logErrors(log *slog.Logger) {
	otel.SetLogger(logr.FromSlogHandler(terse{log}))
	var (
		mu   sync.Mutex
		last time.Time // guarded by mu
	)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < quiet {
			return
		}
		last = time.Now()
		log.Warn("telemetry was not delivered; serving goes on", "err", err)
	}))
}

// terse logs what the SDK says of its variables without their values, some of
// which are secrets.
type terse struct{ log *slog.Logger }

// leastSaid is the level that the SDK's warnings have.
const leastSaid = slog.Level(-1)

func (t terse) Enabled(_ context.Context, l slog.Level) bool { return l >= leastSaid }

func (t terse) Handle(ctx context.Context, r slog.Record) error {
	t.log.WarnContext(ctx, "an OTEL_ variable is wrong, or could not be used: "+r.Message)
	return nil
}

func (t terse) WithAttrs([]slog.Attr) slog.Handler { return t }

func (t terse) WithGroup(string) slog.Handler { return t }
