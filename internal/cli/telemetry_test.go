package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collectmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// receiver is an OTLP endpoint that keeps what arrives.
type receiver struct {
	collecttrace.UnimplementedTraceServiceServer

	mu      sync.Mutex
	traces  []*collecttrace.ExportTraceServiceRequest     // guarded by mu
	metrics []*collectmetrics.ExportMetricsServiceRequest // guarded by mu
}

// Export takes spans over gRPC.
func (r *receiver) Export(_ context.Context, req *collecttrace.ExportTraceServiceRequest) (*collecttrace.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.traces = append(r.traces, req)
	return &collecttrace.ExportTraceServiceResponse{}, nil
}

// metricsReceiver is the part of a receiver that takes metrics.
type metricsReceiver struct {
	collectmetrics.UnimplementedMetricsServiceServer
	*receiver
}

// Export takes metrics over gRPC.
func (r metricsReceiver) Export(_ context.Context, req *collectmetrics.ExportMetricsServiceRequest) (*collectmetrics.ExportMetricsServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics = append(r.metrics, req)
	return &collectmetrics.ExportMetricsServiceResponse{}, nil
}

// ServeHTTP takes both over HTTP.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer proto.Message
	switch req.URL.Path {
	case "/v1/traces":
		var in collecttrace.ExportTraceServiceRequest
		if err = proto.Unmarshal(body, &in); err == nil {
			answer, err = r.Export(req.Context(), &in)
		}
	case "/v1/metrics":
		var in collectmetrics.ExportMetricsServiceRequest
		if err = proto.Unmarshal(body, &in); err == nil {
			answer, err = metricsReceiver{receiver: r}.Export(req.Context(), &in)
		}
	default:
		err = fmt.Errorf("no such path: %s", req.URL.Path)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out, err := proto.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(out) // the client is gone where this fails
}

// receive starts a receiver and returns the variables that point to it.
func receive(t *testing.T, protocol string) (*receiver, []string) {
	t.Helper()
	r := &receiver{}
	env := []string{"OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_METRIC_EXPORT_INTERVAL=200", "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol}
	if protocol == "http/protobuf" {
		s := httptest.NewServer(r)
		t.Cleanup(s.Close)
		return r, append(env, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collecttrace.RegisterTraceServiceServer(s, r)
	collectmetrics.RegisterMetricsServiceServer(s, metricsReceiver{receiver: r})
	go func() { _ = s.Serve(l) }() // ends with Stop
	t.Cleanup(s.Stop)
	return r, append(env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String())
}

func (r *receiver) spans() []*traces.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*traces.Span
	for _, req := range r.traces {
		for _, res := range req.GetResourceSpans() {
			for _, scope := range res.GetScopeSpans() {
				all = append(all, scope.GetSpans()...)
			}
		}
	}
	return all
}

// metric returns the last of a name that arrived.
func (r *receiver) metric(name string) *metrics.Metric {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range slices.Backward(r.metrics) {
		for _, res := range req.GetResourceMetrics() {
			for _, scope := range res.GetScopeMetrics() {
				for _, m := range scope.GetMetrics() {
					if m.GetName() == name {
						return m
					}
				}
			}
		}
	}
	return nil
}

// resources returns the attributes of all that sent something.
func (r *receiver) resources() []map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []map[string]string
	for _, req := range r.traces {
		for _, res := range req.GetResourceSpans() {
			all = append(all, texts(res.GetResource().GetAttributes()))
		}
	}
	for _, req := range r.metrics {
		for _, res := range req.GetResourceMetrics() {
			all = append(all, texts(res.GetResource().GetAttributes()))
		}
	}
	return all
}

func texts(as []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range as {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[a.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		}
	}
	return out
}

// arrives polls until what is wanted is there.
func arrives[T any](t *testing.T, what string, get func() (T, bool)) T {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		if v, ok := get(); ok {
			return v
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s did not arrive", what)
		}
	}
}

// The caller's trace.
const (
	callersTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan   = "00f067aa0ba902b7"
	callersParent = "Traceparent: 00-" + callersTrace + "-" + callersSpan + "-01"
)

