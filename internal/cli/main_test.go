package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The program itself is "jackcache" in the PATH of scripts and tests.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"jackcache": func() { os.Exit(Main()) }})
}

const patience = 30 * time.Second

// nobody listens here.
const nobody = "127.0.0.1:1"

// quickEnd keeps the race detector from waiting a second at the end of every
// process.
const quickEnd = "GORACE=atexit_sleep_ms=0"

// process is a jackcache serve.
type process struct {
	cmd  *exec.Cmd
	addr string
	mu   sync.Mutex
	log  strings.Builder // guarded by mu: its standard error
	read chan struct{}   // closed when all of it is there
}

// start runs jackcache serve until it says that it serves, or has ended. The
// caller ends it.
func start(dir string, env []string, args ...string) (*process, error) {
	path, err := exec.LookPath("jackcache")
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(path, append([]string{"serve"}, args...)...), read: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, append(env, quickEnd)
	out, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	serving := make(chan string, 1)
	go p.follow(out, serving)
	select {
	case p.addr = <-serving:
		return p, nil
	case <-p.read:
	case <-time.After(patience):
	}
	err = errors.Join(p.cmd.Process.Kill(), p.cmd.Wait())
	return nil, fmt.Errorf("serve does not serve: %w\n%s", err, p.output())
}

func (p *process) follow(r io.Reader, serving chan<- string) {
	defer close(p.read)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		var l struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "serving" {
			serving <- strings.TrimPrefix(l.Addr, "http://")
		}
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// end sends a signal and returns the exit code; -1 when the signal ended it.
func (p *process) end(s syscall.Signal) (int, error) {
	if err := p.cmd.Process.Signal(s); err != nil {
		return 0, err
	}
	return p.wait()
}

func (p *process) wait() (int, error) {
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	<-p.read
	err := p.cmd.Wait()
	if errors.As(err, new(*exec.ExitError)) {
		err = nil
	}
	return p.cmd.ProcessState.ExitCode(), err
}

// kill ends the process if it is still there.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_, _ = p.wait()
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			entries, err := os.ReadFile("testdata/entries.ndjson")
			if err != nil {
				return err
			}
			e.Setenv("JACKCACHE_ADDR", nobody)
			e.Vars = append(e.Vars, quickEnd)
			return os.WriteFile(e.WorkDir+"/entries.ndjson", entries, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": cmdServe, "halt": cmdHalt, "exits": cmdExits, "sortlines": cmdSortLines,
			"http": cmdHTTP, "log": cmdLog,
		},
	})
}

// serve args... starts a server on a free port; JACKCACHE_ADDR is its address
// from then on.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("serve cannot fail; use exits")
	}
	var env []string
	for _, name := range []string{"PATH", "JACKCACHE_API_TOKEN", "NODE_ENV", "JACKCACHE_DIRECTORY", "NO_COLOR"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	if !slices.Contains(args, "--addr") {
		args = append(args, "--addr", "127.0.0.1:0")
	}
	p, err := start(ts.MkAbs("."), env, args...)
	ts.Check(err)
	ts.Defer(p.kill)
	ts.Setenv("JACKCACHE_ADDR", p.addr)
	scripts.Store(ts, p)
}

// scripts has the server of each script.
var scripts sync.Map

func serverOf(ts *testscript.TestScript) *process {
	p, ok := scripts.Load(ts)
	if !ok {
		ts.Fatalf("no server was started")
	}
	return p.(*process)
}

// halt [signal [code]] ends the server; nobody is at JACKCACHE_ADDR then.
func cmdHalt(ts *testscript.TestScript, _ bool, args []string) {
	s, want := syscall.SIGTERM, 0
	if len(args) > 0 {
		s = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}[args[0]]
	}
	if len(args) > 1 {
		var err error
		want, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	p := serverOf(ts)
	code, err := p.end(s)
	ts.Check(err)
	if code != want {
		ts.Fatalf("serve ended with %d, want %d:\n%s", code, want, p.output())
	}
	ts.Setenv("JACKCACHE_ADDR", nobody)
}

// log file writes what the server logged.
func cmdLog(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(serverOf(ts).output()), 0o600))
}

// exits code command... checks the exit code.
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// sortlines file... sorts the lines of files.
func cmdSortLines(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		data, err := os.ReadFile(ts.MkAbs(name))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(sortedLines(string(data))), 0o600))
	}
}

func sortedLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// http status path asks the server.
func cmdHTTP(ts *testscript.TestScript, _ bool, args []string) {
	status, body := ask(context.Background(), ts.Getenv("JACKCACHE_ADDR"), args[1])
	if fmt.Sprint(status) != args[0] {
		ts.Fatalf("%s: %d, want %s: %s", args[1], status, args[0], body)
	}
}

func ask(ctx context.Context, addr, path string) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}
