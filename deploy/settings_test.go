package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// known are the names of the settings, from the page that is made from their
// table.
func known(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		names[m[1]] = true
	}
	if !names["JACKCACHE_ADDR"] {
		t.Fatal("docs/configuration.md has no table of settings")
	}
	return names
}

// checkEnvironment finds variables that are no settings, and values that the
// program refuses.
func checkEnvironment(t *testing.T, where string, env map[string]string) {
	t.Helper()
	names := known(t)
	cmd := exec.CommandContext(t.Context(), binary(t), "health", "--probe", "live", "--server", "http://127.0.0.1:1")
	cmd.Dir, cmd.Env = t.TempDir(), []string{}
	for name, value := range env {
		if !names[name] && !strings.HasPrefix(name, "OTEL_") {
			t.Errorf("%s sets %s, which is no setting", where, name)
		}
		if strings.HasSuffix(name, "_FILE") {
			value = someFile(t)
		}
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	// Nobody listens there: 1. Settings that are wrong: 2.
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "refused") {
		t.Errorf("%s: exit code %d:\n%s", where, code, out)
	}
}

// someFile stands for a file that is only there in the container.
func someFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// closeTime is what letting go of the store may take after the last request
// (closeTime in internal/cli).
const closeTime = 10 * time.Second

// stopTime is the most that the program takes to stop with these settings.
func stopTime(t *testing.T, env map[string]string) time.Duration {
	t.Helper()
	total := closeTime
	for name, def := range map[string]string{"JACKCACHE_DRAIN_DELAY": "0s", "JACKCACHE_SHUTDOWN_TIMEOUT": "10s"} {
		value := env[name]
		if value == "" {
			value = def
		}
		d, err := time.ParseDuration(value)
		if err != nil {
			t.Fatal(err)
		}
		total += d
	}
	return total
}
