package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
)

const monitorPath = "/api/v1/monitor"

// listener reads the events of a monitor.
type listener struct {
	t     *testing.T
	res   *http.Response
	lines *bufio.Scanner
	all   strings.Builder // what came
}

// listen opens a monitor that ends with the test.
func (f *fixture) listen(t *testing.T, query string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+monitorPath+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if ct := res.Header.Get("Content-Type"); res.StatusCode != 200 || ct != asEvents[0] {
		t.Fatalf("%s: %d, %s", query, res.StatusCode, ct)
	}
	return &listener{t: t, res: res, lines: bufio.NewScanner(res.Body)}
}

// line returns the next line that is not empty, and whether there was one.
func (l *listener) line() (string, bool) {
	l.t.Helper()
	for l.lines.Scan() {
		l.all.WriteString(l.lines.Text() + "\n")
		if l.lines.Text() != "" {
			return l.lines.Text(), true
		}
	}
	return "", false
}

// next reads the next event of a name into v; others and comments are skipped.
func (l *listener) next(name string, v any) {
	l.t.Helper()
	for {
		line, ok := l.line()
		if !ok {
			l.t.Fatalf("the stream ends (%v) without an event %s:\n%s", l.lines.Err(), name, l.all.String())
		}
		if line != "event: "+name {
			continue
		}
		data, _ := l.line()
		d := json.NewDecoder(strings.NewReader(strings.TrimPrefix(data, "data: ")))
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			l.t.Fatalf("%s: %v", data, err)
		}
		return
	}
}

func (l *listener) operation() (m monitored) {
	l.t.Helper()
	l.next("operation", &m)
	return m
}

// TestMonitor: operations are told as they end, with their organisations, and
// neither values nor ids.
func TestMonitor(t *testing.T) {
	f := newFixture(t)
	l := f.listen(t, "")
	before := time.Now()
	f.want(201, "POST", talk, `{"id":"secret-id","role":"user","content":"secret"}`)
	f.want(404, "GET", "/api/v1/orgs/org-1/entries/agentConfig/agent-of-ada", "")
	for i, want := range []monitored{
		{Operation: "append", Kind: "conversationContext", Org: "org-123", ID: "…74", Source: "shared", Outcome: "done", Count: 1},
		{Operation: "get", Kind: "agentConfig", Org: "org-1", ID: "ag…", Source: "shared", Outcome: "miss"},
	} {
		got := l.operation()
		if got.Time.Before(before.Add(-time.Second)) || got.TookMs <= 0 || i == 0 && got.Bytes == 0 {
			t.Errorf("%+v", got)
		}
		got.Time, got.TookMs, got.Bytes = time.Time{}, 0, 0
		if got != want {
			t.Errorf("told\n%+v, want\n%+v", got, want)
		}
	}
	for _, secret := range []string{"secret", "6049085474", "agent-of-ada"} {
		if strings.Contains(l.all.String(), secret) {
			t.Errorf("%q is told:\n%s", secret, l.all.String())
		}
	}
}

// TestMonitorParameters: what they leave out does not come.
func TestMonitorParameters(t *testing.T) {
	f := newFixture(t)
	listeners := map[string]*listener{
		"append org-1": f.listen(t, "?org=org-1"), "append org-2": f.listen(t, "?org=org-2&kind=conversationContext"),
		"get org-1": f.listen(t, "?op=get"), "set org-1": f.listen(t, "?errors=only&sample=1"),
	}
	for _, org := range []string{"org-1", "org-2"} {
		path := "/api/v1/orgs/" + org
		f.want(201, "POST", path+"/conversations/+16049085474/messages", theHello)
		f.want(404, "GET", path+"/entries/agentConfig/x", "")
		f.want(412, "PUT", path+"/entries/agentConfig/x", "1", `If-Match: "0123456789abcdef0123"`)
	}
	for want, l := range listeners {
		if got := l.operation(); got.Operation+" "+got.Org != want {
			t.Errorf("%q came first, want %q", got.Operation+" "+got.Org, want)
		}
	}
	for _, bad := range []string{
		"?org=", "?kind=", "?op=", "?kind=nothing", "?op=nothing", "?errors=all", "?sample=0", "?sample=-1", "?sample=x",
		"?sample=1000001", "?org=%00", "?other=1",
	} {
		f.wantProblem(400, "invalid", "GET", monitorPath+bad, "")
	}
	f.want(405, "POST", monitorPath, "")
	f.want(200, "HEAD", monitorPath, "")
}

