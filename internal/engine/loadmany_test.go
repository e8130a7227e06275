package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// ids returns the keys of some ids.
func (f *fleet) ids(ids ...int) (ks []keys.Key) {
	f.t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, i := range ids {
		id, err := keys.ParseID(fmt.Sprint(i))
		if err != nil {
			f.t.Fatal(err)
		}
		ks = append(ks, space.Key("lead", f.key.Org(), id))
	}
	return ks
}

// many is a loader of several keys, which notes what it is called for.
type many struct {
	f      *fleet
	value  string // followed by the id
	takes  time.Duration
	lacks  int // an id that is not found; 0: none
	err    error
	calls  atomic.Int32
	wanted atomic.Pointer[[]string] // by the last call
}

func (l *many) load(ks []keys.Key) ManyLoader {
	return func(ctx context.Context, which []int) ([]LoadResult, error) {
		l.calls.Add(1)
		l.f.loads.Add(1)
		var ids []string
		got := make([]LoadResult, len(which))
		for n, i := range which {
			id := ks[i].ID().String()
			ids = append(ids, id)
			got[n].Payload = []byte(l.value + id)
			if id == fmt.Sprint(l.lacks) {
				got[n] = LoadResult{Err: &NothingError{Err: errNothing}}
			}
		}
		l.wanted.Store(&ids)
		select {
		case <-time.After(l.takes):
			return got, l.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// manyAnswer is what a call for several keys got.
type manyAnswer struct {
	values []string
	took   time.Duration
	err    error
}

// callMany starts a call for several ids.
func (f *fleet) callMany(p process, policy Policy, l *many, ids ...int) <-chan manyAnswer {
	answers := make(chan manyAnswer, 1)
	ks := f.ids(ids...)
	go func() {
		began := time.Now()
		vs, err := p.GetOrLoadMany(context.Background(), ks, policy, l.load(ks))
		a := manyAnswer{took: time.Since(began), err: err}
		for _, v := range vs {
			a.values = append(a.values, string(v.Payload))
		}
		answers <- a
	}()
	return answers
}

// wantsMany fails the test unless the answer is those values, within a time.
func (f *fleet) wantsMany(answers <-chan manyAnswer, within time.Duration, values ...string) {
	f.t.Helper()
	if a := <-answers; a.err != nil || !slices.Equal(a.values, values) || a.took > within {
		f.t.Errorf("got %q after %v, %v; want %q within %v", a.values, a.took, a.err, values, within)
	}
}

// wanted checks what a loader was called for last.
func (l *many) last(calls int32, ids ...string) {
	l.f.t.Helper()
	if n := l.calls.Load(); n != calls {
		l.f.t.Errorf("%d calls of the loader, want %d", n, calls)
	}
	if got := l.wanted.Load(); got == nil || !slices.Equal(*got, ids) {
		l.f.t.Errorf("the loader was called for %v, want %v", got, ids)
	}
}

// What is there is read in one trip, and what is missing loaded by one call.
func TestManyLoadsWhatIsMissing(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		p := f.processes[0]
		for _, k := range f.ids(2, 4) {
			if err := second(p.Set(t.Context(), k, []byte("set"), plain, store.Condition{})); err != nil {
				t.Fatal(err)
			}
		}
		l := &many{f: f, value: "v", lacks: 5}
		f.wantsMany(f.callMany(p, plain, l, 1, 2, 3, 4, 5), 0, "v1", "set", "v3", "set", "")
		l.last(1, "1", "3", "5")
		synctest.Wait() // the leases are given back
		trips := f.processes[1].line.trips.Load()
		f.wantsMany(f.callMany(f.processes[1], plain, l, 4, 3, 2, 1), 0, "set", "v3", "set", "v1")
		l.last(1, "1", "3", "5")
		if n := f.processes[1].line.trips.Load() - trips; n != 1 {
			t.Errorf("%d trips for what is there", n)
		}
		f.wantsMany(f.callMany(p, sparse, l, 5), 0, "")
		f.wantsMany(f.callMany(f.processes[1], sparse, l, 5), 0, "")
		l.last(2, "5")
		l.err = errDatabase
		if a := <-f.callMany(p, plain, l, 1, 6); !errors.Is(a.err, errDatabase) {
			t.Errorf("got %+v", a)
		}
	})
}

// Calls that want the same at the same time load each once, in whatever order they
// want it, and so do those for one key.
func TestManySharesLoads(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p := f.processes[0]
		const load = time.Second
		a, b, c := &many{f: f, value: "a", takes: load}, &many{f: f, value: "b", takes: load}, &many{f: f, value: "c", takes: load}
		single := make(chan answer, 1)
		go func() {
			v, err := p.GetOrLoad(context.Background(), f.ids(1)[0], plain, f.loader("one", load))
			single <- answer{value: string(v.Payload), err: err}
		}()
		synctest.Wait()
		first := f.callMany(p, plain, a, 1, 2, 3)
		synctest.Wait()
		second := f.callMany(p, plain, b, 4, 3, 2, 1)
		synctest.Wait()
		third := f.callMany(p, plain, c, 1, 2, 3, 4)
		synctest.Wait()
		late := f.call1(p, 4)
		f.wantsMany(first, load, "one", "a2", "a3")
		f.wantsMany(second, load, "b4", "a3", "a2", "one")
		f.wantsMany(third, load, "one", "a2", "a3", "b4")
		a.last(1, "2", "3")
		b.last(1, "4")
		if n := c.calls.Load(); n != 0 {
			t.Errorf("%d calls for what others load", n)
		}
		if got := <-single; got.value != "one" || got.err != nil {
			t.Errorf("%+v", got)
		}
		if got := <-late; got.value != "b4" || got.err != nil {
			t.Errorf("%+v", got)
		}
	})
}

