package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

// faulty is a store that can be away, in doubt, and interrupted after it has
// answered.
type faulty struct {
	*storetest.Memory
	away, doubtful bool
	tells          bool         // it tells beforehand that it is away
	applies        atomic.Int32 // how often it was asked to apply something
	endless        bool         // it takes no invalidations
	unbounded      bool         // its bounds cannot be read
	answered       func()       // called once after a read
	bounding       func()       // called once before bounds are read
	reads          atomic.Int32 // of conversations, and of their bounds
	missed         atomic.Int32 // how often it was told that something is missed
}

func (f *faulty) Away(keys.Key) error {
	if f.tells && f.away {
		return store.ErrUnavailable
	}
	return nil
}

func (f *faulty) Apply(ctx context.Context, op store.Op) (store.Result, error) {
	f.applies.Add(1)
	if f.away {
		return store.Result{}, store.ErrUnavailable
	}
	return f.Memory.Apply(ctx, op)
}

func (f *faulty) Get(ctx context.Context, k keys.Key) (store.Read, error) {
	if f.away {
		return store.Read{}, store.ErrUnavailable
	}
	defer f.interrupt()
	return f.Memory.Get(ctx, k)
}

func (f *faulty) GetMany(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	if f.away {
		return nil, store.ErrUnavailable
	}
	defer f.interrupt()
	return f.Memory.GetMany(ctx, ks)
}

func (f *faulty) Messages(ctx context.Context, k keys.Key, last int) (store.Log, error) {
	if f.away {
		return store.Log{}, store.ErrUnavailable
	}
	f.reads.Add(1)
	defer f.interrupt()
	return f.Memory.Messages(ctx, k, last)
}

func (f *faulty) Bounds(ctx context.Context, k keys.Key) (clock.Version, record.Order, bool, error) {
	f.reads.Add(1)
	if g := f.bounding; g != nil {
		f.bounding = nil
		g()
	}
	if f.unbounded {
		return clock.Version{}, record.Order{}, false, store.ErrUnavailable
	}
	return f.Memory.Bounds(ctx, k)
}

func (f *faulty) interrupt() {
	if g := f.answered; g != nil {
		f.answered = nil
		g()
	}
}

func (f *faulty) InvalidateOnce(ctx context.Context, o keys.Org, known uint64, token clock.Version) (uint64, error) {
	if f.away || f.endless {
		return 0, store.ErrUnavailable
	}
	return f.Memory.InvalidateOnce(ctx, o, known, token)
}

func (f *faulty) Missed(k keys.Key) bool {
	f.missed.Add(1)
	return f.Memory.Missed(k)
}

func (f *faulty) Doubtful(keys.Key) bool { return f.doubtful }

