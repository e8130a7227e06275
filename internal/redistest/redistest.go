// Package redistest runs real redis-server processes for tests, and does to
// them what happens to servers: killed, stopped, restarted empty, hung.
package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	host = "127.0.0.1"

	// startTime bounds a start, loading of what was persisted included.
	startTime = 20 * time.Second
	// stopTime is how long a server may take over SIGTERM before SIGKILL.
	stopTime = 10 * time.Second
	// pollEvery is the rate at which a starting server is asked.
	pollEvery = 2 * time.Millisecond
	// portTries bounds the search for a port that nobody else takes first.
	portTries = 5
	// busOffset is the distance of a Cluster bus port from its port.
	busOffset = 10000
)

// ErrMissing means that there is no redis-server in PATH.
var ErrMissing = errors.New("install redis-server: apt-get install redis-server")

// Server is one redis-server process on a loopback port of its own. Its
// methods are safe for concurrent use.
type Server struct {
	dir  string
	port int
	args []string // of Launch

	mu       sync.Mutex
	proc     *os.Process   // guarded by mu: nil when it is not running
	done     chan struct{} // guarded by mu: closed when proc has ended
	password string        // guarded by mu: of the running process
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
	for try := 1; ; try++ {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		s := &Server{dir: dir, port: port, args: args}
		err = s.Restart()
		if err == nil {
			return s, nil
		}
		if try == portTries || !bytes.Contains(s.logTail(), []byte("Address already in use")) {
			return nil, err
		}
	}
}

// FreePort returns a loopback port that nobody listens on and that leaves room
// for a Cluster bus port above it.
func FreePort() (int, error) {
	for {
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		if port+busOffset <= 65535 {
			return port, nil
		}
	}
}

// Host returns the address it listens on.
func (s *Server) Host() string { return host }

// Port returns its port, the same across restarts.
func (s *Server) Port() int { return s.port }

// Addr returns host and port.
func (s *Server) Addr() string { return net.JoinHostPort(host, strconv.Itoa(s.port)) }

// Dir returns the directory in which it runs and persists.
func (s *Server) Dir() string { return s.dir }

// Restart kills the process if it runs, starts another on the same port and
// waits until it answers. It comes back empty unless it persists. Args are
// added to those of Start, for this process only.
func (s *Server) Restart(args ...string) error {
	s.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return errors.New("restart redis-server: it was started meanwhile")
	}
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return ErrMissing
	}
	all := []string{
		"--bind", host, "--port", strconv.Itoa(s.port), "--dir", s.dir, "--daemonize", "no",
		"--logfile", s.logPath(), "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
	}
	all = append(append(all, s.args...), args...)
	cmd := exec.Command(bin, all...)
	cmd.Dir = s.dir
	if err := s.spawnLocked(cmd); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	s.password = option(all, "--requirepass")
	return s.awaitLocked()
}

// spawnLocked starts cmd and reaps it when it ends.
func (s *Server) spawnLocked(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		// The kernel ends the child with the thread that started it (see
		// dieWithParent), so that thread waits for the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		dieWithParent(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
		close(done)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.proc, s.done = cmd.Process, done
	return nil
}

// awaitLocked waits until the process itself answers, not a stranger on its
// port; otherwise it ends it.
func (s *Server) awaitLocked() error {
	deadline := time.NewTimer(startTime)
	defer deadline.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	me := fmt.Sprintf("\r\nprocess_id:%d\r\n", s.proc.Pid)
	for {
		info, err := do(s.Addr(), s.password, "INFO", "server")
		if err == nil && bytes.Contains([]byte(info), []byte(me)) {
			if _, err = do(s.Addr(), s.password, "PING"); err == nil {
				return nil
			}
		}
		select {
		case <-poll.C:
		case <-s.done:
			s.proc = nil
			return fmt.Errorf("redis-server on port %d ended at its start:\n%s", s.port, s.logTail())
		case <-deadline.C:
			_ = s.proc.Kill()
			<-s.done
			s.proc = nil
			return fmt.Errorf("redis-server on port %d does not answer: %v\n%s", s.port, err, s.logTail())
		}
	}
}

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
	}
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
// error.
func (s *Server) Do(args ...string) (string, error) {
	s.mu.Lock()
	password := s.password
	s.mu.Unlock()
	return do(s.Addr(), password, args...)
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