func TestMonitorWantsTheToken(t *testing.T) {
	f := start(t, jackcache.Options{}, Options{Token: "x"})
	f.wantProblem(401, "unauthorized", "GET", monitorPath, "")
}

// TestMonitorsAreBounded: so many at a time, and who leaves makes room.
func TestMonitorsAreBounded(t *testing.T) {
	f := newFixture(t)
	var all []*listener
	for range jackcache.MaxMonitors {
		all = append(all, f.listen(t, ""))
	}
	p := f.wantProblem(503, "busy", "GET", monitorPath, "")
	if !strings.Contains(p.Detail, "8 monitors are at work") {
		t.Errorf("%+v", p)
	}
	_ = all[0].res.Body.Close()
	f.wantRoom(t)
}

// wantRoom waits until there is room for a monitor.
func (f *fixture) wantRoom(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		m, err := f.a.Cache.Monitor(jackcache.MonitorOptions{})
		if err == nil {
			m.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatal("a monitor whose client is gone goes on: ", err)
		}
	}
}

// TestMonitorSumsUp: what was left out counts, too; where nothing happens the
// server says that it is there.
func TestMonitorSumsUp(t *testing.T) {
	f := newFixture(t)
	f.s.sumUp = 50 * time.Millisecond
	l := f.listen(t, "?sample=10")
	for range 3 {
		if line, ok := l.line(); !ok || line != ": here" {
			t.Fatalf("%q, want a heartbeat", line)
		}
	}
	for range 40 {
		f.want(404, "GET", talk, "")
	}
	var sum summarised
	for told := uint64(0); told < 40; {
		var s summarised
		l.next("summary", &s)
		told += s.Operations
		sum.SampledOut += s.SampledOut
		if s.Seconds <= 0 || s.Errors != 0 || s.Dropped != 0 || s.P50Ms <= 0 || s.MaxMs < s.P50Ms {
			t.Errorf("%+v", s)
		}
	}
	shown := strings.Count(l.all.String(), "event: operation")
	if shown != 4 || sum.SampledOut != 36 {
		t.Errorf("%d shown, %d sampled out, want 4 and 36", shown, sum.SampledOut)
	}
}

// TestMonitorEnds: with the server, and it says so.
func TestMonitorEnds(t *testing.T) {
	for want, end := range map[string]func(*fixture){
		"draining": func(f *fixture) { f.s.Drain(); f.s.Drain() },
		"closed":   func(f *fixture) { _ = f.a.Close(context.Background()) },
	} {
		t.Run(want, func(t *testing.T) {
			f := newFixture(t)
			l := f.listen(t, "")
			end(f)
			var e ended
			if l.next("end", &e); e.Reason != want {
				t.Errorf("the reason is %q, want %q", e.Reason, want)
			}
			if line, ok := l.line(); ok || l.lines.Err() != nil {
				t.Errorf("after the end: %q, %v", line, l.lines.Err())
			}
		})
	}
	f := newFixture(t)
	f.s.Drain()
	var e ended
	f.listen(t, "").next("end", &e)
}

// TestStuckMonitor: a client that does not read is cut, and nobody waits for it.
func TestStuckMonitor(t *testing.T) {
	f := newFixture(t)
	f.s.patience = 100 * time.Millisecond
	var all []*listener
	for range jackcache.MaxMonitors - 1 {
		all = append(all, f.listen(t, "?errors=only"))
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("GET " + monitorPath + " HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	kind, err := f.a.Cache.RawKind("sseResponse")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		if _, err := kind.Get(ctx, f.a.Cache.Org("org-1"), "x"); err != nil {
			t.Fatal("the client is not cut: ", err)
		}
		m, err := f.a.Cache.Monitor(jackcache.MonitorOptions{})
		if err == nil {
			m.Close()
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the client is not cut")
		}
	}
	for _, l := range all { // the others go on
		f.want(412, "PUT", agent, "1", `If-Match: "0123456789abcdef0123"`)
		if got := l.operation(); !got.Failed || got.Outcome != "precondition" {
			t.Errorf("%+v", got)
		}
	}
}