// TestTraces: a request gives spans down to the command of Redis, in the trace
// of the caller, over both protocols.
func TestTraces(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			rec, env := receive(t, protocol)
			redis, p := beginMeasured(t, append(env, "JACKCACHE_LOG_LEVEL=debug", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test")...)
			const secret = "zqsecret"
			if status := send(t, http.DefaultClient, p, "PUT", "/api/v1/orgs/"+secret+"/entries/agentConfig/"+secret, `"`+secret+`"`,
				"Content-Type: application/json", callersParent, "X-Request-Id: "+secret); status != 200 {
				t.Fatal(status)
			}
			spans := arrives(t, "three spans", func() ([]*traces.Span, bool) {
				all := ofCaller(rec.spans())
				return all, len(all) == 3
			})
			checkChain(t, spans, []wantSpan{
				{"PUT /api/v1/orgs/{org}/entries/{kind}/{id}", traces.Span_SPAN_KIND_SERVER, map[string]string{
					"http.request.method": "PUT", "http.route": entryRoute, "http.response.status_code": "200", "url.scheme": "http"}},
				{"jackcache set", traces.Span_SPAN_KIND_INTERNAL, map[string]string{"jackcache.kind": "agentConfig"}},
				{"EVALSHA", traces.Span_SPAN_KIND_CLIENT, map[string]string{
					"db.system.name": "redis", "db.operation.name": "EVALSHA", "db.namespace": "0",
					"server.address": redis.Host(), "server.port": strconv.Itoa(redis.Port())}},
			})
			for _, s := range rec.spans() {
				if strings.Contains(s.String(), secret) {
					t.Errorf("a span tells what nobody may know: %v", s)
				}
			}
			for _, r := range rec.resources() {
				if r["service.name"] != "jackcache" || r["deployment.environment.name"] != "test" || r["service.instance.id"] == "" {
					t.Errorf("resource %v", r)
				}
			}
			arrives(t, "a log line with the trace", func() (int, bool) {
				return 0, strings.Contains(p.output(), `"trace_id":"`+callersTrace+`"`)
			})
		})
	}
}

func ofCaller(all []*traces.Span) []*traces.Span {
	return slices.DeleteFunc(all, func(s *traces.Span) bool { return hex.EncodeToString(s.GetTraceId()) != callersTrace })
}

type wantSpan struct {
	name       string
	kind       traces.Span_SpanKind
	attributes map[string]string
}

// checkChain checks that each span is below the one before, the first below the
// caller's.
func checkChain(t *testing.T, spans []*traces.Span, want []wantSpan) {
	t.Helper()
	parent := callersSpan
	for _, w := range want {
		i := slices.IndexFunc(spans, func(s *traces.Span) bool { return s.GetName() == w.name })
		if i < 0 {
			t.Fatalf("no span %q among %v", w.name, spans)
		}
		s := spans[i]
		if got := hex.EncodeToString(s.GetParentSpanId()); got != parent {
			t.Errorf("%s is below %s, want %s", w.name, got, parent)
		}
		if s.GetKind() != w.kind {
			t.Errorf("%s is %v", w.name, s.GetKind())
		}
		if got := texts(s.GetAttributes()); fmt.Sprint(got) != fmt.Sprint(w.attributes) {
			t.Errorf("%s has %v, want %v", w.name, got, w.attributes)
		}
		parent = hex.EncodeToString(s.GetSpanId())
	}
}

// TestImportHasOneSpan: not one for each line, nor does an export.
func TestImportHasOneSpan(t *testing.T) {
	t.Parallel()
	rec, env := receive(t, "http/protobuf")
	_, p := beginMeasured(t, env...)
	if status := send(t, http.DefaultClient, p, "POST", "/api/v1/import", string(manyEntries(200)), "Content-Type: application/x-ndjson", callersParent); status != 200 {
		t.Fatal(status)
	}
	if status := send(t, http.DefaultClient, p, "GET", "/api/v1/export", "", callersParent); status != 200 {
		t.Fatal(status)
	}
	send(t, http.DefaultClient, p, "GET", "/readyz", "", callersParent)
	if code, err := p.end(syscall.SIGTERM); err != nil || code != exitDone { // which flushes
		t.Fatalf("exit code %d, %v", code, err)
	}
	var names []string
	for _, s := range ofCaller(rec.spans()) {
		names = append(names, s.GetName())
	}
	slices.Sort(names)
	if want := []string{"GET /api/v1/export", "POST /api/v1/import"}; !slices.Equal(names, want) {
		t.Errorf("%d spans: %.400v, want %v", len(names), names, want)
	}
	counts := rec.metric("jackcache.import.entries")
	total := 0.0
	for _, d := range counts.GetSum().GetDataPoints() {
		total += float64(d.GetAsInt())
	}
	if total != 200 {
		t.Errorf("imported are %v of 200: %v", total, counts)
	}
}

