package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/jackcache/jackcache/internal/redistest"
)

// noCopies is for counts: whether a copy answers depends on when redis tells of a
// change.
const noCopies = "JACKCACHE_NEAR_BYTES=off"

// beginMeasured starts a Redis and a server on it, both of which end with the
// test. The budget is one that a busy machine keeps.
func beginMeasured(t *testing.T, env ...string) (*redistest.Server, *process) {
	t.Helper()
	r := redistest.Start(t)
	env = append([]string{
		"PATH=" + os.Getenv("PATH"), "REDIS_HOST=" + r.Host(), "REDIS_PORT=" + strconv.Itoa(r.Port()), "JACKCACHE_BUDGET=5s",
	}, env...)
	p, err := start(t.TempDir(), env, "--addr", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	until(t, p.addr, "/api/health", func(_ int, body string) bool { return strings.Contains(body, `"state":"up"`) })
	return r, p
}

// send makes one request and returns the status, 0 where there was none. It may
// be called in any goroutine.
func send(t *testing.T, c *http.Client, p *process, method, path, body string, headers ...string) int {
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.addr+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	for _, h := range headers {
		name, v, _ := strings.Cut(h, ": ")
		req.Header.Set(name, v)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Error(err)
	}
	return res.StatusCode
}

// readings are the values of a scrape, by name and labels in order of name; of
// a histogram its count.
type readings map[string]float64

func parseMetrics(t *testing.T, text string) readings {
	t.Helper()
	out := readings{}
	for name, f := range parseFamilies(t, text) {
		for _, m := range f.GetMetric() {
			out[seriesName(name, m)] = sample(f.GetType(), m)
		}
	}
	return out
}

func parseFamilies(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return families
}

func seriesName(name string, m *dto.Metric) string {
	var labels []string
	for _, l := range m.GetLabel() {
		labels = append(labels, l.GetName()+"="+l.GetValue())
	}
	slices.Sort(labels)
	return name + "{" + strings.Join(labels, ",") + "}"
}

func sample(kind dto.MetricType, m *dto.Metric) float64 {
	switch kind {
	case dto.MetricType_COUNTER:
		return m.GetCounter().GetValue()
	case dto.MetricType_GAUGE:
		return m.GetGauge().GetValue()
	case dto.MetricType_HISTOGRAM:
		return float64(m.GetHistogram().GetSampleCount())
	}
	return 0
}

func scrape(t *testing.T, p *process) readings {
	t.Helper()
	status, text := ask(t.Context(), p.addr, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, text)
	}
	return parseMetrics(t, text)
}

// counted waits until a scrape has exactly the values of want: what is counted
// at the end of a request may come after its answer.
func counted(t *testing.T, p *process, want readings) {
	t.Helper()
	var wrong []string
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		got := scrape(t, p)
		wrong = nil
		for name, v := range want {
			if got[name] != v {
				wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", name, got[name], v))
			}
		}
		if len(wrong) == 0 {
			return
		}
	}
	t.Fatalf("the scrape differs from the driver's counts:\n%s", strings.Join(wrong, "\n"))
}

// driver sends known requests and counts what the metrics should say of them.
type driver struct {
	t *testing.T
	p *process
	c *http.Client

	mu   sync.Mutex
	want readings // guarded by mu
}

func (d *driver) add(name string, n float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want[name] += n
}

// request counts what every request counts, and the operation behind it.
func (d *driver) request(method, route, path, body string, op, result string) int {
	status := send(d.t, d.c, d.p, method, path, body, "Content-Type: application/json")
	failed := ""
	if status >= 500 {
		failed = "error_type=" + strconv.Itoa(status) + ","
	}
	d.add(fmt.Sprintf("http_server_request_duration_seconds{%shttp_request_method=%s,http_response_status_code=%d,http_route=%s,url_scheme=http}",
		failed, method, status, route), 1)
	if op != "" {
		d.add("jackcache_operations_total{op="+op+",result="+result+"}", 1)
	}
	return status
}

const (
	entryRoute    = "/api/v1/orgs/{org}/entries/{kind}/{id}"
	messagesRoute = "/api/v1/orgs/{org}/conversations/{phone}/messages"
)

// one sends one request of a random sort, on keys of its own.
func (d *driver) one(r *rand.Rand, caller, n int) {
	id := fmt.Sprintf("%d-%d", caller, n)
	entry := "/api/v1/orgs/o-" + strconv.Itoa(caller) + "/entries/agentConfig/" + id
	talk := fmt.Sprintf("/api/v1/orgs/o-%d/conversations/+1604%d%06d/messages", caller, caller%10, n)
	gets := func(kind, result string) { d.add("jackcache_gets_total{kind="+kind+",result="+result+"}", 1) }
	switch r.IntN(6) {
	case 0:
		d.request("PUT", entryRoute, entry, `{"a":1}`, "set", "ok")
		d.request("GET", entryRoute, entry, "", "get", "ok")
		gets("agentConfig", "hit")
	case 1:
		d.request("GET", entryRoute, entry+"-absent", "", "get", "ok")
		gets("agentConfig", "miss")
	case 2:
		d.request("POST", messagesRoute, talk, `{"id":"m","role":"user","content":"x"}`, "append", "ok")
		d.request("GET", messagesRoute, talk, "", "messages", "ok")
		gets("conversationContext", "hit")
	case 3:
		d.request("POST", messagesRoute, talk, `{"id":"m","role":"user","content":"x"}`, "append", "ok")
		d.request("POST", messagesRoute, talk, `{"id":"m","role":"user","content":"y"}`, "append", "conflict")
	case 4:
		d.request("DELETE", entryRoute, entry, "", "delete", "ok")
	case 5:
		d.request("GET", "/api/v1/orgs/{org}/entries/{kind}/{id}", "/api/v1/orgs/o/entries/noSuchKind/x", "", "", "")
	}
}

