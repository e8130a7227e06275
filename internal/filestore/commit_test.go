package filestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// gate stops the committer before it applies a batch.
type gate struct {
	reached chan int      // the size of the batch
	pass    chan struct{} // lets it go on
}

func newGate(s *Store) *gate {
	g := &gate{reached: make(chan int), pass: make(chan struct{})}
	s.taken = func(n int) {
		g.reached <- n
		<-g.pass
	}
	return g
}

// async applies op beside the test.
func (f *fixture) async(ctx context.Context, op store.Op) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		res, err := f.Apply(ctx, op)
		c <- answer{res, err}
	}()
	return c
}

type answer struct {
	res store.Result
	err error
}

// fillQueue starts n callers and returns when all of them wait.
func (f *fixture) fillQueue(ops []store.Op) []<-chan answer {
	var answers []<-chan answer
	for i, op := range ops {
		answers = append(answers, f.async(context.Background(), op))
		for len(f.queue) != i+1 { // busy, but short: there is no event for a full channel
			yield()
		}
	}
	return answers
}

// TestGroupCommit: callers who wait at the same time share a commit.
func TestGroupCommit(t *testing.T) {
	const callers = 64
	f := newFixture(t)
	g := newGate(f.Store)
	before := f.commits.Load()
	first := f.async(context.Background(), f.append(f.talk("a", "1"), "first"))
	<-g.reached
	var ops []store.Op
	for i := range callers {
		ops = append(ops, f.append(f.talk("a", "1"), fmt.Sprint("m", i)))
	}
	answers := f.fillQueue(ops)
	g.pass <- struct{}{}
	if n := <-g.reached; n != callers {
		t.Errorf("a batch of %d, want all %d that waited", n, callers)
	}
	g.pass <- struct{}{}
	for _, a := range append(answers, first) {
		if a := <-a; a.err != nil || a.res.Status != store.Applied {
			t.Errorf("status %d, %v", a.res.Status, a.err)
		}
	}
	if n := f.commits.Load() - before; n != 2 {
		t.Errorf("%d commits, want 2", n)
	}
	if n := len(f.ids(f.talk("a", "1"))); n != callers+1 {
		t.Errorf("%d messages, want %d", n, callers+1)
	}
}

func TestGroupCommitUnderLoad(t *testing.T) {
	const callers, each = 64, 10
	f := newFixture(t)
	before := f.commits.Load()
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			for i := range each {
				f.apply(f.append(f.talk("a", fmt.Sprint(n%3+1)), fmt.Sprintf("%d-%d", n, i)), store.Applied)
			}
		})
	}
	wg.Wait()
	if n := f.commits.Load() - before; n >= callers*each/2 {
		t.Errorf("%d commits for %d operations", n, callers*each)
	}
}

// TestBatchIsolation: a request that is refused, or fails after it wrote
// something, leaves no trace and does not disturb its neighbours.
func TestBatchIsolation(t *testing.T) {
	f := newFixture(t)
	talk, broken, lead := f.talk("a", "1"), f.talk("a", "2"), f.value("a", "1")
	f.apply(f.append(talk, "one"), store.Applied)
	f.apply(f.append(broken, "x", "y", "z"), store.Applied)
	f.damaged = true
	a, _ := f.names.address(broken)
	f.change(func(tx *bbolt.Tx) error { return rowsOf(tx, f.names, "a").Put(a.idRow("y"), []byte("broken")) })

	g := newGate(f.Store)
	first := f.async(context.Background(), f.set(f.value("a", "0"), "first"))
	<-g.reached
	conflict := f.append(talk, "new", "one")
	conflict.Messages[1].Digest = digest{1}
	clear := f.append(broken)
	clear.Action = store.Replace // writes for x, then fails at y
	answers := f.fillQueue([]store.Op{f.append(talk, "two"), conflict, clear, f.set(lead, "value"), f.append(talk, "three")})
	close(g.pass)
	go func() {
		for range g.reached { // batches to come
		}
	}()
	defer close(g.reached)
	want := []store.Status{store.Applied, store.Conflict, 0, store.Applied, store.Applied}
	for i, a := range answers {
		a := <-a
		if failed := errors.Is(a.err, store.ErrCorrupt); a.res.Status != want[i] || failed != (want[i] == 0) {
			t.Errorf("request %d: status %d, %v; want %d", i, a.res.Status, a.err, want[i])
		}
	}
	<-first
	if got := f.ids(talk); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("messages %q", got)
	}
	if got := f.ids(broken); !slices.Equal(got, []string{"x", "y", "z"}) {
		t.Errorf("messages %q after a clear that failed", got)
	}
	if got := f.live(lead); got != "value" {
		t.Errorf("value %q", got)
	}
}

// TestNothingToCommit: what changes nothing is not synced.
func TestNothingToCommit(t *testing.T) {
	f := newFixture(t)
	lead, talk := f.value("a", "1"), f.talk("a", "1")
	set, add := f.set(lead, "x"), f.append(talk, "a", "b")
	f.apply(set, store.Applied)
	f.apply(add, store.Applied)
	before := f.commits.Load()
	f.apply(set, store.Unchanged)
	f.apply(add, store.Unchanged)
	set.Payload = []byte("y")
	f.apply(set, store.Conflict)
	absent := f.set(lead, "z")
	absent.If.Kind = store.IfAbsent
	f.apply(absent, store.ConditionFail)
	f.apply(f.append(f.talk("nobody", "1")), store.Unchanged)
	if _, err := f.RaiseGeneration(context.Background(), f.org("a"), 0); err != nil {
		t.Fatal(err)
	}
	if n := f.commits.Load() - before; n != 0 {
		t.Errorf("%d commits for what changes nothing", n)
	}
}

