package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// monitoring is a jackcache monitor, and what it prints.
type monitoring struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string // of standard output
	mu     sync.Mutex
	stderr bytes.Buffer // guarded by mu
}

// Write takes what comes on standard error.
func (m *monitoring) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stderr.Write(b)
}

func (m *monitoring) said() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stderr.String()
}

func newMonitoring(t *testing.T, args ...string) *monitoring {
	t.Helper()
	m := &monitoring{t: t, cmd: program(t, t.TempDir(), append([]string{"monitor"}, args...)...), lines: make(chan string)}
	m.cmd.Stderr = m
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.cmd.Process.Kill() })
	go m.follow(out)
	return m
}

func (m *monitoring) follow(r io.Reader) {
	defer close(m.lines)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m.lines <- lines.Text()
	}
}

// next reads something from the server until a line is shown.
func (m *monitoring) next(addr string) string {
	m.t.Helper()
	late := time.After(patience)
	for {
		ask(m.t.Context(), addr, "/api/v1/orgs/org-1/entries/agentConfig/agent-of-ada")
		select {
		case line, ok := <-m.lines:
			if !ok {
				m.t.Fatalf("monitor ended:\n%s", m.said())
			}
			return line
		case <-late:
			m.t.Fatalf("nothing is shown:\n%s", m.said())
		default:
		}
	}
}

// wait reads the rest and checks the exit code.
func (m *monitoring) wait(want int) {
	m.t.Helper()
	late := time.AfterFunc(patience, func() { _ = m.cmd.Process.Kill() })
	defer late.Stop()
	for range m.lines {
	}
	_ = m.cmd.Wait() // what matters is the code
	if code := m.cmd.ProcessState.ExitCode(); code != want {
		m.t.Errorf("exit code %d, want %d:\n%s", code, want, m.said())
	}
}

// TestMonitorShowsOperations: as text and as JSON, without ids, until it is
// interrupted.
func TestMonitorShowsOperations(t *testing.T) {
	t.Parallel()
	p := begin(t, t.TempDir())
	text := newMonitoring(t, "--server", p.addr, "--org", "org-1")
	line := strings.Join(strings.Fields(text.next(p.addr))[1:7], " ")
	if line != "get agentConfig org-1 ag… miss shared" {
		t.Errorf("shown is %q", line)
	}
	if err := text.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	text.wait(exitDone)
	if s := text.said(); s != "" {
		t.Errorf("it said %q", s)
	}

	asJSON := newMonitoring(t, "--server", p.addr, "--json", "--count", "1", "--sample", "3")
	var m monitored
	if err := json.Unmarshal([]byte(asJSON.next(p.addr)), &m); err != nil || m.Operation != "get" || m.ID != "ag…" || m.TookMs <= 0 {
		t.Errorf("%+v, %v", m, err)
	}
	asJSON.wait(exitDone)
}

// TestMonitorComesBack: a connection that is lost, and a server that stops, are
// told once and waited for.
func TestMonitorComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, s := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			p := begin(t, dir)
			m := newMonitoring(t, "--server", p.addr, "--json", "--count", "100000")
			m.next(p.addr)
			if _, err := p.end(s); err != nil {
				t.Fatal(err)
			}
			late := time.After(patience)
			for !strings.Contains(m.said(), "; trying again") {
				select {
				case <-m.lines:
				case <-late:
					t.Fatalf("it does not tell that the server is away:\n%s", m.said())
				default:
				}
			}
			again := begin(t, dir, "--addr", p.addr)
			for !strings.Contains(m.said(), "is there again after") {
				m.next(again.addr) // the first may be from before
			}
			m.next(again.addr)
			said := m.said()
			if strings.Count(said, "lost http://"+p.addr) != 1 || strings.Count(said, "is there again after") != 1 {
				t.Errorf("it said\n%s", said)
			}
			if why := strings.Contains(said, "the server is draining"); why != (s == syscall.SIGTERM) {
				t.Errorf("it said\n%s", said)
			}
			if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			m.wait(exitDone)
			if _, err := again.end(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		})
	}
}