// TestMetricsAreExact: the metrics say of known requests, of many callers at a
// time and while Redis is away, exactly what the driver counted.
func TestMetricsAreExact(t *testing.T) {
	t.Parallel()
	r, p := beginMeasured(t, noCopies)
	d := &driver{t: t, p: p, want: readings{}, c: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	t.Cleanup(d.c.CloseIdleConnections)
	const seed = 7
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(caller)))
			for n := range 60 {
				d.one(rnd, caller, n)
			}
		})
	}
	callers.Wait()
	counted(t, p, d.want)

	r.Kill()
	until(t, p.addr, "/api/health", func(_ int, body string) bool { return strings.Contains(body, `"state":"down"`) })
	for n := range 10 {
		if status := d.request("GET", entryRoute, fmt.Sprintf("/api/v1/orgs/o/entries/agentConfig/%d", n), "", "get", "unavailable"); status != 503 {
			t.Errorf("without Redis: %d", status)
		}
	}
	d.want["jackcache_store_state{state=up}"], d.want["jackcache_store_state{state=down}"] = 0, 1
	d.want["jackcache_breaker_state{node="+r.Addr()+",state=open}"] = 1
	d.want["jackcache_health_status{status=degraded}"] = 1
	counted(t, p, d.want)
}

// TestTripsAreCounted: one record for each trip to Redis.
func TestTripsAreCounted(t *testing.T) {
	t.Parallel()
	r, p := beginMeasured(t, noCopies)
	d := &driver{t: t, p: p, c: http.DefaultClient, want: readings{}}
	for n := range 20 {
		path := fmt.Sprintf("/api/v1/orgs/o/entries/agentConfig/%d", n)
		d.request("PUT", entryRoute, path, "1", "set", "ok")
		d.request("GET", entryRoute, path, "", "get", "ok")
		d.request("GET", entryRoute, path, "", "get", "ok")
	}
	trips := func(command string) string {
		return fmt.Sprintf("db_client_operation_duration_seconds{db_namespace=0,db_operation_name=%s,db_system_name=redis,server_address=%s,server_port=%d}", command, r.Host(), r.Port())
	}
	d.want[trips("EVALSHA")], d.want[trips("MGET")] = 20, 40
	counted(t, p, d.want)
}

// aPhone is one of those that the test sends, in any of its forms.
var aPhone = regexp.MustCompile(`(^|[^0-9])1604[0-9]{7}([^0-9]|$)`)

// TestHostileLabels: nothing that a client sends becomes a label or a part of a
// span, and the number of series does not grow with it.
func TestHostileLabels(t *testing.T) {
	t.Parallel()
	rec, env := receive(t, "grpc")
	_, p := beginMeasured(t, env...)
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	t.Cleanup(c.CloseIdleConnections)
	const mark, times = "zqhostile", 1000
	round := func(n int) {
		word := fmt.Sprintf("%s%d", mark, n)
		evil := "X-Request-Id: " + word
		send(t, c, p, "GET", "/"+word+"/x", "", evil, "User-Agent: "+word)
		send(t, c, p, word, "/api/v1/orgs/o/entries/agentConfig/x", "", evil)
		send(t, c, p, "GET", "/api/v1/orgs/"+word+"/entries/"+word+"/x", "", evil, "Traceparent: "+word)
		send(t, c, p, "GET", "/api/v1/orgs/"+word+"/entries/agentConfig/"+word, "", evil, "Host: "+word)
		send(t, c, p, "GET", fmt.Sprintf("/api/v1/orgs/%s/conversations/+1604%07d/messages", word, n), "", evil, "Tracestate: "+word+"=1")
		send(t, c, p, "PUT", "/api/v1/orgs/o/entries/agentConfig/"+word+"?"+word+"="+word, `{"`+word+`":1}`, "Content-Type: application/"+word)
	}
	for n := range 20 {
		round(n)
	}
	scrape(t, p) // is a request, too
	before := scrape(t, p)
	var callers sync.WaitGroup
	for part := range 4 {
		callers.Go(func() {
			for n := 20 + part; n < times; n += 4 {
				round(n)
			}
		})
	}
	callers.Wait()
	_, text := ask(t.Context(), p.addr, "/metrics")
	if strings.Contains(text, mark) || aPhone.MatchString(text) {
		t.Error("a text of a client is in the metrics")
	}
	after := parseMetrics(t, text)
	for _, name := range slices.Sorted(maps.Keys(after)) {
		// Heartbeats and failures of a busy machine may come at any time.
		if _, ok := before[name]; !ok && !strings.Contains(name, "error_type=") && !strings.HasPrefix(name, "db_client_") {
			t.Errorf("%s came with the hostile requests", name)
		}
	}
	if code, err := p.end(syscall.SIGTERM); err != nil || code != exitDone { // which flushes
		t.Fatalf("exit code %d, %v", code, err)
	}
	spans := rec.spans()
	if len(spans) < times {
		t.Errorf("there are %d spans", len(spans))
	}
	for _, s := range spans {
		if text := s.String(); strings.Contains(text, mark) || aPhone.MatchString(text) {
			t.Fatalf("a text of a client is in a span: %s", text)
		}
	}
}

