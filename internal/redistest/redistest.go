// Package redistest runs real redis-server processes for tests, and does to
// them what happens to servers: killed, stopped, restarted empty, hung. It also
// runs what is made of several of them: a Cluster, a master with replicas, and
// the Sentinels that watch them; with passwords, users and TLS where asked.
package redistest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	host = "127.0.0.1"

	// stopTime is how long a server may take over SIGTERM before SIGKILL.
	stopTime = 10 * time.Second
)

// ErrMissing means that there is no redis-server in PATH.
var ErrMissing = errors.New("install redis-server: apt-get install redis-server")

// Server is one redis-server process on a loopback port of its own. Its
// methods are safe for concurrent use.
type Server struct {
	dir  string
	port int
	how  setup

	mu       sync.Mutex
	proc     *os.Process     // guarded by mu: nil when it is not running
	done     <-chan struct{} // guarded by mu: closed when proc has ended
	frozen   bool            // guarded by mu
	password string          // guarded by mu: of the running process
}

// Start runs a server that persists nothing in a directory of the test, and
// ends it when the test ends. Args are redis-server options that are added to
// the defaults: "--appendonly", "yes".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := Launch(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Launch is Start without a test. The caller owns dir and calls Close.
func Launch(dir string, args ...string) (*Server, error) {
	return launch(dir, setup{args: args})
}

// Host returns the address it listens on.
func (s *Server) Host() string { return host }

// Port returns its port, the same across restarts.
func (s *Server) Port() int { return s.port }

// Addr returns host and port.
func (s *Server) Addr() string { return net.JoinHostPort(host, strconv.Itoa(s.port)) }

// Dir returns the directory in which it runs and persists.
func (s *Server) Dir() string { return s.dir }

// Kill ends the process at once (SIGKILL) and returns when it is gone.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends the process in order (SIGTERM) and returns when it is gone.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Close is Kill, in any state.
func (s *Server) Close() { s.Kill() }

func (s *Server) end(sig os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return
	}
	// Signals fail only when the process has ended, which done tells.
	_ = s.proc.Signal(sig)
	_ = s.proc.Signal(syscall.SIGCONT) // a frozen process cannot act on SIGTERM
	s.frozen = false
	timeout := time.NewTimer(stopTime)
	defer timeout.Stop()
	select {
	case <-s.done:
	case <-timeout.C:
		_ = s.proc.Kill()
		<-s.done
	}
	s.proc = nil
}

// Freeze stops the process where it is (SIGSTOP): connections stay open and
// nothing answers.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on (SIGCONT).
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		_ = s.proc.Signal(sig) // fails only when it has ended
		s.frozen = sig == syscall.SIGSTOP
	}
}

// answers tells whether it runs and is not frozen.
func (s *Server) answers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc != nil && !s.frozen
}

// PID returns the process id, 0 when it is not running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.Pid
}

// CPU returns the processor time that the process has used, user and system;
// 0 when it is not running or the host has no /proc.
func (s *Server) CPU() time.Duration {
	pid := s.PID()
	if pid == 0 {
		return 0
	}
	return cpuTime(pid)
}

// Do sends one command on a connection of its own and returns the reply as
// text: an array has one line per element, nil is empty. An error reply is an
// error. It uses TLS where the server does, and is the default user. WAIT knows
// of no earlier command: that was on another connection.
func (s *Server) Do(args ...string) (string, error) {
	return s.access().do(args...)
}

// elements is Do for a reply that is an array.
func (s *Server) elements(args ...string) ([]string, error) {
	c, err := s.access().dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.do(args...)
}

func (s *Server) access() access {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accessLocked()
}

func (s *Server) accessLocked() access {
	return access{addr: s.Addr(), password: s.password, tls: s.how.tls}
}

func (s *Server) logPath() string { return filepath.Join(s.dir, "redis-server.log") }

// logTail returns the end of the server's log, for messages.
func (s *Server) logTail() []byte {
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-2000):]
}

// option returns the last value of an option, or nothing.
func option(args []string, name string) string {
	value := ""
	for i := 0; i+1 < len(args); i++ {
		if args[i] == name {
			value = args[i+1]
		}
	}
	return value
}
