package cli

import (
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// probes runs jackcache health --probe and returns its exit code and output.
func probes(t *testing.T, which, addr string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "jackcache", "health", "--probe", which, "--addr", addr)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestProbeWhileDraining(t *testing.T) {
	t.Parallel()
	p := begin(t, t.TempDir(), "--drain-delay", "1h")
	if code, out := probes(t, "ready", p.addr); code != 0 || out != "" {
		t.Fatalf("ready: exit code %d, %q; want 0 and no word", code, out)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, p.addr, "/readyz", func(status int, _ string) bool { return status == 503 })
	if code, out := probes(t, "live", p.addr); code != 0 {
		t.Errorf("live: exit code %d, %q; want 0: it finishes what is under way", code, out)
	}
	code, out := probes(t, "ready", p.addr)
	if code != 1 || !strings.Contains(out, "/readyz answers 503: draining") {
		t.Errorf("ready: exit code %d, %q; want 1 and why", code, out)
	}
}

// A server that accepts and says nothing is not alive.
func TestProbeOfSilence(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	code, out := probes(t, "live", l.Addr().String())
	if code != 1 || !strings.Contains(out, "does not answer in time") {
		t.Errorf("exit code %d, %q; want 1 and why", code, out)
	}
}
