package redistest

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

func mustDo(t *testing.T, s *Server, args ...string) string {
	t.Helper()
	reply, err := s.Do(args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return reply
}

func TestReplies(t *testing.T) {
	s := Start(t)
	mustDo(t, s, "RPUSH", "list", "a", "", "b\r\nc")
	for _, c := range []struct{ name, want, command string }{
		{"status", "OK", "SET k v"},
		{"bulk", "v", "GET k"},
		{"nil", "", "GET missing"},
		{"integer", "1", "INCR n"},
		{"array", "a\n\nb\r\nc", "LRANGE list 0 -1"},
		{"default", "maxmemory-policy\nnoeviction", "CONFIG GET maxmemory-policy"},
	} {
		if got := mustDo(t, s, strings.Fields(c.command)...); got != c.want {
			t.Errorf("%s: %s gave %q, want %q", c.name, c.command, got, c.want)
		}
	}
	if _, err := s.Do("NOSUCH"); err == nil || !strings.HasPrefix(err.Error(), "ERR unknown command") {
		t.Errorf("an unknown command gave %v", err)
	}
}

func TestKillComesBackEmpty(t *testing.T) {
	s := Start(t)
	mustDo(t, s, "SET", "k", "v")
	pid := s.PID()
	s.Kill()
	s.Kill()
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Fatal("a killed server accepts connections")
	}
	if s.PID() != 0 || s.CPU() != 0 {
		t.Errorf("a killed server has pid %d and CPU %v", s.PID(), s.CPU())
	}
	addr := s.Addr()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != addr || s.PID() == pid {
		t.Errorf("restarted at %s as %d, want %s and another process than %d", s.Addr(), s.PID(), addr, pid)
	}
	if got := mustDo(t, s, "DBSIZE"); got != "0" {
		t.Errorf("DBSIZE after a restart = %s, want 0", got)
	}
}

func TestStopKeepsWhatIsPersisted(t *testing.T) {
	s := Start(t, "--appendonly", "yes")
	mustDo(t, s, "SET", "k", "v")
	s.Stop()
	if err := s.Restart("--maxmemory", "100mb"); err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, s, "GET", "k"); got != "v" {
		t.Errorf("after a restart k = %q, want v", got)
	}
	if got := mustDo(t, s, "CONFIG", "GET", "maxmemory"); got != "maxmemory\n104857600" {
		t.Errorf("option of Restart: %q", got)
	}
}

func TestFreeze(t *testing.T) {
	s := Start(t)
	s.Freeze()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatalf("a frozen server does not accept: %v", err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("a frozen server answered: %v", err)
	}
	s.Thaw()
	if got := mustDo(t, s, "PING"); got != "PONG" {
		t.Errorf("PING after Thaw = %q", got)
	}
	s.Freeze()
	s.Stop() // returns, and so does the cleanup
}

func TestPassword(t *testing.T) {
	s := Start(t, "--requirepass", "hunter2")
	if got := mustDo(t, s, "PING"); got != "PONG" {
		t.Errorf("PING = %q", got)
	}
	if _, err := (access{addr: s.Addr()}).do("PING"); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("without the password: %v", err)
	}
}

func TestCPU(t *testing.T) {
	s := Start(t)
	for range 20 {
		mustDo(t, s, "EVAL", "for i=1,3000000 do end", "0")
	}
	if got, want := s.CPU(), 20*time.Millisecond; runtime.GOOS == "linux" && got < want {
		t.Errorf("CPU after 20 long scripts = %v, want more than %v", got, want)
	}
}

func TestLaunchReports(t *testing.T) {
	_, err := Launch(t.TempDir(), "--no-such-option", "1")
	if err == nil || !strings.Contains(err.Error(), "ended at its start") {
		t.Errorf("Launch with a wrong option: %v", err)
	}
	t.Setenv("PATH", "")
	if _, err := Launch(t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("Launch without redis-server: %v", err)
	}
}
