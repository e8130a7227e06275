package filestore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// runChild is what a child process does until it is killed or its standard
// input ends. It says on standard output what it was told.
func runChild(role, file, mark string) error {
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		return err
	}
	if role == "full" {
		return runFull(file, space)
	}
	s, err := Open(file, Options{Space: space})
	if err != nil {
		return err
	}
	fmt.Println("open")
	switch role {
	case "append":
		return appendForEver(s, space, mark)
	case "hold":
		_, err := io.Copy(io.Discard, os.Stdin)
		return errors.Join(err, s.Close(context.Background()))
	}
	return fmt.Errorf("no role %q", role)
}

const childWriters = 8

// appendForEver appends to a conversation, and sets a value, from several
// goroutines, and prints the id of each that is acknowledged.
func appendForEver(s *Store, space keys.Space, mark string) error {
	org, err := keys.ParseOrg("org")
	if err != nil {
		return err
	}
	id, err := keys.ParseID("1")
	if err != nil {
		return err
	}
	talk := space.Key(keys.Conversations, org, id)
	hlc := clock.New(nil, 1, nil)
	errs := make(chan error)
	for n := range childWriters {
		go func() {
			for i := 0; ; i++ {
				acked := fmt.Sprintf("%s-%d-%d", mark, n, i)
				res, err := s.Apply(context.Background(), appendAt(talk, hlc.Now(), acked))
				if err != nil || res.Status != store.Applied {
					errs <- fmt.Errorf("append: status %d, %w", res.Status, err)
					return
				}
				// One write for one line: a kill leaves whole lines.
				fmt.Print(acked + "\n")
			}
		}()
	}
	return <-errs
}

// child is a process of this test.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startChild(t *testing.T, role, file, mark string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe, "-filestore.child="+role, "-filestore.file="+file, "-filestore.mark="+mark)}
	c.cmd.Stderr = os.Stderr
	out, oerr := c.cmd.StdoutPipe()
	in, ierr := c.cmd.StdinPipe()
	if err := errors.Join(oerr, ierr, c.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	c.stdin, c.lines = in, bufio.NewScanner(out)
	return c
}

// kill ends the child with SIGKILL and returns the lines that were not read.
func (c *child) kill(t *testing.T) []string {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for c.lines.Scan() {
		rest = append(rest, c.lines.Text())
	}
	_ = c.cmd.Wait() // says that it was killed
	return rest
}

// TestKilled: what was acknowledged before a SIGKILL is there after it.
func TestKilled(t *testing.T) {
	const rounds = 6
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	file := filepath.Join(t.TempDir(), "store.db")
	acked := make(map[string]bool)
	for round := range rounds {
		c := startChild(t, "append", file, fmt.Sprint(round))
		var lines []string
		for range random.IntN(400) {
			if !c.lines.Scan() {
				t.Fatal("the child ended by itself")
			}
			lines = append(lines, c.lines.Text())
		}
		for _, line := range append(lines, c.kill(t)...) {
			if line != "open" {
				acked[line] = true
			}
		}
		wantAll(t, file, acked)
	}
	t.Logf("%d acknowledged in %d rounds", len(acked), rounds)
}

func wantAll(t *testing.T, file string, acked map[string]bool) {
	t.Helper()
	s, err := Open(file, Options{Space: mustSpace(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	l, err := s.Messages(context.Background(), key(t, s.names.space, keys.Conversations, "org", "1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]int)
	for _, m := range l.Messages {
		there[m.ID]++
	}
	for id := range acked {
		if there[id] != 1 {
			t.Errorf("%s was acknowledged and is there %d times", id, there[id])
		}
	}
}

// TestLocked: a second opener is told which file is in use, in this process
// and in another.
func TestLocked(t *testing.T) {
	f := newFixture(t)
	wantLocked := func() {
		t.Helper()
		_, err := Open(f.path, f.options())
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), f.path) {
			t.Errorf("error %v, want ErrLocked and the name of the file", err)
		}
	}
	wantLocked()
	f.close()
	c := startChild(t, "hold", f.path, "")
	if !c.lines.Scan() || c.lines.Text() != "open" {
		t.Fatalf("child says %q", c.lines.Text())
	}
	wantLocked()
	if err := c.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	f.open()
}

// TestConcurrentOpens: of many that open at once those that get the file get
// the one that has the name.
func TestConcurrentOpens(t *testing.T) {
	f := newFixture(t)
	f.fillAndFree()
	f.close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(f.path, f.options())
			if errors.Is(err, ErrLocked) || errors.Is(err, errSwapped) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.RaiseGeneration(context.Background(), f.org("raised"), 1); err != nil {
				t.Error(err)
			}
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.open()
	if g, err := f.Generation(context.Background(), f.org("raised")); g != 1 || err != nil {
		t.Errorf("what was written is gone: generation %d, %v", g, err)
	}
}
