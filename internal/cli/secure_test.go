package cli

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackcache/jackcache/internal/redistest"
)

// secured is a Redis with TLS, client certificates and a restricted user, whom
// the program's own 'acl' has described, behind a proxy that can cut connections.
type secured struct {
	server *redistest.Server
	proxy  *redistest.Proxy
	files  string   // the directory of the client's files, which tests exchange
	env    []string // of the program
}

const (
	firstPassword  = "first-hunter2"
	secondPassword = "second-hunter2"
)

func startSecured(t *testing.T) *secured {
	t.Helper()
	certs := newCertificates(t)
	s := &secured{
		server: redistest.StartSecure(t, redistest.Security{Password: "admin-hunter2", TLS: certs, ClientCerts: true}),
		files:  filepath.Join(t.TempDir(), "mounted"),
	}
	s.proxy = redistest.StartProxy(t, s.server.Addr())
	s.mount(t, certs, firstPassword)
	s.env = []string{
		"PATH=" + os.Getenv("PATH"), "REDIS_ADDRS=" + s.proxy.Addr(), "REDIS_TLS=on", "REDIS_USERNAME=cache",
		"REDIS_PASSWORD_FILE=" + filepath.Join(s.files, "password"), "REDIS_CA_FILE=" + filepath.Join(s.files, "ca.crt"),
		"REDIS_CERT_FILE=" + filepath.Join(s.files, "client.crt"), "REDIS_KEY_FILE=" + filepath.Join(s.files, "client.key"),
		"JACKCACHE_BUDGET=10s", quickEnd,
	}
	letIn(t, s.env, []*redistest.Server{s.server})
	return s
}