// call1 starts a call for one id that others load.
func (f *fleet) call1(p process, id int) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		v, err := p.GetOrLoad(context.Background(), f.ids(id)[0], plain, f.loader("late", time.Second))
		answers <- answer{value: string(v.Payload), err: err}
	}()
	return answers
}

// Two calls of which each loads what the other waits for come to an end.
func TestManyOverlap(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = time.Second
		var all []<-chan manyAnswer
		a := &many{f: f, value: "v", takes: load}
		for _, p := range f.processes {
			all = append(all, f.callMany(p, plain, a, 1, 2, 3, 4), f.callMany(p, plain, a, 4, 3, 2, 1))
		}
		for i, answers := range all {
			want := []string{"v1", "v2", "v3", "v4"}
			if i%2 == 1 {
				slices.Reverse(want)
			}
			f.wantsMany(answers, load+lastPoll, want...)
		}
		if n := a.calls.Load(); n > 4 {
			t.Errorf("%d calls of the loader", n)
		}
	})
}

// What another process loads is waited for, beside the own load.
func TestManyAcrossProcesses(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = time.Second
		a, b := &many{f: f, value: "a", takes: load}, &many{f: f, value: "b", takes: load}
		first := f.callMany(f.processes[0], plain, a, 1, 2)
		synctest.Wait()
		second := f.callMany(f.processes[1], plain, b, 3, 2, 1)
		f.wantsMany(first, load, "a1", "a2")
		f.wantsMany(second, load+lastPoll, "b3", "a2", "a1")
		a.last(1, "1", "2")
		b.last(1, "3")

		// The value does not come.
		a.err = errDatabase
		failed := f.callMany(f.processes[0], plain, a, 5)
		synctest.Wait()
		f.wantsMany(f.callMany(f.processes[1], plain, b, 4, 5), 2*load+lastPoll, "b4", "b5")
		b.last(3, "5")
		<-failed
	})
}

// A load that began before a write or an invalidation does not bring the old back.
func TestManyIsOvertaken(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = time.Second
		ctx := t.Context()
		p, other := f.processes[0], f.processes[1]
		l := &many{f: f, value: "old", takes: load}
		old := f.callMany(p, plain, l, 1, 2, 3)
		time.Sleep(load / 2)
		if err := second(other.Set(ctx, f.ids(1)[0], []byte("set"), plain, store.Condition{})); err != nil {
			t.Fatal(err)
		}
		if err := other.Delete(ctx, f.ids(2)[0], plain, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		new := &many{f: f, value: "new"}
		f.wantsMany(f.callMany(p, plain, new, 1, 2), 0, "set", "new2")
		f.wantsMany(old, load, "old1", "old2", "old3")
		f.wantsMany(f.callMany(p, plain, new, 1, 2, 3), 0, "set", "new2", "old3")

		old = f.callMany(p, plain, l, 4)
		time.Sleep(load / 2)
		if err := second(other.Invalidate(ctx, f.key.Org())); err != nil {
			t.Fatal(err)
		}
		f.wantsMany(old, load, "old4")
		f.wantsMany(f.callMany(p, plain, new, 4, 1), 0, "new4", "new1")
	})
}

// While the store is away it is loaded, by one call, and nothing is kept.
func TestManyWhileAway(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p := f.processes[0]
		p.line.away.Store(true)
		l := &many{f: f, value: "v"}
		f.wantsMany(f.callMany(p, plain, l, 1, 2), 0, "v1", "v2")
		l.last(1, "1", "2")
	})
}

