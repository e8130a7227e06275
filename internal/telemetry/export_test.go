package telemetry

import (
	"strings"
	"testing"
)

// TestReadExport: which variables turn what on.
func TestReadExport(t *testing.T) {
	const all = "OTEL_EXPORTER_OTLP_ENDPOINT=http://x"
	both := func(protocol string) export {
		return export{traces: true, metrics: true, tracesProtocol: protocol, metricsProtocol: protocol}
	}
	for env, want := range map[string]export{
		"":                                 {},
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc": {},
		all:                                both(overHTTP),
		all + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc": both(overGRPC),
		all + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf": {
			traces: true, metrics: true, tracesProtocol: overGRPC, metricsProtocol: overHTTP},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x":  {traces: true, tracesProtocol: overHTTP},
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://x": {metrics: true, metricsProtocol: overHTTP},
		all + " OTEL_TRACES_EXPORTER=none":             {metrics: true, metricsProtocol: overHTTP},
		all + " OTEL_METRICS_EXPORTER=none":            {traces: true, tracesProtocol: overHTTP},
		all + " OTEL_TRACES_EXPORTER=otlp":             both(overHTTP),
		all + " OTEL_SDK_DISABLED=TRUE":                {},
		all + " OTEL_SDK_DISABLED=false":               both(overHTTP),
	} {
		if got, err := readExport(getenv(env)); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", env, got, err, want)
		}
	}
	for env, want := range map[string]string{
		all + " OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json": `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "http/json"`,
		all + " OTEL_METRICS_EXPORTER=prometheus":             `OTEL_METRICS_EXPORTER is "prometheus"`,
	} {
		if _, err := readExport(getenv(env)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", env, err, want)
		}
	}
}

// getenv reads variables from a text.
func getenv(text string) func(string) string {
	return func(name string) string {
		for pair := range strings.FieldsSeq(text) {
			if n, v, _ := strings.Cut(pair, "="); n == name {
				return v
			}
		}
		return ""
	}
}