// TestContextEnds: a call that was not taken yet can be withdrawn; of one that
// was the outcome is unknown.
func TestContextEnds(t *testing.T) {
	f := newFixture(t)
	g := newGate(f.Store)
	ctx, cancel := context.WithCancel(context.Background())
	unknown := f.async(ctx, f.set(f.value("a", "unknown"), "x"))
	<-g.reached
	withdrawn := f.async(ctx, f.set(f.value("a", "withdrawn"), "x"))
	for len(f.queue) != 1 {
		yield()
	}
	cancel()
	if a := <-unknown; !errors.Is(a.err, store.ErrUnknown) || !errors.Is(a.err, context.Canceled) {
		t.Errorf("taken: %v, want ErrUnknown", a.err)
	}
	if a := <-withdrawn; !errors.Is(a.err, store.ErrUnavailable) || !errors.Is(a.err, context.Canceled) {
		t.Errorf("waiting: %v, want ErrUnavailable", a.err)
	}
	if _, err := f.Apply(ctx, f.set(f.value("a", "late"), "x")); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	close(g.pass)
	go func() {
		for range g.reached { // batches to come
		}
	}()
	defer close(g.reached)
	f.apply(f.set(f.value("a", "after"), "x"), store.Applied)
	for id, want := range map[string]string{"unknown": "x", "withdrawn": "", "late": "", "after": "x"} {
		if got := f.live(f.value("a", id)); got != want {
			t.Errorf("%s holds %q, want %q", id, got, want)
		}
	}
}

// TestClose: what waits is finished, what comes later is refused.
func TestClose(t *testing.T) {
	f := newFixture(t)
	g := newGate(f.Store)
	first := f.async(context.Background(), f.set(f.value("a", "1"), "x"))
	<-g.reached
	second := f.async(context.Background(), f.set(f.value("a", "2"), "x"))
	for len(f.queue) != 1 {
		yield()
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("close with work under way: %v", err)
	}
	if _, err := f.Apply(context.Background(), f.set(f.value("a", "3"), "x")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("apply while it closes: %v", err)
	}
	g.pass <- struct{}{}
	<-g.reached
	g.pass <- struct{}{}
	for _, c := range []<-chan answer{first, second} {
		if a := <-c; a.err != nil || a.res.Status != store.Applied {
			t.Errorf("accepted before: status %d, %v", a.res.Status, a.err)
		}
	}
	f.close()
	f.close()
	if _, err := f.Get(context.Background(), f.value("a", "1")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("get from a closed store: %v", err)
	}
	if h := f.Health(); h.State != store.Down || h.Problem == "" {
		t.Errorf("health of a closed store: %+v", h)
	}
	f.open()
	if f.live(f.value("a", "2")) != "x" {
		t.Error("what was accepted before is gone")
	}
}

// TestVisible: the outcome of a commit that failed is unknown when readers see
// it all the same.
func TestVisible(t *testing.T) {
	f := newFixture(t)
	f.apply(f.set(f.value("a", "1"), "x"), store.Applied)
	id := 0
	f.change(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return tx.Bucket(metaBucket).Put(formatRow, []byte(format))
	})
	if !f.visible(id) || f.visible(id+1) || f.visible(0) {
		t.Errorf("transaction %d is visible %v, the next %v, none %v", id, f.visible(id), f.visible(id+1), f.visible(0))
	}
}

// TestReadsAreCopies: what was read outlives the file.
func TestReadsAreCopies(t *testing.T) {
	f := newFixture(t)
	f.apply(f.set(f.value("a", "1"), "value"), store.Applied)
	f.apply(f.append(f.talk("a", "1"), "m"), store.Applied)
	r, rerr := f.Get(context.Background(), f.value("a", "1"))
	l, lerr := f.Messages(context.Background(), f.talk("a", "1"), 0)
	if err := errors.Join(rerr, lerr); err != nil {
		t.Fatal(err)
	}
	f.close()
	if string(r.Value.Stored) != "value" || l.Messages[0].ID != "m" || !bytes.Equal(l.Messages[0].Stored, message("m", 0).Payload) {
		t.Errorf("read %+v and %+v", r, l)
	}
}

func TestRejected(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*store.Op){
		"action":      func(op *store.Op) { op.Action = 9 },
		"generation":  func(op *store.Op) { op.Generation = store.MaxGeneration + 1 },
		"no life":     func(op *store.Op) { op.TTL = 0 },
		"flags":       func(op *store.Op) { op.Flags = 0x80 },
		"no id":       func(op *store.Op) { op.Messages[0].ID = "" },
		"long id":     func(op *store.Op) { op.Messages[0].ID = string(make([]byte, maxID+1)) },
		"their flags": func(op *store.Op) { op.Messages[0].Flags = record.Flags(0x40) },
	} {
		op := f.append(f.talk("a", "1"), "m")
		change(&op)
		if _, err := f.Apply(context.Background(), op); !errors.Is(err, store.ErrRejected) {
			t.Errorf("%s: %v, want ErrRejected", name, err)
		}
	}
	if _, err := f.RaiseGeneration(context.Background(), f.org("a"), store.MaxGeneration+1); !errors.Is(err, store.ErrRejected) {
		t.Errorf("raise too high: %v, want ErrRejected", err)
	}
	if _, err := f.Invalidate(context.Background(), f.org("a"), store.MaxGeneration); !errors.Is(err, store.ErrRejected) {
		t.Errorf("invalidate above the highest: %v, want ErrRejected", err)
	}
}