// Where some of several cannot be asked about, the others are read, and what is missing of
// both is loaded by one call, in the order of the call. What could not be asked about is
// not kept, unless it was missing when it was asked about again.
func TestManyWhileSomeAreAway(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p, ks := f.processes[0], f.ids(1, 2, 3, 4, 5)
		for _, k := range f.ids(2, 3) {
			if err := second(p.Set(t.Context(), k, []byte("set"), plain, store.Condition{})); err != nil {
				t.Fatal(err)
			}
		}
		p.line.unread = map[keys.Key]error{ks[0]: errAway, ks[2]: errAway, ks[3]: errAway}
		p.line.before = func() { delete(p.line.unread, ks[2]); delete(p.line.unread, ks[3]) } // then it is asked again
		l := &many{f: f, value: "v"}
		f.wantsMany(f.callMany(p, plain, l, 1, 2, 3, 4, 5), 0, "v1", "set", "set", "v4", "v5")
		l.last(1, "1", "4", "5")
		if n := p.line.asked.Load(); n != 1 {
			t.Errorf("%d leases were asked for, want that of what was read", n)
		}
		synctest.Wait()
		p.line.unread, l.value = nil, "w"
		f.wantsMany(f.callMany(p, plain, l, 1, 2, 3, 4, 5), 0, "w1", "set", "set", "v4", "v5")
		l.last(2, "1")
	})
}

// An error of one that no load mends ends the call, and so does one of the loader.
func TestManyWhileSomeFail(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p, ks := f.processes[0], f.ids(1, 2)
		l := &many{f: f, value: "v"}
		p.line.unread = map[keys.Key]error{ks[1]: store.ErrCorrupt}
		if a := <-f.callMany(p, plain, l, 1, 2); !errors.Is(a.err, store.ErrCorrupt) || a.values != nil {
			t.Errorf("%+v, want ErrCorrupt", a)
		}
		p.line.unread[ks[1]] = errAway
		l.err = errDatabase
		if a := <-f.callMany(p, plain, l, 1, 2); !errors.Is(a.err, errDatabase) || a.values != nil {
			t.Errorf("%+v, want that of the loader", a)
		}
	})
}

// A stale value is given of those that cannot be asked about, and the others are loaded.
func TestManyStaleWhileSomeAreAway(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p, ks, kind := c.processes[0], c.ids(1, 2, 3), lenient
		kind.SoftTimeout = 0
		if err := second(p.Set(t.Context(), ks[0], []byte("old"), kind, store.Condition{})); err != nil {
			t.Fatal(err)
		}
		if err := second(p.GetMany(t.Context(), ks[:1], []Policy{kind})); err != nil {
			t.Fatal(err)
		}
		elapse(lenient.TTL)
		p.line.unread = map[keys.Key]error{ks[0]: errAway, ks[1]: errAway}
		l := &many{f: c.fleet, value: "v"}
		c.wantsMany(c.callMany(p, kind, l, 1, 2, 3), 0, "old", "v2", "v3")
		l.last(1, "2", "3")
		if n := p.Rescues(RescueAway); n != 1 {
			t.Errorf("%d rescues, want 1", n)
		}
	})
}

// The bounds and the stale values of a kind count for each key.
func TestManyStale(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		kept := c.ids(1, 2)
		for _, k := range kept {
			if err := second(p.Set(t.Context(), k, []byte("old"), lenient, store.Condition{})); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.GetMany(t.Context(), kept, []Policy{lenient, lenient}); err != nil {
			t.Fatal(err)
		}
		elapse(lenient.TTL)
		const load = time.Second
		l := &many{f: c.fleet, value: "new", takes: load}
		c.wantsMany(c.callMany(p, lenient, l, 1, 2), soft, "old", "old")
		time.Sleep(load)
		c.wantsMany(c.callMany(p, lenient, l, 1, 2), 0, "new1", "new2")
		l.last(1, "1", "2")
		bound := lenient
		bound.HardTimeout = 2 * soft
		if a := <-c.callMany(p, bound, l, 1, 3); !errors.Is(a.err, ErrTimeout) || a.took != 2*soft {
			t.Errorf("%+v", a)
		}
		time.Sleep(load)
		c.wantsMany(c.callMany(p, bound, l, 3), 0, "new3")
		p.line.away.Store(true)
		l.err = errDatabase
		c.wantsMany(c.callMany(p, lenient, l, 3), load, "new3")
		time.Sleep(load)
	})
}

// A loader that panics ends its call alone, and keeps no lease.
func TestManyPanics(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		ks := f.ids(1, 2)
		if _, err := f.processes[0].GetOrLoadMany(t.Context(), ks, plain, func(context.Context, []int) ([]LoadResult, error) { panic("oops") }); err == nil {
			t.Error("no error")
		}
		synctest.Wait()
		f.wantsMany(f.callMany(f.processes[1], plain, &many{f: f, value: "v"}, 1, 2), 0, "v1", "v2")
	})
}
