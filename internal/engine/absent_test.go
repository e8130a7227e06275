package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

var errNothing = errors.New("there is none")

func findsNothing(context.Context) ([]byte, error) { return nil, &NothingError{Err: errNothing} }

const negativeTTL = time.Minute

// sparse is a kind of which it is remembered that a loader found nothing.
var sparse = func() Policy {
	p := plain
	p.NegativeTTL = negativeTTL
	return p
}()

// nothing makes a process find nothing.
func (f *fleet) nothing(p process, policy Policy) {
	f.t.Helper()
	if _, err := p.GetOrLoad(f.t.Context(), f.key, policy, findsNothing); err != errNothing && !errors.Is(err, errNothing) {
		f.t.Fatalf("got %v, want the loader's error", err)
	}
}

// remembers checks whether processes know that there is nothing: those that do not
// load a value.
func (f *fleet) remembers(what string, policy Policy, want bool, ps ...process) {
	f.t.Helper()
	for i, p := range ps {
		v, err := p.GetOrLoad(f.t.Context(), f.key, policy, f.loader("loaded", 0))
		if err != nil || v.Found == want {
			f.t.Errorf("%s: process %d gets %+v, %v", what, i, v, err)
		}
	}
}

// That a loader found nothing is known to all processes until the time is over, or
// anything is written.
func TestNothingIsRemembered(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		one, two := f.processes[0], f.processes[1]
		ctx := t.Context()
		f.nothing(one, plain)
		f.remembers("a kind that does not want it", plain, false, one)
		if _, err := one.Invalidate(ctx, f.key.Org()); err != nil {
			t.Fatal(err)
		}
		f.nothing(one, sparse)
		f.remembers("at first", sparse, true, one, two)
		elapse(negativeTTL - time.Second)
		f.remembers("until the end", sparse, true, one, two)
		elapse(2 * time.Second)
		f.remembers("after it", sparse, false, one)

		for name, end := range map[string]func() error{
			"set":        func() error { return second(two.Set(ctx, f.key, []byte("set"), sparse, store.Condition{})) },
			"invalidate": func() error { return second(two.Invalidate(ctx, f.key.Org())) },
			"delete":     func() error { return two.Delete(ctx, f.key, sparse, store.Condition{}) },
			"if absent": func() error {
				return second(two.Set(ctx, f.key, []byte("set"), sparse, store.Condition{Kind: store.IfAbsent}))
			},
			"import": func() error { // of what is as old as can be
				return second(two.Merge(ctx, store.Op{
					Action: store.Set, Key: f.key, Version: clock.Historic(time.Unix(1, 0), 0), TTL: time.Hour, Payload: []byte("set"),
				}))
			},
		} {
			if _, err := one.Invalidate(ctx, f.key.Org()); err != nil {
				t.Fatal(err)
			}
			f.nothing(one, sparse)
			f.remembers(name, sparse, true, one, two)
			if err := end(); err != nil {
				t.Fatal(name, err)
			}
			f.remembers("after "+name, sparse, false, one, two)
		}
	})
}

// The mark of a deletion stays for as long as a load may run that began before it: so
// it is in the process that it is known that a loader found nothing since.
func TestNothingAfterADeletion(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		one, two := f.processes[0], f.processes[1]
		ctx := t.Context()
		old := f.call(two, 1, f.loader("old", 2*time.Second))
		elapse(time.Second)
		if err := one.Delete(ctx, f.key, sparse, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		f.nothing(one, sparse)
		f.remembers("after a deletion", sparse, true, one)
		f.wants(old, "old", 2*time.Second)
		if r, err := f.store.Get(ctx, f.key); err != nil || !r.Found || !r.Value.IsTombstone() || r.Value.Version.IsAbsence() {
			t.Errorf("the mark of the deletion is %+v, %v", r, err)
		}
		f.remembers("then", sparse, true, one)
		if err := two.Delete(ctx, f.key, sparse, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		f.remembers("after another deletion", sparse, false, one)
		if err := two.Delete(ctx, f.key, sparse, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		f.nothing(one, sparse)
		elapse(negativeTTL)
		f.remembers("after its time", sparse, false, one)
		if err := one.Delete(ctx, f.key, sparse, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		f.nothing(one, sparse)
		if err := second(two.Invalidate(ctx, f.key.Org())); err != nil {
			t.Fatal(err)
		}
		f.remembers("after an invalidation", sparse, false, one)
	})
}

// A kind that stays in the process remembers it there.
func TestNothingLocal(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p, ctx := f.processes[0], t.Context()
		local := sparse
		local.LocalOnly = true
		f.nothing(p, local)
		f.remembers("at first", local, true, p)
		if err := second(p.Set(ctx, f.key, []byte("x"), local, store.Condition{})); err != nil {
			t.Fatal(err)
		}
		f.remembers("after a write", local, false, p)
		if err := p.Delete(ctx, f.key, local, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		f.nothing(p, local)
		f.remembers("after a deletion", local, true, p)
		elapse(negativeTTL)
		f.remembers("after its time", local, false, p)
	})
}

// While the store is away nothing is remembered: it is not known what was missing.
func TestNothingWhileAway(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p := f.processes[0]
		p.line.away.Store(true)
		f.nothing(p, sparse)
		f.remembers("away", sparse, false, p)
		p.line.away.Store(false)
		f.remembers("back", sparse, false, p)
	})
}

// A load that found nothing is shared like any other, and one that began before a
// write does not hide it.
func TestNothingOvertaken(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		one, two := f.processes[0], f.processes[1]
		if _, err := one.GetOrLoad(t.Context(), f.key, sparse, func(ctx context.Context) ([]byte, error) {
			if err := second(two.Set(ctx, f.key, []byte("set"), sparse, store.Condition{})); err != nil {
				t.Error(err)
			}
			return findsNothing(ctx)
		}); !errors.Is(err, errNothing) {
			t.Errorf("got %v", err)
		}
		f.wants(f.call(two, 1, f.loader("x", 0)), "set", 0)
	})
}

// What another process has found missing, because the store had lost it, is still
// what was acknowledged here.
func TestNothingHidesNoLoss(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	absent := store.Op{Action: store.Set, Key: k, Version: clock.Absence(2), TTL: time.Hour, Flags: record.Tombstone}
	lose := func() {
		t.Helper()
		s.Memory = storetest.NewMemory(nil)
		if _, err := s.Memory.Apply(ctx, absent); err != nil {
			t.Fatal(err)
		}
	}
	if err := second(f.Set(ctx, k, []byte("1"), shared, store.Condition{})); err != nil {
		t.Fatal(err)
	}
	lose()
	if v, err := f.Get(ctx, k, shared); err != nil || !v.Found {
		t.Errorf("got %+v, %v", v, err)
	}
	if err := f.Delete(ctx, k, shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	lose()
	if v, err := f.Get(ctx, k, shared); err != nil || v.Found {
		t.Errorf("what was deleted is %+v, %v", v, err)
	}
}

// What is written ends that in this process, too, though the value may be gone again
// before: evicted, or at the end of its life.
func TestLocalNothingEndsByAWrite(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p, local := f.processes[0], sparse
		local.LocalOnly, local.TTL = true, time.Second
		f.nothing(p, local)
		f.remembers("at first", local, true, p)
		f.write(p, local)
		elapse(5 * time.Second)
		f.remembers("after a write", local, false, p)
	})
}