// TestPromtool: Prometheus' own check finds nothing to say about a scrape of a
// server at work.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("this test needs promtool: apt-get install -y --no-install-recommends prometheus, or make tools")
	}
	_, p := beginMeasured(t)
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	for caller := range 4 {
		d := &driver{t: t, p: p, c: http.DefaultClient, want: readings{}}
		load.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(caller)))
			for n := 0; ctx.Err() == nil; n++ {
				d.one(rnd, caller, n%1_000_000)
			}
		})
	}
	until(t, p.addr, "/metrics", func(_ int, body string) bool { return strings.Contains(body, `op="append",result="conflict"} 1`) })
	for range 3 {
		_, text := ask(t.Context(), p.addr, "/metrics")
		cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil || out.Len() > 0 {
			t.Fatalf("promtool check metrics: %v\n%s", err, out.String())
		}
	}
}

// metricWords are names of metrics, or their beginnings, in docs/metrics.md.
var metricWords = regexp.MustCompile("`((?:jackcache|http_server|db_client|process|go|target)_[a-z_]*)(?:\\*)?`")

// TestMetricsPage: docs/metrics.md has all that a scrape has and nothing else,
// and the buckets as they are.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range metricWords.FindAllStringSubmatch(string(page), -1) {
		told = append(told, m[1])
	}
	r, p := beginMeasured(t)
	if _, err := r.Do("CONFIG", "SET", "maxmemory", "100mb"); err != nil {
		t.Fatal(err)
	}
	send(t, http.DefaultClient, p, "PUT", "/api/v1/orgs/o/entries/agentConfig/x", "1", "Content-Type: application/json")
	until(t, p.addr, "/metrics", func(_ int, body string) bool {
		return strings.Contains(body, "jackcache_node_limit_bytes") && strings.Contains(body, "jackcache_journal_sync_latency_seconds")
	})
	_, text := ask(t.Context(), p.addr, "/metrics")
	families := parseFamilies(t, text)
	for name := range families {
		if !slices.ContainsFunc(told, func(w string) bool { return w == name || strings.HasSuffix(w, "_") && strings.HasPrefix(name, w) }) {
			t.Errorf("the page does not tell of %s", name)
		}
	}
	for _, w := range told {
		if families[w] == nil && (!strings.HasSuffix(w, "_") || !strings.Contains(text, "# TYPE "+w)) && !strings.HasPrefix(w, "go_gor") {
			t.Errorf("the page tells of %s, which a scrape does not have", w)
		}
	}
	words := strings.Join(strings.Fields(string(page)), " ")
	for _, name := range []string{"http_server_request_duration_seconds", "db_client_operation_duration_seconds"} {
		var bounds []string
		for _, b := range families[name].GetMetric()[0].GetHistogram().GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				bounds = append(bounds, strconv.FormatFloat(b.GetUpperBound(), 'f', -1, 64))
			}
		}
		if want := "Buckets, in seconds: " + strings.Join(bounds, " ") + "."; !strings.Contains(words, want) {
			t.Errorf("%s: the page does not say: %s", name, want)
		}
	}
}

// TestMetricsWantTheToken: as other routes, unless the setting opens them.
func TestMetricsWantTheToken(t *testing.T) {
	t.Parallel()
	for open, want := range map[string]int{"off": http.StatusUnauthorized, "on": http.StatusOK} {
		p, err := start(t.TempDir(), []string{"PATH=" + os.Getenv("PATH"), "JACKCACHE_API_TOKEN=secret", "JACKCACHE_METRICS_OPEN=" + open}, "--addr", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		if status, _ := ask(t.Context(), p.addr, "/metrics"); status != want {
			t.Errorf("JACKCACHE_METRICS_OPEN=%s: %d, want %d", open, status, want)
		}
		if status := send(t, http.DefaultClient, p, "GET", "/metrics", "", "Authorization: Bearer secret"); status != http.StatusOK {
			t.Errorf("JACKCACHE_METRICS_OPEN=%s, with the token: %d", open, status)
		}
	}
}

// silent returns the address of a server that takes connections and never
// answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
