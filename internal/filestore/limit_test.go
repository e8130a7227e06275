package filestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func (f *fixture) wantFull(op store.Op) {
	f.t.Helper()
	if _, err := f.Apply(context.Background(), op); !errors.Is(err, store.ErrFull) {
		f.t.Errorf("apply %s to a full store: %v, want ErrFull", op.Key, err)
	}
}

// TestMaxBytes: a full store takes what makes room, and then takes data again.
func TestMaxBytes(t *testing.T) {
	const limit = 2 << 20
	f := newFixture(t, func(o *Options) { o.MaxBytes = limit })
	payload := strings.Repeat("x", 50_000)
	var full error
	for i := 0; full == nil; i++ {
		_, full = f.Apply(context.Background(), f.set(f.value("a", fmt.Sprint(i)), payload))
		if i > 100 {
			t.Fatalf("%d values of %d bytes and no end", i, len(payload))
		}
	}
	if !errors.Is(full, store.ErrFull) {
		t.Fatalf("error %v, want ErrFull", full)
	}
	h := f.Health()
	if h.UsedBytes > limit+limit/8 || h.MaxBytes != limit || len(h.Warnings) == 0 || h.State != store.Up {
		t.Errorf("health of a full store: %+v", h)
	}
	full = nil
	for i := 0; full == nil; i++ { // that a loader found nothing has to make room for nobody
		absent := f.tombstone(f.value("a", fmt.Sprint("absent", i)))
		absent.Version = clock.Absence(1)
		_, full = f.Apply(context.Background(), absent)
		if i > 1000 {
			t.Fatalf("%d absences and no end", i)
		}
	}
	if !errors.Is(full, store.ErrFull) {
		t.Fatalf("error %v, want ErrFull", full)
	}
	f.apply(f.append(f.talk("a", "1")), store.Unchanged)
	add := f.append(f.talk("a", "1"), "m")
	add.Messages[0].Payload = []byte(payload)
	f.wantFull(add)
	replace := add
	replace.Action = store.Replace
	f.wantFull(replace)
	clear := f.append(f.talk("a", "1"))
	clear.Action = store.Replace
	f.apply(clear, store.Applied)
	if _, err := f.Invalidate(context.Background(), f.org("b"), 0); err != nil {
		t.Errorf("invalidate: %v", err)
	}
	for i := range 20 {
		f.apply(f.tombstone(f.value("a", fmt.Sprint(i))), store.Applied)
	}
	f.apply(f.set(f.value("a", "after"), payload), store.Applied)
	if h := f.Health(); len(h.Warnings) != 0 || h.UsedBytes > limit/2+limit/4 {
		t.Errorf("health after deletions: %+v", h)
	}
}

// TestOneBatchDoesNotExceed: what one batch adds counts within it.
func TestOneBatchDoesNotExceed(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.MaxBytes = 1 << 20 })
	g := newGate(f.Store)
	first := f.async(context.Background(), f.set(f.value("a", "first"), "x"))
	<-g.reached
	var ops []store.Op
	for i := range 40 {
		ops = append(ops, f.set(f.value("a", fmt.Sprint(i)), strings.Repeat("x", 100_000)))
	}
	answers := f.fillQueue(ops)
	close(g.pass)
	go func() {
		for range g.reached { // batches to come
		}
	}()
	defer close(g.reached)
	applied := 0
	for _, a := range append(answers, first) {
		if a := <-a; a.err == nil {
			applied++
		} else if !errors.Is(a.err, store.ErrFull) {
			t.Errorf("error %v, want ErrFull", a.err)
		}
	}
	if applied < 5 || applied > 12 {
		t.Errorf("%d of 40 values of 100 kB fit into 1 MiB", applied)
	}
}

// runFull fills the disk: the largest size of a file stands for its end. It
// prints what it was told.
func runFull(file string, space keys.Space) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := Open(file, Options{Space: space, SweepEvery: time.Millisecond})
	if err != nil {
		return err
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	full := before
	full.Cur = 3 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	hlc := clock.New(nil, 1, nil)
	org, _ := keys.ParseOrg("org")
	set := func(i, size int) error {
		id, _ := keys.ParseID(fmt.Sprint(i))
		op := store.Op{Action: store.Set, Key: space.Key("lead", org, id), Version: hlc.Now(), TTL: time.Hour, Payload: make([]byte, size)}
		_, err := s.Apply(context.Background(), op)
		return err
	}
	const size = 100_000
	n := 0
	for err == nil {
		if err = set(n, size); err == nil {
			n++
		}
	}
	fmt.Println("acknowledged", n)
	fmt.Println("class", errors.Is(err, store.ErrFull), err)
	h := s.Health()
	fmt.Println("health", h.State, h.Problem)
	_, err = s.Get(context.Background(), space.Key("lead", org, mustID("0")))
	fmt.Println("read", err)
	// Pages that were freed may take a small one.
	fmt.Println("again", errors.Is(set(n, 20*size), store.ErrFull))
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	for s.Health().State != store.Up { // found out by the sweep
		yield()
	}
	fmt.Println("after", set(n, size))
	return s.Close(context.Background())
}

func mustID(s string) keys.ID {
	id, err := keys.ParseID(s)
	if err != nil {
		panic(err) // a literal of this file
	}
	return id
}

// TestDiskFull: a full disk is told as such, reads go on, nothing that was
// acknowledged is lost, and the store recovers by itself.
func TestDiskFull(t *testing.T) {
	file := filepath.Join(t.TempDir(), "store.db")
	c := startChild(t, "full", file, "")
	said := make(map[string]string)
	for c.lines.Scan() {
		word, rest, _ := strings.Cut(c.lines.Text(), " ")
		said[word] = rest
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("child: %v after %q", err, said)
	}
	for word, want := range map[string]string{"class": "true", "health": "down", "read": "<nil>", "again": "true", "after": "<nil>"} {
		if !strings.HasPrefix(said[word], want) {
			t.Errorf("%s: %q, want %q", word, said[word], want)
		}
	}
	var n int
	if _, err := fmt.Sscan(said["acknowledged"], &n); err != nil || n < 5 {
		t.Fatalf("acknowledged %q", said["acknowledged"])
	}
	s, err := Open(file, Options{Space: mustSpace(t)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n + 1 {
		r, err := s.Get(context.Background(), key(t, mustSpace(t), "lead", "org", fmt.Sprint(i)))
		if err != nil || len(r.Value.Stored) != 100_000 {
			t.Errorf("value %d: %d bytes, %v", i, len(r.Value.Stored), err)
		}
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestProbe: while the disk is full a commit is not tried before there is room
// for a small file.
func TestProbe(t *testing.T) {
	f := newFixture(t)
	f.health.committed(fmt.Errorf("%w: test", store.ErrFull))
	blocker := f.path + ".probe"
	if err := os.Mkdir(blocker, 0o700); err != nil {
		t.Fatal(err)
	}
	f.write(filepath.Join(blocker, "x"), nil) // so that it cannot be removed
	f.wantFull(f.set(f.value("a", "1"), "x"))
	if err := os.RemoveAll(blocker); err != nil {
		t.Fatal(err)
	}
	f.apply(f.set(f.value("a", "1"), "x"), store.Applied)
	if h := f.Health(); h.State != store.Up || h.Problem != "" {
		t.Errorf("health after room came back: %+v", h)
	}
}
