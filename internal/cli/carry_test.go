package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/redistest"
)

// toRedis is the environment of a program that uses a server.
func toRedis(server *redistest.Server) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "REDIS_HOST=" + server.Host(), "REDIS_PORT=" + strconv.Itoa(server.Port())}
}

// startIn is start with an environment, on a free port; the process ends with
// the test.
func startIn(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p, err := start(dir, env, append([]string{"--addr", "127.0.0.1:0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// fails runs serve, which must not begin to serve, and returns what it said.
func fails(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	p, err := start(dir, env, append([]string{"--addr", "127.0.0.1:0"}, args...)...)
	if err == nil {
		p.kill()
		t.Fatal("it serves")
	}
	return err.Error()
}

// exported returns the lines of an export, sorted.
func exported(t *testing.T, addr string) string {
	t.Helper()
	status, body := ask(t.Context(), addr, "/api/v1/export")
	if status != 200 {
		t.Fatalf("export: %d %s", status, body)
	}
	return sortedLines(body)
}

// lives returns when each conversation ends, by its key.
func lives(t *testing.T, addr string) map[string]time.Time {
	t.Helper()
	all := make(map[string]time.Time)
	for cursor := ""; ; {
		status, body := ask(t.Context(), addr, keysRoute+"?kind=conversationContext&limit=1000&cursor="+cursor)
		var page struct {
			Keys []struct {
				Key       string
				ExpiresAt time.Time
			}
			Cursor string
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != 200 {
			t.Fatalf("keys: %d, %v: %.300s", status, err, body)
		}
		for _, k := range page.Keys {
			all[k.Key] = k.ExpiresAt
		}
		if cursor = page.Cursor; cursor == "" {
			return all
		}
	}
}

func ready(status int, _ string) bool { return status == 200 }

// carriedEntries is about what a dealer's import has.
const carriedEntries = 2866

// filled makes an embedded store with an import in dir and returns its export
// and the ends of its lives.
func filled(t *testing.T, dir string, entries int) (string, map[string]time.Time) {
	t.Helper()
	p := begin(t, dir)
	im := program(t, dir, "import", "--server", p.addr, "-")
	im.Stdin = bytes.NewReader(manyEntries(entries))
	if out, err := im.CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	before, ends := exported(t, p.addr), lives(t, p.addr)
	if code, err := p.end(syscall.SIGTERM); err != nil || code != exitDone {
		t.Fatalf("serve ended with %d, %v", code, err)
	}
	return before, ends
}

// The promise: the first start with Redis carries the embedded store over. With
// kill -9 anywhere on the way nothing is missing in the end, nothing is there
// twice, and no life was prolonged.
func TestKilledCarryOver(t *testing.T) {
	t.Parallel()
	dir, server := t.TempDir(), redistest.Start(t)
	before, ends := filled(t, dir, carriedEntries)
	env := toRedis(server)
	file, cut := filepath.Join(dir, "jackcache-data", "embedded.db"), 0
	for _, after := range []int{1, 200, 900, 2000} {
		p := startIn(t, dir, env)
		written(t, server, after)
		p.kill()
		if _, err := os.Stat(file); err == nil {
			cut++
		}
	}
	if cut == 0 {
		t.Error("no carry-over was cut: each had ended before the kill")
	}
	t.Logf("%d of 4 were cut", cut)
	p := startIn(t, dir, env)
	until(t, p.addr, "/readyz", ready)
	if got := exported(t, p.addr); got != before {
		t.Errorf("the export has %d lines in redis, %d before", strings.Count(got, "\n"), strings.Count(before, "\n"))
	}
	sameLives(t, ends, lives(t, p.addr))
	if log := p.output(); cut == 4 && !strings.Contains(log, "carried over what the embedded store held") {
		t.Errorf("the log does not tell of the carry-over:\n%s", log)
	} else {
		t.Log(log)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the embedded file is still there: %v", err)
	}
	if code, err := p.end(syscall.SIGTERM); err != nil || code != exitDone {
		t.Fatalf("serve ended with %d, %v", code, err)
	}
	p = startIn(t, dir, env)
	if got := exported(t, p.addr); got != before {
		t.Error("after another start the export differs")
	}
	if strings.Contains(p.output(), "carrying over") {
		t.Errorf("the second start carried over again:\n%s", p.output())
	}
}

// written waits until redis has n keys.
func written(t *testing.T, server *redistest.Server, n int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		text, err := server.Do("DBSIZE")
		if err != nil {
			t.Fatal(err)
		}
		if size, _ := strconv.Atoi(strings.TrimSpace(text)); size >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("redis has %s keys, want %d", text, n)
		}
	}
}

// sameLives checks that lives end when they did before, to the precision of
// their listing.
func sameLives(t *testing.T, before, after map[string]time.Time) {
	t.Helper()
	if len(before) != len(after) {
		t.Errorf("%d conversations, %d before", len(after), len(before))
	}
	for key, end := range before {
		if d := after[key].Sub(end); d.Abs() > 2*time.Second {
			t.Errorf("%s lives until %s, %s before", key, after[key], end)
		}
	}
}

// While redis is away at the first start nothing is served, and that is told;
// nothing has to be done when it comes.
func TestCarryOverWaits(t *testing.T) {
	t.Parallel()
	dir, server := t.TempDir(), redistest.Start(t)
	before, _ := filled(t, dir, 50)
	server.Kill()
	p := startIn(t, dir, toRedis(server))
	until(t, p.addr, "/readyz", func(status int, _ string) bool { return status == 503 })
	status, body := ask(t.Context(), p.addr, "/api/health")
	if status != 503 || !strings.Contains(body, "carrying over the embedded store: 0 of") {
		t.Errorf("health: %d %s", status, body)
	}
	told, err := program(t, dir, "health", "--server", "http://"+p.addr).CombinedOutput()
	if err == nil || !strings.Contains(string(told), "carrying over the embedded store") {
		t.Errorf("jackcache health: %v, %s", err, told)
	}
	if status, body := ask(t.Context(), p.addr, "/api/v1/orgs/org-0/conversations/+16045550000/messages"); status != 503 {
		t.Errorf("a read is answered %d %s", status, body)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	until(t, p.addr, "/readyz", ready)
	if got := exported(t, p.addr); got != before {
		t.Error("the export differs")
	}
}

// Nothing is carried back: the embedded store wants to be named where redis has
// served, and begins empty.
func TestBackToEmbedded(t *testing.T) {
	t.Parallel()
	dir, server := t.TempDir(), redistest.Start(t)
	before, _ := filled(t, dir, 20)
	p := startIn(t, dir, toRedis(server))
	until(t, p.addr, "/readyz", ready)
	p.kill()
	path := []string{"PATH=" + os.Getenv("PATH")}
	if said := fails(t, dir, path); !strings.Contains(said, "JACKCACHE_STORE=embedded") || !strings.Contains(said, "not carried back") {
		t.Errorf("it said %s", said)
	}
	p = startIn(t, dir, append(path, "JACKCACHE_STORE=embedded"))
	if got := exported(t, p.addr); got != "" {
		t.Errorf("the embedded store begins with %s", got)
	}
	im := program(t, dir, "import", "--server", p.addr, "-")
	im.Stdin = strings.NewReader(`{"map":"agentConfig","key":"org-0:new","value":{"model":"large"}}` + "\n")
	if out, err := im.CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	after := exported(t, p.addr)
	p.kill()
	p = startIn(t, dir, toRedis(server))
	until(t, p.addr, "/readyz", ready)
	if got, want := exported(t, p.addr), sortedLines(before+after); got != want {
		t.Errorf("forward again: %d lines, want %d", strings.Count(got, "\n"), strings.Count(want, "\n"))
	}
}

// A data directory knows its redis: another one is refused by name, and taken
// when that is said.
func TestWrongRedis(t *testing.T) {
	t.Parallel()
	dir, right, wrong := t.TempDir(), redistest.Start(t), redistest.Start(t)
	startIn(t, dir, toRedis(right)).kill()
	startIn(t, t.TempDir(), toRedis(wrong)).kill()
	ids := make([]string, 2)
	for i, s := range []*redistest.Server{right, wrong} {
		id, err := s.Do("GET", "jack:dev:__store")
		if err != nil || len(id) < 36 {
			t.Fatalf("id %q, %v", id, err)
		}
		ids[i] = strings.TrimSpace(id)
	}
	said := fails(t, dir, toRedis(wrong))
	for _, want := range append(ids, "--adopt", wrong.Addr(), "database 0") {
		if !strings.Contains(said, want) {
			t.Errorf("it does not name %s: %s", want, said)
		}
	}
	p := startIn(t, dir, toRedis(wrong), "--adopt")
	if !strings.Contains(p.output(), "belongs to another redis from now on") {
		t.Errorf("it does not tell: %s", p.output())
	}
	p.kill()
	startIn(t, dir, toRedis(wrong)).kill()
	if said := fails(t, dir, toRedis(right)); !strings.Contains(said, "--adopt") {
		t.Errorf("the first one is not refused now: %s", said)
	}
}

// An empty database in another place is not taken for one that lost its data:
// it gets neither an id nor data, unless that is said, and then an id of its own.
func TestWrongRedisDatabase(t *testing.T) {
	t.Parallel()
	dir, server := t.TempDir(), redistest.Start(t)
	startIn(t, dir, toRedis(server)).kill()
	env := append(toRedis(server), "REDIS_DB=1")
	said := fails(t, dir, env)
	for _, want := range []string{"holds no data of jackcache", "--adopt", server.Addr() + ", database 1", server.Addr() + ", database 0"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not name %s: %s", want, said)
		}
	}
	if text, err := server.Do("INFO", "keyspace"); err != nil || strings.Contains(text, "db1:") {
		t.Errorf("the databases have %s, %v", text, err)
	}
	startIn(t, dir, toRedis(server)).kill()
	startIn(t, dir, env, "--adopt").kill()
	startIn(t, dir, env).kill()
	if said := fails(t, dir, toRedis(server)); !strings.Contains(said, "is the store") {
		t.Errorf("the first database after that: %s", said)
	}
}

// clear removes the keys from redis, of one organisation or of all.
func TestClear(t *testing.T) {
	t.Parallel()
	dir, server := t.TempDir(), redistest.Start(t)
	p := startIn(t, dir, toRedis(server))
	im := program(t, dir, "import", "--server", p.addr, "-")
	im.Stdin = bytes.NewReader(manyEntries(140))
	if out, err := im.CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	keysOf := func(pattern string) int {
		text, err := server.Do("KEYS", pattern)
		if err != nil {
			t.Fatal(err)
		}
		return len(strings.Fields(text))
	}
	others := keysOf("jack:dev:*org-1:*")
	if keysOf("jack:dev:*org-0:*") == 0 || others == 0 {
		t.Fatal("nothing was imported")
	}
	run := func(args ...string) string {
		out, err := program(t, dir, append([]string{"clear", "--server", p.addr}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("clear %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := run("--org", "org-0", "--yes"); !strings.Contains(out, "cleared org-0: ") {
		t.Errorf("it says %s", out)
	}
	if n := keysOf("jack:dev:*org-0:*"); n != 0 {
		t.Errorf("%d keys of org-0 are left", n)
	}
	if n := keysOf("jack:dev:*org-1:*"); n != others {
		t.Errorf("org-1 has %d keys, %d before", n, others)
	}
	if out := run("--all", "--yes", "--json"); !strings.Contains(out, `"organisations":6`) {
		t.Errorf("it says %s", out)
	}
	if n := keysOf("jack:dev:[a-z]*"); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	if keysOf("jack:dev:__store") != 1 || keysOf("jack:dev:__gen:*") != 7 {
		t.Error("the store's id or generations are gone")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, fmt.Sprintf("http://%s/api/v1/all", p.addr), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != 400 {
		t.Errorf("without ?confirm=all: %d", resp.StatusCode)
	}
}