func newCertificates(t *testing.T) *redistest.Certificates {
	t.Helper()
	certs, err := redistest.NewCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

// mount exchanges the client's files at once, as Kubernetes does.
func (s *secured) mount(t *testing.T, certs *redistest.Certificates, password string) {
	t.Helper()
	version := t.TempDir()
	for name, from := range map[string]string{"ca.crt": certs.CAFile, "client.crt": certs.ClientCertFile, "client.key": certs.ClientKeyFile} {
		if err := os.Link(from, filepath.Join(version, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(version, "password"), []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	next := s.files + ".next"
	if err := os.Symlink(version, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, s.files); err != nil {
		t.Fatal(err)
	}
}

// letIn runs on servers what 'jackcache acl' prints for the password in a file.
func letIn(t *testing.T, env []string, servers []*redistest.Server, flags ...string) {
	t.Helper()
	acl := program(t, t.TempDir(), append([]string{"acl", "--hash"}, flags...)...)
	acl.Env = env
	line, err := acl.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if _, err := s.Do(strings.Fields(string(line))...); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// serving starts the program; its log must have no secret.
func serving(t *testing.T, env []string) *process {
	t.Helper()
	p, err := start(t.TempDir(), env, "--addr", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if log := p.output(); strings.Contains(log, "hunter2") || strings.Contains(log, "PRIVATE KEY") {
			t.Errorf("the log has a secret:\n%s", log)
		}
	})
	return p
}

// put writes a value and returns the status and the answer.
func put(t *testing.T, p *process) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
		"http://"+p.addr+"/api/v1/orgs/acme/entries/leadData/1", strings.NewReader(`{"name":"Jo"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func isUp(_ int, body string) bool { return strings.Contains(body, `"status":"healthy"`) }

// says tells whether the server's health names a problem.
func says(problem string) func(int, string) bool {
	return func(_ int, body string) bool {
		return strings.Contains(body, `"status":"degraded"`) && strings.Contains(body, problem)
	}
}

// works fails the test if writes do not.
func works(t *testing.T, p *process) {
	t.Helper()
	until(t, p.addr, "/api/health", isUp)
	if status, body := put(t, p); status >= 300 {
		t.Errorf("put: %d %s\n%s", status, body, p.output())
	}
}

// A password is exchanged without a restart.
func TestPasswordIsExchanged(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	p := serving(t, s.env)
	works(t, p)
	health := program(t, t.TempDir(), "health", "--server", p.addr)
	if out, err := health.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "healthy\n") {
		t.Errorf("health: %v\n%s", err, out)
	}
	for _, args := range [][]string{
		{"ACL", "SETUSER", "cache", "resetpass", ">" + secondPassword},
		{"CLIENT", "KILL", "USER", "cache"},
	} {
		if _, err := s.server.Do(args...); err != nil {
			t.Fatal(err)
		}
	}
	until(t, p.addr, "/api/health", says("WRONGPASS"))
	if status, body := put(t, p); status != http.StatusAccepted {
		t.Errorf("put with the old password: %d %s; want it kept until redis takes it", status, body)
	}
	if err := os.WriteFile(filepath.Join(s.files, "password"), []byte(secondPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	works(t, p)
	if log := p.output(); !strings.Contains(log, "the password was exchanged") {
		t.Errorf("log:\n%s", log)
	}
}

// Certificates and their authority are exchanged without a restart.
func TestCertificatesAreExchanged(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	p := serving(t, s.env)
	works(t, p)
	next := newCertificates(t)
	if _, err := s.server.Do("CONFIG", "SET", "tls-ca-cert-file", next.CAFile, "tls-cert-file", next.CertFile, "tls-key-file", next.KeyFile); err != nil {
		t.Fatal(err)
	}
	s.proxy.Cut()
	until(t, p.addr, "/api/health", says("certificate signed by unknown authority"))
	s.mount(t, next, firstPassword)
	works(t, p)
	if log := p.output(); !strings.Contains(log, "the TLS configuration was exchanged") {
		t.Errorf("log:\n%s", log)
	}
}

// What is wrong at the start is said in words that name it, and mending it takes
// no restart.
func TestWrongAtTheStart(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	real, err := filepath.EvalSymlinks(s.files)
	if err != nil {
		t.Fatal(err)
	}
	wrong, right := newCertificates(t), &redistest.Certificates{
		CAFile: filepath.Join(real, "ca.crt"), ClientCertFile: filepath.Join(real, "client.crt"), ClientKeyFile: filepath.Join(real, "client.key"),
	}
	s.mount(t, wrong, firstPassword)
	p := serving(t, s.env)
	until(t, p.addr, "/api/health", says("certificate signed by unknown authority"))

	mixed := *wrong
	mixed.CAFile = right.CAFile
	s.mount(t, &mixed, firstPassword)
	until(t, p.addr, "/api/health", says("unknown certificate authority"))

	s.mount(t, right, secondPassword)
	until(t, p.addr, "/api/health", says("WRONGPASS"))

	s.mount(t, right, firstPassword)
	works(t, p)
}

// A server whose certificate has another name than was set is not believed.
func TestWrongName(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	s.env = append(s.env, "REDIS_TLS_SERVER_NAME=redis.internal")
	p := serving(t, s.env)
	until(t, p.addr, "/api/health", says("not redis.internal"))
	p.kill()
	s.env = append(s.env, "REDIS_TLS_SERVER_NAME=localhost")
	works(t, serving(t, s.env))
}

// Sentinels with a user of their own, TLS everywhere, named by a URL.
func TestSecuredSentinels(t *testing.T) {
	t.Parallel()
	certs := newCertificates(t)
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{
		Replicas: 1, Security: redistest.Security{Password: "admin-hunter2", TLS: certs},
		SentinelSecurity: redistest.Security{Password: "watch-hunter2", TLS: certs},
	})
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(firstPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "REDIS_MODE=sentinel", "REDIS_SENTINEL_MASTER=" + trio.MasterName(),
		"REDIS_URL=rediss://cache:url-hunter2@" + strings.Join(trio.Addrs(), ",") + "/1", "REDIS_CA_FILE=" + certs.CAFile,
		"REDIS_SENTINEL_USERNAME=watcher", "REDIS_SENTINEL_PASSWORD_FILE=" + password, "JACKCACHE_BUDGET=10s", quickEnd,
	}
	letIn(t, env, trio.Servers())
	letIn(t, env, trio.Sentinels(), "--sentinels")
	works(t, serving(t, env))

	// Whoever switches TLS to the Sentinels off meets servers that want it.
	p := serving(t, append(env, "REDIS_SENTINEL_TLS=off"))
	until(t, p.addr, "/api/health", func(_ int, body string) bool { return !isUp(0, body) && strings.Contains(body, "no Sentinel") })
}

// A Cluster with TLS, of which some members are named.
func TestSecuredCluster(t *testing.T) {
	t.Parallel()
	certs := newCertificates(t)
	c := redistest.StartCluster(t, redistest.ClusterOptions{
		Replicas: -1, Security: redistest.Security{Password: "admin-hunter2", TLS: certs, ClientCerts: true},
	})
	env := []string{
		"PATH=" + os.Getenv("PATH"), "REDIS_MODE=cluster", "REDIS_ADDRS=" + strings.Join(c.Addrs()[1:], ","), "REDIS_TLS=on",
		"REDIS_CA_FILE=" + certs.CAFile, "REDIS_CERT_FILE=" + certs.ClientCertFile, "REDIS_KEY_FILE=" + certs.ClientKeyFile,
		"REDIS_USERNAME=cache", "REDIS_PASSWORD=" + firstPassword, "NODE_ENV=production", "JACKCACHE_BUDGET=10s", quickEnd,
	}
	letIn(t, env, c.Nodes())
	works(t, serving(t, env))
}