// journaled is an engine over a faulty store and a real journal, which nobody
// replays but drain.
func journaled(t testing.TB) (*fixture, *faulty) {
	t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	clk := clock.New(nil, 1, nil)
	j, err := journal.Open(journal.Options{
		Dir: t.TempDir(), Space: space, MaxBytes: 64 << 20, Window: time.Hour, Now: clk.Time, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &faulty{Memory: storetest.NewMemory(nil)}
	e, err := New(Config{
		Store: s, Clock: clk, Timeout: 10 * time.Second, LoadTimeout: 10 * time.Second, LocalBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
		Journaling: &Journaling{Journal: j, Shared: s, Budget: 20 * time.Second, Patience: 10 * time.Second, Kick: func() {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range []error{e.Close(context.Background()), j.Close(context.Background())} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return &fixture{Engine: e, t: t, space: space}, s
}

// drain applies what is pending to the store, as a replay does.
func (f *fixture) drain(s *faulty) {
	f.t.Helper()
	f.journal.EachPending(func(o journal.Outstanding) {
		rs, err := f.journal.Read(o.Position)
		if err != nil || len(rs) != 1 {
			f.t.Fatal(len(rs), err)
		}
		if o.Kind == journal.Invalidation {
			if _, err := s.Memory.InvalidateOnce(f.t.Context(), rs[0].Org, rs[0].Generation, rs[0].Token); err != nil {
				f.t.Fatal(err)
			}
			return
		}
		op := rs[0].Op
		op.Mode = store.Merge
		if _, err := s.Memory.Apply(f.t.Context(), op); err != nil {
			f.t.Fatal(err)
		}
		done := &journal.Record{Kind: journal.Applied, Time: time.Now(), Op: op, Resolves: []journal.Position{o.Position}}
		if err := f.journal.Append(f.t.Context(), false, done); err != nil {
			f.t.Fatal(err)
		}
	})
}

// TestReadRacesReplay: what is applied between the store's answer and the look at
// the journal is in neither, and must be read all the same.
func TestReadRacesReplay(t *testing.T) {
	f, s := journaled(t)
	ctx, k, person := t.Context(), f.key("org-1", "agent-1"), f.phone("org-1", "+16049085474")
	s.away = true
	if _, err := f.Set(ctx, k, []byte("1"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s.away, s.answered = false, func() { f.drain(s) }
	if v, err := f.Get(ctx, k, shared); err != nil || !v.Found {
		t.Errorf("value: %+v, %v", v, err)
	}
	s.away = true
	if _, err := f.Append(ctx, person, []Message{{ID: "m", Payload: []byte("{}")}}, limits); err != nil {
		t.Fatal(err)
	}
	s.away, s.answered = false, func() { f.drain(s) }
	if log, err := f.Messages(ctx, person, 0); err != nil || len(log.Messages) != 1 {
		t.Errorf("messages: %+v, %v", log, err)
	}
}

// TestDoubtEnds: a store that was in doubt when it answered has answered without
// what was applied again since.
func TestDoubtEnds(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	if _, err := f.Set(ctx, k, []byte("1"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s.Memory, s.doubtful = storetest.NewMemory(nil), true
	s.answered = func() { s.doubtful = false }
	if v, err := f.Get(ctx, k, shared); err != nil || !v.Found {
		t.Errorf("value: %+v, %v", v, err)
	}
}

// TestLostGeneration: what this instance has invalidated is not read from a store
// that has lost the generation, and got back what others had written before.
func TestLostGeneration(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	for range 3 {
		if _, err := f.Invalidate(ctx, k.Org()); err != nil {
			t.Fatal(err)
		}
	}
	s.Memory, s.doubtful = storetest.NewMemory(nil), true
	restored := store.Op{
		Action: store.Set, Mode: store.Merge, Key: k, Version: clock.NewVersion(time.Now().UnixMilli()-1000, 0, 2), Generation: 1,
		ExpiresAt: time.Now().Add(time.Hour), Payload: []byte("1"),
	}
	if _, err := s.Memory.Apply(ctx, restored); err != nil {
		t.Fatal(err)
	}
	if v, err := f.Get(ctx, k, shared); err != nil || v.Found {
		t.Errorf("value: %+v, %v; want nothing", v, err)
	}
}

// TestSlowInvalidation: an invalidation of which the caller was told that its
// outcome is unknown may be in the journal, and is applied from there. It must not
// end what is acknowledged after it.
func TestSlowInvalidation(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	s.away = true
	if _, err := f.Set(ctx, k, []byte("1"), shared, store.Condition{}); err != nil { // so that it is journalled first
		t.Fatal(err)
	}
	for kept := false; !kept; { // until the disk is slower than the caller
		hasty, cancel := context.WithTimeout(ctx, 200*time.Microsecond)
		_, err := f.Invalidate(hasty, k.Org())
		cancel()
		f.journal.EachPending(func(o journal.Outstanding) {
			kept = kept || o.Kind == journal.Invalidation && errors.Is(err, store.ErrUnknown)
		})
		if err == nil {
			at, _ := f.ending.Load(k.Org()) // this one is known: begin again
			if f.drain(s); f.end(ctx, at.(*waitingEnd).Record, 0) != nil {
				t.Fatal("cannot begin again")
			}
		}
	}
	s.away = false
	if _, err := f.Set(ctx, k, []byte("2"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	f.drain(s)
	if v, err := f.Get(ctx, k, shared); err != nil || !v.Found {
		t.Errorf("value: %+v, %v; want what was acknowledged after the invalidation", v, err)
	}
}

// TestViewsAreBounded: conversations that nobody knows cost what is counted.
func TestViewsAreBounded(t *testing.T) {
	var s views
	f, _ := journaled(t)
	for i := range 2 * viewBytes / viewEntry {
		s.of(f.key("org-1", string(rune('a'+i%26))+clock.NewVersion(int64(i), 0, 0).String()))
		if s.bytes > viewBytes/2+2*viewEntry {
			t.Fatalf("%d views are counted as %d bytes", i, s.bytes)
		}
	}
	if n := len(s.young) + len(s.old); n > viewBytes/viewEntry {
		t.Errorf("%d views are kept", n)
	}
}

// TestPendingBelowApplied: a value that waits does not come back above a later one
// of the same instance, whatever generation came between, nor is it read in its
// place.
func TestPendingBelowApplied(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	s.away = true
	if _, err := f.Set(ctx, k, []byte("1"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s.away = false
	if _, err := f.Set(ctx, k, []byte("2"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	g, err := s.Memory.Invalidate(ctx, k.Org(), 0) // by another instance
	if err != nil {
		t.Fatal(err)
	}
	f.learn(k.Org(), g)
	for _, s.away = range []bool{false, true} {
		if v, err := f.Get(ctx, k, shared); v.Found {
			t.Errorf("away %v: %s, %v; want nothing", s.away, v.Payload, err)
		}
	}
}

// TestAppliedBehindInvalidation: what the replay was applying when an invalidation
// was accepted is recorded after it, and belongs to what was before it.
func TestAppliedBehindInvalidation(t *testing.T) {
	f, s := journaled(t)
	ctx, k, person := t.Context(), f.key("org-1", "agent-1"), f.phone("org-1", "+16049085474")
	s.away = true
	if _, err := f.Set(ctx, k, []byte("1"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Append(ctx, person, []Message{{ID: "m", Payload: []byte("{}")}}, limits); err != nil {
		t.Fatal(err)
	}
	var waiting []*journal.Record
	f.journal.EachPending(func(o journal.Outstanding) {
		rs, err := f.journal.Read(o.Position)
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, rs...)
	})
	if _, err := f.Invalidate(ctx, k.Org()); err != nil {
		t.Fatal(err)
	}
	for _, r := range waiting {
		done := &journal.Record{Kind: journal.Applied, Time: time.Now(), Op: r.Op, Resolves: []journal.Position{r.Position}}
		if err := f.journal.Append(ctx, false, done); err != nil {
			t.Fatal(err)
		}
	}
	if v, _ := f.Get(ctx, k, shared); v.Found {
		t.Errorf("value: %s; want nothing", v.Payload)
	}
	if log, _ := f.Messages(ctx, person, 0); len(log.Messages) > 0 {
		t.Errorf("messages: %v; want none", log.Messages)
	}
}

// TestLostBeginning: a conversation that begins later than what was acknowledged has
// lost something, also where the store cannot say whether it left it behind.
func TestLostBeginning(t *testing.T) {
	for _, unbounded := range []bool{false, true} {
		f, s := journaled(t)
		ctx, person := t.Context(), f.phone("org-1", "+16049085474")
		for i, id := range []string{"a", "b"} {
			if i == 1 {
				s.Memory = storetest.NewMemory(nil)
			}
			if _, err := f.Append(ctx, person, []Message{{ID: id, Payload: []byte("{}")}}, limits); err != nil {
				t.Fatal(err)
			}
		}
		s.unbounded = unbounded
		for range 2 {
			log, err := f.Messages(ctx, person, 0)
			if err != nil || len(log.Messages) != 2 {
				t.Errorf("unbounded %v: messages %v, %v", unbounded, log.Messages, err)
			}
			s.doubtful = !unbounded // as Missed makes it
		}
	}
}

// TestDerivedAboveWaiting: a derived value needs no second copy, unless an older one
// waits, which would be read in its place.
func TestDerivedAboveWaiting(t *testing.T) {
	f, s := journaled(t)
	ctx, derived := t.Context(), shared
	derived.Derived = true
	s.away = true
	if _, err := f.Set(ctx, f.key("org-1", "waits"), []byte("1"), derived, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s.away = false
	if err := f.journal.Close(ctx); err != nil { // it takes nothing more
		t.Fatal(err)
	}
	if _, err := f.Set(ctx, f.key("org-1", "alone"), []byte("2"), derived, store.Condition{}); err != nil {
		t.Errorf("a derived value: %v", err)
	}
	if _, err := f.Set(ctx, f.key("org-1", "waits"), []byte("2"), derived, store.Condition{}); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("a derived value above one that waits: %v", err)
	}
}

// TestViewOfAnotherLife: messages of a life that was over are not those of the next.
func TestViewOfAnotherLife(t *testing.T) {
	f, _ := journaled(t)
	c, now := content{byID: make(map[string]known)}, time.Now()
	for i, id := range []string{"before", "after"} {
		at := now.Add(time.Duration(i) * time.Hour)
		op := store.Op{
			Action: store.Append, Key: f.phone("org-1", "+16049085474"), Version: clock.NewVersion(at.UnixMilli(), 0, 1),
			ExpiresAt: at.Add(time.Minute), Messages: []store.Message{{ID: id}},
		}
		c.add([]*journal.Record{{Kind: journal.Applied, Position: journal.Position(i + 1), Time: at, Op: op}})
	}
	if all := c.messages(); len(all) != 1 || all[0].ID != "after" {
		t.Errorf("messages %v", all)
	}
}

// TestGoneUntilRestored: what was deleted by hand is gone; after a loss nothing is
// taken for that any more.
func TestGoneUntilRestored(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	if _, err := f.Set(ctx, k, []byte("1"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s.Memory = storetest.NewMemory(nil)
	for i, want := range []bool{true, false, true} {
		if i == 2 {
			f.Restored()
		}
		if v, err := f.Get(ctx, k, shared); err != nil || v.Found != want {
			t.Errorf("read %d: %+v, %v", i, v, err)
		}
	}
}
