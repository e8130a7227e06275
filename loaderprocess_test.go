package jackcache_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// What makes this program a process that loads: the address of Redis, and a
// directory for its data.
const (
	loaderRedis = "JACKCACHE_TEST_LOADER_REDIS"
	loaderDir   = "JACKCACHE_TEST_LOADER_DIR"
)

// loadsKey counts the calls of all loaders; it is none of the product's.
const loadsKey = "test:loads"

// stampede is what a process is told to do: callers who begin at an instant and
// want one key, with a loader that takes a time.
type stampede struct {
	ID      string
	Callers int
	At      time.Time
	Takes   time.Duration
}

// stampeded is what came of it.
type stampeded struct {
	Failed  int
	Problem string // of one that failed
	Slowest time.Duration
}

// runLoader is the process: it says that it is ready, then reads a stampede from
// each line, says when its loader is called, and what came of it. It ends with its
// input.
func runLoader(ctx context.Context, in io.Reader, out io.Writer) error {
	redis := os.Getenv(loaderRedis)
	c, err := jackcache.Open(ctx, jackcache.Options{
		DataDir: os.Getenv(loaderDir), Redis: &jackcache.RedisOptions{Addrs: []string{redis}},
		Budget: 5 * time.Second, Kinds: []jackcache.AnyKind{cars}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	for first := time.Now(); ; <-time.After(5 * time.Millisecond) {
		if _, err = cars.Get(ctx, c.Org("org-1"), "none"); errors.Is(err, jackcache.ErrNotFound) {
			break
		} else if time.Since(first) > 10*time.Second {
			return err
		}
	}
	fmt.Fprintln(out, "ready")
	var do stampede
	lines := json.NewDecoder(in)
	for lines.Decode(&do) == nil {
		text, err := json.Marshal(do.run(ctx, c, redis, out))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", text)
	}
	return c.Close(ctx)
}

func (s stampede) run(ctx context.Context, c *jackcache.Cache, redis string, out io.Writer) (did stampeded) {
	load := func(ctx context.Context) (car, error) {
		fmt.Fprintln(out, "loading")
		if err := countLoad(redis); err != nil {
			return car{}, err
		}
		select {
		case <-time.After(s.Takes):
			return car{Make: s.ID}, nil
		case <-ctx.Done():
			return car{}, ctx.Err()
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	<-time.After(time.Until(s.At))
	for range s.Callers {
		wg.Go(func() {
			began := time.Now()
			got, err := cars.GetOrLoad(ctx, c.Org("org-1"), s.ID, load)
			took := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			did.Slowest = max(did.Slowest, took)
			if err != nil || got.Make != s.ID {
				did.Failed++
				did.Problem = fmt.Sprintf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	return did
}

// countLoad counts a call of a loader, over a connection that has nothing to do
// with the product.
func countLoad(redis string) error {
	conn, err := net.DialTimeout("tcp", redis, 5*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "INCR %s\r\n", loadsKey); err != nil {
		return err
	}
	_, err = bufio.NewReader(conn).ReadString('\n')
	return err
}

// loaderProcess is a process that loads.
type loaderProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	done  <-chan struct{}
}

// startLoader starts one, and returns when it is ready.
func startLoader(t *testing.T, server *redistest.Server) *loaderProcess {
	t.Helper()
	return startLoaderIn(t, server, t.TempDir())
}

// startLoaderIn is startLoader with a data directory.
func startLoaderIn(t *testing.T, server *redistest.Server, dir string) *loaderProcess {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &loaderProcess{t: t, cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), loaderRedis+"="+server.Addr(), loaderDir+"="+dir)
	p.cmd.Stderr = os.Stderr
	r, w, err := os.Pipe() // read to the end, also where the process is reaped first
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.lines = w, bufio.NewScanner(r)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.done, err = redistest.Spawn(p.cmd)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.in.Close() // it may have ended
		<-p.done
		_ = r.Close()
	})
	p.says("ready")
	return p
}

// says fails the test unless the next line is the given one.
func (p *loaderProcess) says(want string) {
	p.t.Helper()
	if !p.lines.Scan() || p.lines.Text() != want {
		p.t.Fatalf("a process says %q, %v; want %q", p.lines.Text(), p.lines.Err(), want)
	}
}

func (p *loaderProcess) do(s stampede) {
	p.t.Helper()
	if err := json.NewEncoder(p.in).Encode(s); err != nil {
		p.t.Fatal(err)
	}
}

// did waits for what came of it, and fails the test if a caller was not served.
func (p *loaderProcess) did() (slowest time.Duration) {
	p.t.Helper()
	did := p.result()
	if did.Failed > 0 {
		p.t.Errorf("%d callers were not served: %s", did.Failed, did.Problem)
	}
	return did.Slowest
}

// result waits for what came of it.
func (p *loaderProcess) result() (did stampeded) {
	p.t.Helper()
	for p.lines.Scan() {
		if !strings.HasPrefix(p.lines.Text(), "{") {
			continue // it loads
		}
		if err := json.Unmarshal(p.lines.Bytes(), &did); err != nil {
			p.t.Fatal(err)
		}
		return did
	}
	p.t.Fatalf("a process ended: %v", p.lines.Err())
	return did
}

// P5: a thousand callers in four processes who miss the same key cause one load.
// How long they take is told in the log: tests run beside others.
func TestOneLoadAcrossProcesses(t *testing.T) {
	server := redistest.Start(t)
	var all []*loaderProcess
	for range 4 {
		all = append(all, startLoader(t, server))
	}
	const takes = 100 * time.Millisecond
	for _, id := range []string{"1", "2", "3"} {
		do(t, server, "DEL", loadsKey)
		at := time.Now().Add(50 * time.Millisecond)
		for _, p := range all {
			p.do(stampede{ID: id, Callers: 250, At: at, Takes: takes})
		}
		var slowest time.Duration
		for _, p := range all {
			slowest = max(slowest, p.did())
		}
		t.Logf("1000 callers in 4 processes, a loader of %v: the slowest was served after %v", takes, slowest)
		if n := do(t, server, "GET", loadsKey); n != "1" {
			t.Errorf("%s loads", n)
		}
	}
}

// P5: with the process that loads killed, one other loads.
func TestOneMoreLoadForAKilledProcess(t *testing.T) {
	server := redistest.Start(t)
	holder, others := startLoader(t, server), []*loaderProcess{startLoader(t, server), startLoader(t, server), startLoader(t, server)}
	holder.do(stampede{ID: "1", Callers: 10, Takes: 9 * time.Second})
	holder.says("loading")
	for _, p := range others {
		p.do(stampede{ID: "1", Callers: 250, Takes: 100 * time.Millisecond})
	}
	last := 0
	eventually(t, 10*time.Second, "the lease is prolonged", func() bool {
		before := last
		var err error
		if last, err = strconv.Atoi(do(t, server, "PTTL", "jack:dev:__load:{jack:dev:car:org-1:1}")); err != nil {
			t.Fatal(err)
		}
		return last > before && before > 0
	})
	killed := time.Now()
	if err := holder.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var slowest time.Duration
	for _, p := range others {
		slowest = max(slowest, p.did())
	}
	t.Logf("the slowest was served after %v, the last %v after the kill", slowest, time.Since(killed))
	if n := do(t, server, "GET", loadsKey); n != "2" {
		t.Errorf("%s loads, want 2", n)
	}
}
