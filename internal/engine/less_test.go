package engine

import (
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

// A store that has lost everything, and got back a part from others before this
// instance has noticed, has less than it acknowledged.

// TestOlderValueRestored: the older value of another instance is not given in the
// place of the later own one.
func TestOlderValueRestored(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	older := store.Op{Action: store.Set, Mode: store.Merge, Key: k, Version: f.cfg.Clock.Now(), ExpiresAt: time.Now().Add(time.Hour), Payload: []byte("older")}
	if _, err := f.Set(ctx, k, []byte("own"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s.Memory = storetest.NewMemory(nil)
	if _, err := s.Memory.Apply(ctx, older); err != nil {
		t.Fatal(err)
	}
	if v, err := f.Get(ctx, k, shared); err != nil || string(v.Payload) != "own" {
		t.Errorf("value %s, %v; want the own one", v.Payload, err)
	}
}

// TestLostEnd: a conversation that ends before what this instance has appended last
// has lost it, unless that repeats what stands before.
func TestLostEnd(t *testing.T) {
	for _, last := range []int{0, 1} {
		f, s := journaled(t)
		ctx, person := t.Context(), f.phone("org-1", "+16049085474")
		var first *storetest.Memory
		appends := func(ids ...string) {
			t.Helper()
			for _, id := range ids {
				if _, err := f.Append(ctx, person, []Message{{ID: id, Payload: []byte("{}")}}, limits); err != nil {
					t.Fatal(err)
				}
			}
		}
		reads := func(want Source, end string) {
			t.Helper()
			log, err := f.Messages(ctx, person, last)
			if n := len(log.Messages); err != nil || n == 0 || log.Messages[n-1].ID != end || log.Source != want {
				t.Errorf("last %d: messages %v from %d, %v; want the end %q from %d", last, log.Messages, log.Source, err, end, want)
			}
		}
		appends("a", "b")
		first, s.Memory = s.Memory, storetest.NewMemory(nil)
		rs, err := f.journal.Known(person)
		if err != nil {
			t.Fatal(err)
		}
		op := rs[0].Op
		op.Mode = store.Merge
		if _, err := s.Memory.Apply(ctx, op); err != nil {
			t.Fatal(err)
		}
		reads(FromPending, "b")
		if s.missed.Load() == 0 {
			t.Error("the store is not told that something is missed")
		}
		s.Memory = first
		s.missed.Store(0)
		appends("a")
		reads(FromShared, "b")
		if s.missed.Load() > 0 {
			t.Error("a repetition is missed")
		}
	}
}

// TestRecordedMeanwhile: what is recorded while the store answers does not hide that
// it had lost what was acknowledged before.
func TestRecordedMeanwhile(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	write := func(value string) {
		if _, err := f.Set(ctx, k, []byte(value), shared, store.Condition{}); err != nil {
			t.Error(err)
		}
	}
	write("1")
	s.Memory = storetest.NewMemory(nil)
	s.answered = func() { write("2") }
	if v, err := f.Get(ctx, k, shared); err != nil || string(v.Payload) != "2" {
		t.Errorf("value %s, %v; want 2", v.Payload, err)
	}
}

// TestRestoredMeanwhile: that something was found gone counts no more when what was
// lost has been restored since the read began that missed it.
func TestRestoredMeanwhile(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	if _, err := f.Set(ctx, k, []byte("1"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	full := s.Memory
	begun := f.outset(k)
	f.Restored() // before it is noted
	f.missedAt(k, allOf, begun, f.journal.Position())
	s.Memory = storetest.NewMemory(nil)
	for _, restored := range []func(){nil, f.Restored} { // before the read begins, and while the store answers
		s.answered = restored
		if v, err := f.Get(ctx, k, shared); err != nil || !v.Found {
			t.Errorf("value: %+v, %v", v, err)
		}
	}
	if s.Memory = full; s.missed.Load() != 2 {
		t.Errorf("missed %d times", s.missed.Load())
	}
}
