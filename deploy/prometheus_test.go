package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/redistest"
)

// serve starts the program over Redis and returns its address.
func serve(t *testing.T, r *redistest.Server) string {
	t.Helper()
	cmd := exec.Command(binary(t), "serve", "--addr", "127.0.0.1:0", "--data-dir", t.TempDir())
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"REDIS_HOST=" + r.Host(), "REDIS_PORT=" + strconv.Itoa(r.Port()), "JACKCACHE_API_TOKEN=" + token}
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() }) // how it ends does not matter
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var l struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "serving" {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return strings.TrimPrefix(l.Addr, "http://")
		}
	}
	t.Fatal("it does not serve")
	return ""
}

// scrape starts a Prometheus with the rules and returns its address.
func scrape(t *testing.T, target string) string {
	t.Helper()
	port, err := redistest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs("prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := t.TempDir(), "127.0.0.1:"+strconv.Itoa(port)
	config := fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs:
  - job_name: jackcache
    authorization: {credentials: %q}
    static_configs: [{targets: [%q]}]
`, rules, token, target)
	name := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file", name, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", addr)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (apt-get install prometheus has it)", err)
	}
	t.Cleanup(func() {
		_, _, _ = cmd.Process.Kill(), cmd.Wait(), log.Close() // how it ends does not matter
		if t.Failed() {
			t.Logf("Prometheus:\n%s", mustRead(t, log.Name()))
		}
	})
	awaitThat(t, func() (string, bool) {
		status, body := call(t, http.MethodGet, "http://"+addr+"/-/ready", "")
		return body, status == http.StatusOK
	})
	return addr
}

// call sends one request with the token.
func call(t *testing.T, method, target, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(target, "/import") {
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	answer, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it was read
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(answer)
}

// load calls the server until stop is closed: what is there, what is not, and
// what is refused.
func load(t *testing.T, addr string, stop <-chan struct{}) {
	base := "http://" + addr + "/api/v1/orgs/org-123"
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		message := fmt.Sprintf(`{"id":"SM%d","role":"user","content":"Is the blue one still there?"}`, n)
		call(t, "POST", base+"/conversations/+16049085474/messages", message)
		call(t, "GET", base+"/conversations/+16049085474/messages?last=20", "")
		call(t, "PUT", base+"/phone-leads/+16049085474", `{"leadId":"lead-1"}`)
		call(t, "GET", base+"/phone-leads/+16049085474", "")
		call(t, "GET", base+"/entries/leadData/nobody", "")
		call(t, "POST", "http://"+addr+"/api/v1/import", `{"map":"organizationCache","key":"org-9","value":{"n":`+strconv.Itoa(n)+"}}\n")
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// answer is what Prometheus says.
type answer struct {
	Status, Error string
	Data          struct {
		Result []json.RawMessage
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
}

func ask(t *testing.T, addr, path string) answer {
	t.Helper()
	_, body := call(t, http.MethodGet, "http://"+addr+"/api/v1/"+path, "")
	var a answer
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%s: %v in %s", path, err, body)
	}
	if a.Status != "success" {
		t.Fatalf("%s: %s", path, a.Error)
	}
	return a
}

// withoutData returns those expressions that have no series now.
func withoutData(t *testing.T, addr string, expressions map[string]string) map[string]string {
	t.Helper()
	empty := make(map[string]string)
	for where, expr := range expressions {
		if len(ask(t, addr, "query?query="+url.QueryEscape(asSent(expr))).Data.Result) == 0 {
			empty[where] = expr
		}
	}
	return empty
}

// fired returns the state of an alert; empty: it does not fire.
func fired(t *testing.T, addr, alert string) string {
	t.Helper()
	for _, a := range ask(t, addr, "alerts").Data.Alerts {
		if a.Labels["alertname"] == alert {
			return a.State
		}
	}
	return ""
}

// A Prometheus that scrapes a server under load: every panel of the dashboard
// shows something, every rule is evaluated, and the loss of Redis is an alert.
func TestPrometheus(t *testing.T) {
	r := redistest.Start(t, "--maxmemory", "100mb")
	server := serve(t, r)
	addr := scrape(t, server)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); load(t, server, stop) }()
	defer func() { close(stop); <-done }()

	panels := readDashboard(t).expressions()
	for _, a := range readDashboard(t).Annotations.List {
		ask(t, addr, "query?query="+url.QueryEscape(asSent(a.Expr)))
	}
	// What fails has data only when something fails.
	onlyFailing := map[string]string{}
	for where, expr := range panels {
		switch {
		case strings.Contains(expr, "error_type"):
			delete(panels, where) // no command need be under way when Redis stops
		case strings.Contains(expr, "result!~"):
			onlyFailing[where] = expr
			delete(panels, where)
		}
	}
	awaitThat(t, func() (string, bool) {
		empty := withoutData(t, addr, panels)
		return fmt.Sprint("no data while all is well: ", empty), len(empty) == 0
	})
	checkRulesRun(t, addr)
	if alerts := ask(t, addr, "alerts").Data.Alerts; len(alerts) > 0 {
		t.Errorf("alerts while all is well: %v", alerts)
	}

	r.Stop()
	awaitThat(t, func() (string, bool) {
		empty := withoutData(t, addr, onlyFailing)
		return fmt.Sprint("no data without Redis: ", empty), len(empty) == 0
	})
	for _, alert := range []string{"JackcacheStoreUnreachable", "JackcacheDegraded", "JackcacheNodeDown", "JackcacheErrors"} {
		awaitThat(t, func() (string, bool) {
			state := fired(t, addr, alert)
			return alert + " does not fire", state == "pending" || state == "firing"
		})
	}
	if err := r.Restart("--maxmemory", "100mb"); err != nil {
		t.Fatal(err)
	}
	awaitThat(t, func() (string, bool) {
		state := fired(t, addr, "JackcacheStoreUnreachable")
		return "Redis is back, and the alert is " + state, state == ""
	})
}

// checkRulesRun wants every rule to have been evaluated without an error.
func checkRulesRun(t *testing.T, addr string) {
	t.Helper()
	awaitThat(t, func() (string, bool) {
		n := 0
		for _, g := range ask(t, addr, "rules").Data.Groups {
			for _, r := range g.Rules {
				n++
				if r.Health != "ok" {
					return r.Name + " is " + r.Health + ": " + r.LastError, false
				}
			}
		}
		return fmt.Sprint(n, " rules"), n == len(readRules(t))
	})
}
