package deploy

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/jackcache/jackcache/internal/redistest"
)

const token = "a-token-for-tests"

func composeProject(ctx context.Context, env types.Mapping) (*types.Project, error) {
	dir, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	files := []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml")}}
	return loader.LoadWithContext(ctx, types.ConfigDetails{WorkingDir: dir, ConfigFiles: files, Environment: env})
}

func mustProject(t *testing.T) *types.Project {
	t.Helper()
	p, err := composeProject(t.Context(), types.Mapping{"JACKCACHE_API_TOKEN": token})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestComposeWantsAToken(t *testing.T) {
	if _, err := composeProject(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "JACKCACHE_API_TOKEN") {
		t.Errorf("without JACKCACHE_API_TOKEN: %v; want an error that names it", err)
	}
}

func TestCompose(t *testing.T) {
	p := mustProject(t)
	data := make(map[string]string)
	for _, name := range []string{"jackcache-1", "jackcache-2"} {
		s := p.Services[name]
		env := make(map[string]string)
		for k, v := range s.Environment {
			env[k] = *v
		}
		checkEnvironment(t, name, env)
		if d := s.DependsOn["redis"]; d.Condition != types.ServiceConditionHealthy {
			t.Errorf("%s starts when Redis is %q; want it healthy", name, d.Condition)
		}
		if s.Build.Dockerfile != "deploy/Dockerfile" || s.Build.Context != filepath.Dir(p.WorkingDir) {
			t.Errorf("%s is built from %s in %s", name, s.Build.Dockerfile, s.Build.Context)
		}
		checkData(t, s, data)
		if mode := env["JACKCACHE_JOURNAL"]; mode != "" && mode != "required" {
			t.Errorf("%s has JACKCACHE_JOURNAL=%s", name, mode)
		}
		checkPorts(t, s)
		grace := time.Duration(*s.StopGracePeriod)
		if needed := stopTime(t, env); grace <= needed {
			t.Errorf("%s has %s to stop, and may take %s", name, grace, needed)
		}
	}
	for name, s := range p.Services {
		if s.HealthCheck == nil || s.Restart != "unless-stopped" || !s.ReadOnly || len(s.CapDrop) == 0 {
			t.Errorf("%s has no health check, no restart, a root that can be written, or capabilities", name)
		}
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s runs %s; want a tag with its version", name, s.Image)
		}
	}
}

// checkData wants a volume for each instance alone where the image has its data.
func checkData(t *testing.T, s types.ServiceConfig, seen map[string]string) {
	t.Helper()
	for _, v := range s.Volumes {
		if v.Target != "/data" {
			continue
		}
		if other := seen[v.Source]; other != "" || v.Type != types.VolumeTypeVolume {
			t.Errorf("%s has its data in the %s %q, as has %q; want a named volume of its own", s.Name, v.Type, v.Source, other)
		}
		seen[v.Source] = s.Name
		return
	}
	t.Errorf("%s has no volume at /data", s.Name)
}

// checkPorts wants what is published to be on loopback, and the port to be that
// of the image.
func checkPorts(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	for _, p := range s.Ports {
		if !net.ParseIP(p.HostIP).IsLoopback() || p.Target != 8080 {
			t.Errorf("%s publishes %d at %q", s.Name, p.Target, p.HostIP)
		}
	}
}

// The command of the Redis service, run by hand: it wants the password, does
// not evict, and keeps what it has when it is stopped.
func TestComposeRedis(t *testing.T) {
	command := mustProject(t).Services["redis"].Command
	port, err := redistest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/run/secrets/redis_password", password,
		"redis-server -", "redis-server - --bind 127.0.0.1 --port "+strconv.Itoa(port))
	run := func() (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command(command[0], command[1], here.Replace(command[2]))
		out := &bytes.Buffer{}
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.WaitDelay = patience // a shell that ended and left Redis behind has failed
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // if it still runs
		return cmd, out
	}
	cli := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-p", strconv.Itoa(port)}, args...)...)
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH=s3cret")
		out, _ := cmd.CombinedOutput() // the text says what went wrong
		return strings.TrimSpace(string(out))
	}
	cmd, out := run()
	await(t, "PONG", func() string { return cli("ping") })
	if got := cli("config", "get", "maxmemory-policy"); got != "maxmemory-policy\nnoeviction" {
		t.Errorf("%q", got)
	}
	if got := cli("set", "k", "v"); got != "OK" {
		t.Errorf("%q", got)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "ready to exit, bye bye") {
		t.Errorf("SIGTERM: %v\n%s", err, out)
	}
	cmd, _ = run()
	await(t, "v", func() string { return cli("get", "k") })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// await asks until the answer is as wanted.
func await(t *testing.T, want string, ask func() string) {
	t.Helper()
	awaitThat(t, func() (string, bool) { got := ask(); return got, got == want })
}

// patience bounds what is waited for; how long it takes does not matter here.
const patience = 60 * time.Second

// awaitThat asks until it holds. What it says last stands in the failure.
func awaitThat(t *testing.T, ask func() (string, bool)) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		said, ok := ask()
		if ok {
			return
		}
		select {
		case <-poll.C:
		case <-late.C:
			t.Fatalf("it never came: %s", said)
		}
	}
}