// TestTemporality: cumulative, or delta where it is asked for.
func TestTemporality(t *testing.T) {
	t.Parallel()
	for preference, want := range map[string]metrics.AggregationTemporality{
		"":      metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
		"delta": metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA,
	} {
		t.Run("preference "+preference, func(t *testing.T) {
			t.Parallel()
			rec, env := receive(t, "grpc")
			_, p := beginMeasured(t, append(env, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="+preference)...)
			send(t, http.DefaultClient, p, "GET", "/api/v1/orgs/o/entries/agentConfig/x", "")
			duration := arrives(t, "the duration of commands", func() (*metrics.Metric, bool) {
				m := rec.metric("db.client.operation.duration")
				return m, m != nil
			})
			gets := arrives(t, "the gets", func() (*metrics.Metric, bool) {
				m := rec.metric("jackcache.gets")
				return m, m != nil
			})
			if got := duration.GetHistogram().GetAggregationTemporality(); got != want {
				t.Errorf("the histogram is %v", got)
			}
			if got := gets.GetSum(); got.GetAggregationTemporality() != want || !got.GetIsMonotonic() {
				t.Errorf("the counter is %v", got)
			}
			if bounds := duration.GetHistogram().GetDataPoints()[0].GetExplicitBounds(); len(bounds) == 0 || bounds[0] != 0.0001 {
				t.Errorf("the buckets are %v", bounds)
			}
			arrives(t, "a metric of the runtime", func() (int, bool) { return 0, rec.metric("go.goroutine.count") != nil })
		})
	}
}

// TestWrongEndpoint: an endpoint that refuses connections, or never answers,
// neither slows nor stops the server, nor keeps it from ending.
func TestWrongEndpoint(t *testing.T) {
	t.Parallel()
	for name, endpoint := range map[string]string{"refused": nobody, "silent": silent(t)} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				t.Parallel()
				_, p := beginMeasured(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol,
					"OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_METRIC_EXPORT_INTERVAL=50", "OTEL_BSP_MAX_QUEUE_SIZE=16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=8")
				begun := time.Now()
				for range 200 {
					if status := send(t, http.DefaultClient, p, "GET", "/api/v1/orgs/o/entries/agentConfig/x", ""); status != 404 {
						t.Fatal(status)
					}
				}
				if took := time.Since(begun); took > 20*time.Second {
					t.Errorf("200 requests took %v", took)
				}
				if status, _ := ask(t.Context(), p.addr, "/metrics"); status != 200 {
					t.Errorf("/metrics: %d", status)
				}
				begun = time.Now()
				if code, err := p.end(syscall.SIGTERM); err != nil || code != exitDone {
					t.Errorf("exit code %d, %v:\n%s", code, err, p.output())
				}
				if took := time.Since(begun); took > flushTime+10*time.Second {
					t.Errorf("the end took %v", took)
				}
			})
		}
	}
}

// TestOTLPIsOff: without an endpoint, or where the SDK is disabled, nothing is
// sent.
func TestOTLPIsOff(t *testing.T) {
	t.Parallel()
	for _, off := range [][]string{{"OTEL_SDK_DISABLED=true"}, {"OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none"}} {
		rec, env := receive(t, "http/protobuf")
		_, p := beginMeasured(t, append(env, off...)...)
		send(t, http.DefaultClient, p, "GET", "/api/v1/orgs/o/entries/agentConfig/x", "", callersParent)
		if got := scrape(t, p); got["jackcache_gets_total{kind=agentConfig,result=miss}"] != 1 {
			t.Errorf("%v: /metrics has %v", off, got)
		}
		if code, err := p.end(syscall.SIGTERM); err != nil || code != exitDone {
			t.Errorf("exit code %d, %v", code, err)
		}
		if n := len(rec.resources()); n != 0 {
			t.Errorf("%v: %d requests arrived", off, n)
		}
	}
}

// TestWrongOTELVariables: what this program cannot do is refused with the name
// and what is allowed; no value of a header is logged.
func TestWrongOTELVariables(t *testing.T) {
	t.Parallel()
	serve := exec.Command("jackcache", "serve", "--addr", "127.0.0.1:0")
	serve.Dir = t.TempDir()
	serve.Env = []string{"PATH=" + os.Getenv("PATH"), quickEnd, "OTEL_EXPORTER_OTLP_ENDPOINT=notaurl", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "OTEL_TRACES_EXPORTER=zipkin"}
	out, err := serve.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
		t.Errorf("serve ended with %v", err)
	}
	for _, want := range []string{`OTEL_EXPORTER_OTLP_ENDPOINT is "notaurl": allowed are URLs`, `OTEL_EXPORTER_OTLP_PROTOCOL is "http/json": allowed are http/protobuf and grpc`, `OTEL_TRACES_EXPORTER is "zipkin": allowed are otlp and none`} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%s\ndoes not say %s", out, want)
		}
	}

	_, p := beginMeasured(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+nobody, "OTEL_EXPORTER_OTLP_HEADERS=zqsecretkey", "JACKCACHE_LOG_LEVEL=debug")
	if code, err := p.end(syscall.SIGTERM); err != nil || code != exitDone {
		t.Errorf("exit code %d, %v", code, err)
	}
	if log := p.output(); strings.Contains(log, "zqsecret") || !strings.Contains(log, "parse headers") {
		t.Errorf("the log tells of a wrong header:\n%s", log)
	}
	for line := range strings.Lines(p.output()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("the log has a line that is not JSON: %s", line)
		}
	}
}
