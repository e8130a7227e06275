package redistest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// startTime bounds a start, loading of what was persisted included.
	startTime = 20 * time.Second
	// pollEvery is the rate at which a starting server is asked.
	pollEvery = 2 * time.Millisecond
	// portTries bounds the search for a port that nobody else takes first.
	portTries = 5

	// Ports, and the bus ports above them, are taken from below the range from
	// which systems number outgoing connections (32768 and up): none of those
	// can take the port of a server that is down for a while.
	minPort, maxPort = 12000, 21999
	// busOffset is the distance of a Cluster bus port from its port.
	busOffset = 10000
)

// setup is how a server runs, the same for each of its processes.
type setup struct {
	args     []string    // options, added to the defaults
	tls      *tls.Config // for connections to it, nil when it has no TLS
	file     bool        // options are in a file, which the server may rewrite
	sentinel bool        // it is a Sentinel; needs file
}

// launch runs a server on a port that it finds free.
func launch(dir string, how setup) (*Server, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of a server: %w", err)
	}
	for try := 1; ; try++ {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		s := &Server{dir: dir, port: port, how: how}
		if err := s.writeFile(); err != nil {
			return nil, err
		}
		if err = s.Restart(); err == nil {
			return s, nil
		}
		if try == portTries || !bytes.Contains(s.logTail(), []byte("Address already in use")) {
			return nil, err
		}
	}
}

// launchAll runs n servers at once, each in a directory below dir, or none.
func launchAll(dir, name string, n int, how setup) ([]*Server, error) {
	servers := make([]*Server, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			servers[i], errs[i] = launch(filepath.Join(dir, name+strconv.Itoa(i)), how)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		closeAll(servers)
		return nil, err
	}
	return servers, nil
}

// closeAll ends the servers; nil ones are those that were never started.
func closeAll(servers []*Server) {
	for _, s := range servers {
		if s != nil {
			s.Close()
		}
	}
}

// FreePort returns a loopback port that nobody listens on and that has a free
// port for a Cluster bus above it. No other call returns it as long as this
// process lives, in whatever process of this host: a server may be down for a
// while, and a test may want nobody to listen.
func FreePort() (int, error) {
	for range 1000 {
		port := minPort + rand.IntN(maxPort-minPort+1)
		if free(port) && free(port+busOffset) && reserve(port) {
			return port, nil
		}
	}
	return 0, errors.New("find a free port: none was")
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// Restart kills the process if it runs, starts another on the same port and
// waits until it answers. It comes back empty unless it persists. Args are
// added to those of Start, for this process only.
//
// Nodes of a Cluster, Sentinels, and the servers that they watch come back
// with what they last knew of the others.
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
	cmd := exec.Command(bin, append(s.commandLine(), args...)...)
	cmd.Dir = s.dir
	if err := s.spawnLoggedLocked(cmd); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	s.password = option(append(s.options(), args...), "--requirepass")
	return s.awaitLocked()
}

// commandLine returns the arguments of the process.
func (s *Server) commandLine() []string {
	switch {
	case s.how.sentinel:
		return []string{s.filePath(), "--sentinel"}
	case s.how.file:
		return []string{s.filePath()}
	}
	return s.options()
}

// options returns the defaults and what was added to them, in the notation of
// the command line.
func (s *Server) options() []string {
	all := []string{"--bind", host, "--dir", s.dir, "--daemonize", "no", "--logfile", s.logPath()}
	port := strconv.Itoa(s.port)
	if s.how.tls != nil {
		all = append(all, "--port", "0", "--tls-port", port)
	} else {
		all = append(all, "--port", port)
	}
	if !s.how.sentinel {
		all = append(all, "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
	}
	return append(all, s.how.args...)
}

// writeFile writes the options to the file of a server that has one.
func (s *Server) writeFile() error {
	if !s.how.file {
		return nil
	}
	var b strings.Builder
	for _, a := range s.options() {
		switch name, ok := strings.CutPrefix(a, "--"); {
		case ok:
			b.WriteString("\n" + name)
		case a == "" || strings.ContainsAny(a, " \"'\\"):
			b.WriteString(" " + strconv.Quote(a))
		default:
			b.WriteString(" " + a)
		}
	}
	if err := os.WriteFile(s.filePath(), []byte(b.String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the options of a server: %w", err)
	}
	return nil
}

func (s *Server) filePath() string { return filepath.Join(s.dir, "redis.conf") }

// spawnLoggedLocked starts cmd with its log for what it says before it knows
// that it has one: that its options are wrong.
func (s *Server) spawnLoggedLocked(cmd *exec.Cmd) error {
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // nothing was written here
	cmd.Stderr = log
	return s.spawnLocked(cmd)
}

// spawnLocked starts cmd and reaps it when it ends.
func (s *Server) spawnLocked(cmd *exec.Cmd) error {
	done, err := Spawn(cmd)
	if err != nil {
		return err
	}
	s.proc, s.done = cmd.Process, done
	return nil
}

// Spawn starts a command that dies with this process, and reaps it when it ends;
// then done is closed. On other systems than Linux it may outlive this process.
func Spawn(cmd *exec.Cmd) (done <-chan struct{}, err error) {
	started := make(chan error, 1)
	ended := make(chan struct{})
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
		close(ended)
	}()
	return ended, <-started
}

// awaitLocked waits until the process itself answers, not a stranger on its
// port; otherwise it ends it.
func (s *Server) awaitLocked() error {
	deadline := time.NewTimer(startTime)
	defer deadline.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		err := s.isUpLocked()
		if err == nil {
			return nil
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

func (s *Server) isUpLocked() error {
	c, err := s.accessLocked().dial()
	if err != nil {
		return err
	}
	defer c.close()
	info, err := c.text("INFO", "server")
	if err != nil {
		return err
	}
	if got, want := field(info, "process_id"), strconv.Itoa(s.proc.Pid); got != want {
		return fmt.Errorf("process %s is on the port, not %s", got, want)
	}
	_, err = c.do("PING")
	return err
}

// field returns the value of a field of INFO or CLUSTER INFO, or nothing.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// poll calls check until it returns nil, and returns its last error after
// timeout.
func poll(timeout time.Duration, check func() error) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(10 * pollEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("after %v: %w", timeout, err)
		}
	}
}
