package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unit reads the directives of the service, the last of each.
func unit(t *testing.T) map[string]string {
	t.Helper()
	directives := make(map[string]string)
	for line := range strings.Lines(string(mustRead(t, "systemd/jackcache.service"))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			directives[name] = value
		}
	}
	return directives
}

// systemdAnalyze runs it; without it the test fails.
func systemdAnalyze(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze %s: %v (apt-get install systemd has it)\n%s", args[0], err, out)
	}
	return string(out)
}

// systemd knows every directive, and finds little that is exposed: 1.3 of 10
// with systemd 252. What a network service needs is 1.
func TestUnit(t *testing.T) {
	text := bytes.Replace(mustRead(t, "systemd/jackcache.service"), []byte("ExecStart=/usr/local/bin/jackcache"), []byte("ExecStart="+binary(t)), 1)
	name := filepath.Join(t.TempDir(), "jackcache.service")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := systemdAnalyze(t, "verify", "--man=no", name); strings.TrimSpace(said) != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	systemdAnalyze(t, "security", "--offline=true", "--threshold=15", "--no-pager", name)
}

func TestUnitBehaves(t *testing.T) {
	u := unit(t)
	settings := envFile(t, "systemd/jackcache.env")
	timeout, err := time.ParseDuration(u["TimeoutStopSec"])
	if needed := stopTime(t, settings); err != nil || timeout <= needed {
		t.Errorf("TimeoutStopSec=%s, and it may take %s (%v)", u["TimeoutStopSec"], needed, err)
	}
	if u["Restart"] != "always" || u["StartLimitIntervalSec"] != "0" {
		t.Error("it does not always come back")
	}
	// Exit code 2 is wrong settings, but also a panic.
	if u["RestartPreventExitStatus"] != "" {
		t.Error("it would not come back after a panic")
	}
	if u["MemoryDenyWriteExecute"] != "" {
		t.Error("under MemoryDenyWriteExecute the program ends at its start")
	}
	if u["ExecStart"] != "/usr/local/bin/jackcache serve" || u["StateDirectory"] != "jackcache" {
		t.Errorf("ExecStart=%s StateDirectory=%s", u["ExecStart"], u["StateDirectory"])
	}
}

func TestUnitSettings(t *testing.T) {
	settings := envFile(t, "systemd/jackcache.env")
	checkEnvironment(t, "systemd/jackcache.env", settings)
	for _, pair := range strings.Fields(unit(t)["Environment"]) {
		name, value, _ := strings.Cut(pair, "=")
		checkEnvironment(t, "systemd/jackcache.service", map[string]string{name: value})
	}
	// What is commented out is an example, and has to be a setting, too.
	names := known(t)
	for line := range strings.Lines(string(mustRead(t, "systemd/jackcache.env"))) {
		if name, _, ok := strings.Cut(line, "="); ok && !names[strings.TrimPrefix(name, "#")] {
			t.Errorf("%s is no setting", name)
		}
	}
}

func envFile(t *testing.T, name string) map[string]string {
	t.Helper()
	env := make(map[string]string)
	for line := range strings.Lines(string(mustRead(t, name))) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(k, "#") {
			env[k] = v
		}
	}
	return env
}
