package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

func TestOneLoadForAllProcesses(t *testing.T) {
	for _, load := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 3 * time.Second, 4900 * time.Millisecond} {
		t.Run(load.String(), func(t *testing.T) {
			inFleet(t, 4, func(t *testing.T, f *fleet) {
				var all []<-chan answer
				for _, p := range f.processes {
					all = append(all, f.call(p, 250, f.loader("x", load)))
				}
				late := min(max(load/pollShare, firstPoll), lastPoll)
				for _, answers := range all {
					f.wants(answers, "x", load+late)
				}
				f.loaded(1)
				f.free()
			})
		})
	}
}

// Who is told that the key has changed does not wait for its next question.
func TestWaitersAreWoken(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = time.Second
		first := f.call(f.processes[0], 1, f.loader("x", load))
		synctest.Wait()
		second := f.call(f.processes[1], 3, f.loader("y", load))
		f.wants(first, "x", load)
		f.processes[1].wake.Changed([]string{"another", f.key.String()})
		f.wants(second, "x", load)
		f.loaded(1)
		if n := f.processes[1].wake.waiting.Load(); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

// The value may come between the miss and the lease.
func TestTheLeaseIsNoReasonToLoad(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		f.processes[1].line.before = sync.OnceFunc(func() {
			f.wants(f.call(f.processes[0], 1, f.loader("x", time.Millisecond)), "x", time.Second)
			synctest.Wait() // it has given its lease back
		})
		f.wants(f.call(f.processes[1], 1, f.loader("y", time.Millisecond)), "x", time.Second)
		f.loaded(1)
		f.free()
	})
}

// What is missed may change between the miss and the lease: the lease is for what
// is missed then, and who misses the same waits.
func TestTheMissChangesBeforeTheLease(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = time.Second
		f.processes[0].line.before = sync.OnceFunc(func() {
			if _, err := f.processes[1].Invalidate(context.Background(), f.key.Org()); err != nil {
				t.Error(err)
			}
		})
		first := f.call(f.processes[0], 1, f.loader("x", load))
		synctest.Wait()
		second := f.call(f.processes[1], 1, f.loader("y", load))
		f.wants(first, "x", load)
		f.wants(second, "x", load+lastPoll)
		f.loaded(1)
	})
}

// Who writes under a generation that has passed writes once more. What is loaded for
// one who missed in between is not kept: the write was acknowledged.
func TestFillBetweenTwoAttempts(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = time.Second
		loader, writer := f.processes[0], f.processes[1]
		if _, err := loader.Invalidate(context.Background(), f.key.Org()); err != nil {
			t.Fatal(err)
		}
		var loaded <-chan answer
		writer.line.applied = sync.OnceFunc(func() {
			loaded = f.call(loader, 1, f.loader("loaded", load))
			synctest.Wait()
		})
		written, err := writer.Set(context.Background(), f.key, []byte("written"), plain, store.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		f.wants(loaded, "loaded", load)
		f.loaded(1)
		v, err := loader.Get(context.Background(), f.key, plain)
		if err != nil || string(v.Payload) != "written" || v.Version != written {
			t.Errorf("%q at %s, %v; what was written at %s was acknowledged", v.Payload, v.Version, err, written)
		}
	})
}

func TestHolderIsKilled(t *testing.T) {
	inFleet(t, 4, func(t *testing.T, f *fleet) {
		const load, dies = 2 * time.Second, 1500 * time.Millisecond
		gone := f.call(f.processes[0], 1, f.hangs)
		synctest.Wait()
		var all []<-chan answer
		for _, p := range f.processes[1:] {
			all = append(all, f.call(p, 10, f.loader("x", load)))
		}
		time.Sleep(dies)
		f.processes[0].line.away.Store(true)
		for _, answers := range all {
			f.wants(answers, "x", dies+longestLease+lastPoll+load+lastPoll)
		}
		f.loaded(2)
		if a := <-gone; !errors.Is(a.err, context.DeadlineExceeded) {
			t.Errorf("the one that was cut off: %+v", a)
		}
	})
}

// A loader that fails is called once by each process that has callers, and never
// by two at a time.
func TestLoaderFails(t *testing.T) {
	inFleet(t, 4, func(t *testing.T, f *fleet) {
		const load = 40 * time.Millisecond
		var all []<-chan answer
		for i, p := range f.processes {
			succeeds := f.loader("", load)
			all = append(all, f.call(p, 10, func(ctx context.Context) ([]byte, error) {
				_, _ = succeeds(ctx)
				return nil, fmt.Errorf("failure %d", i)
			}))
		}
		for i, answers := range all {
			for range cap(answers) {
				if a := <-answers; a.err == nil || a.err.Error() != fmt.Sprintf("failure %d", i) || a.took > 4*(load+lastPoll) {
					t.Errorf("process %d: %v after %v", i, a.err, a.took)
				}
			}
		}
		f.loaded(4)
		if n := f.most.Load(); n != 1 {
			t.Errorf("%d at a time", n)
		}
		f.free()
	})
}

// The first success ends it.
func TestLoaderFailsInOneProcess(t *testing.T) {
	inFleet(t, 4, func(t *testing.T, f *fleet) {
		const load = 100 * time.Millisecond
		failed := f.call(f.processes[0], 1, func(context.Context) ([]byte, error) {
			f.loads.Add(1)
			time.Sleep(load)
			return nil, errors.New("not here")
		})
		synctest.Wait()
		var all []<-chan answer
		for _, p := range f.processes[1:] {
			all = append(all, f.call(p, 10, f.loader("x", load)))
		}
		if a := <-failed; a.err == nil || a.took != load {
			t.Errorf("%+v", a)
		}
		for _, answers := range all {
			f.wants(answers, "x", 2*(load+lastPoll))
		}
		f.loaded(2)
	})
}

// A loader that panics is one that fails.
func TestLoaderPanics(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		if a := <-f.call(f.processes[0], 1, func(context.Context) ([]byte, error) { panic("oops") }); a.err == nil {
			t.Errorf("%+v", a)
		}
		f.free()
		f.wants(f.call(f.processes[1], 1, f.loader("x", time.Millisecond)), "x", 2*time.Millisecond)
	})
}

// A load that hangs in one process does not hang in the others.
func TestLoaderHangs(t *testing.T) {
	inFleet(t, 3, func(t *testing.T, f *fleet) {
		const load = time.Second
		hung := f.call(f.processes[0], 1, f.hangs)
		synctest.Wait()
		one, two := f.call(f.processes[1], 5, f.loader("x", load)), f.call(f.processes[2], 5, f.loader("x", load))
		f.wants(one, "x", loadTimeout/2+lastPoll+load)
		f.wants(two, "x", loadTimeout/2+lastPoll+load)
		f.loaded(3)
		if a := <-hung; !errors.Is(a.err, context.DeadlineExceeded) || a.took != loadTimeout {
			t.Errorf("%+v", a)
		}
		f.free()
	})
}

// Who loads late, and has not the time for it, gets what the first has loaded.
func TestLoadsTakeLong(t *testing.T) {
	inFleet(t, 3, func(t *testing.T, f *fleet) {
		const load = loadTimeout * 3 / 4
		first := f.call(f.processes[0], 1, f.loader("x", load))
		synctest.Wait()
		one, two := f.call(f.processes[1], 5, f.loader("y", load)), f.call(f.processes[2], 5, f.loader("z", load))
		f.wants(first, "x", load)
		f.wants(one, "x", loadTimeout)
		f.wants(two, "x", loadTimeout)
		f.loaded(3)
	})
}

// A loader that does not even heed its context keeps the lease no longer.
func TestLoaderNeverEnds(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		release := make(chan struct{})
		defer close(release)
		a := <-f.call(f.processes[0], 1, func(context.Context) ([]byte, error) { <-release; return nil, errors.New("late") })
		if !errors.Is(a.err, context.DeadlineExceeded) {
			t.Errorf("%+v", a)
		}
		f.free()
	})
}

// Without the store each process loads once, at once.
func TestStoreIsAway(t *testing.T) {
	inFleet(t, 3, func(t *testing.T, f *fleet) {
		const load = 100 * time.Millisecond
		var all []<-chan answer
		for _, p := range f.processes {
			p.line.away.Store(true)
			all = append(all, f.call(p, 10, f.loader("x", load)))
		}
		for _, answers := range all {
			f.wants(answers, "x", load)
		}
		f.loaded(3)
	})
}

// The store goes away during the load: nobody waits for it to come back.
func TestStoreGoesAway(t *testing.T) {
	inFleet(t, 3, func(t *testing.T, f *fleet) {
		const load = time.Second
		var all []<-chan answer
		for _, p := range f.processes {
			all = append(all, f.call(p, 10, f.loader("x", load)))
		}
		time.Sleep(load / 2)
		for _, p := range f.processes {
			p.line.away.Store(true)
		}
		for _, answers := range all {
			f.wants(answers, "x", load/2+250*time.Millisecond+load)
		}
		f.loaded(3)
	})
}

// Now and then a question that is not answered is no reason to load.
func TestStoreHiccups(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = time.Second
		first := f.call(f.processes[0], 1, f.loader("x", load))
		synctest.Wait()
		second := f.call(f.processes[1], 1, f.loader("y", load))
		time.Sleep(load / 2)
		for range 4 {
			f.processes[1].line.away.Store(true)
			time.Sleep(lastPoll)
			f.processes[1].line.away.Store(false)
			time.Sleep(lastPoll)
		}
		f.wants(first, "x", load)
		f.wants(second, "x", load+lastPoll)
		f.loaded(1)
	})
}

// Nor is one that was not answered before the load.
func TestStoreHiccupsAtFirst(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = 100 * time.Millisecond
		first := f.call(f.processes[0], 1, f.loader("x", load))
		synctest.Wait()
		f.processes[1].line.unanswered.Store(1)
		second := f.call(f.processes[1], 1, f.loader("y", load))
		f.wants(first, "x", load)
		f.wants(second, "x", load+lastPoll)
		f.loaded(1)
	})
}

// A store that gives no leases takes what is loaded all the same.
func TestLeasesAreRefused(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		for _, p := range f.processes {
			p.line.refuses.Store(true)
		}
		f.wants(f.call(f.processes[0], 10, f.loader("x", time.Second)), "x", time.Second)
		f.wants(f.call(f.processes[1], 10, f.loader("y", time.Second)), "x", 0)
		f.loaded(1)
	})
}

// Who asks after a write, a deletion or an invalidation does not wait for a load
// that began before it, and gets nothing of it, in another process either.
func TestLaterCallersDoNotWait(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		meanwhile func(*fleet, process) error
		gets      string
		loads     int32
	}{
		"set": {func(f *fleet, p process) error {
			_, err := p.Set(ctx, f.key, []byte("set"), plain, store.Condition{})
			return err
		}, "set", 1},
		"delete":     {func(f *fleet, p process) error { return p.Delete(ctx, f.key, plain, store.Condition{}) }, "new", 2},
		"invalidate": {func(f *fleet, p process) error { _, err := p.Invalidate(ctx, f.key.Org()); return err }, "new", 2},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 3, func(t *testing.T, f *fleet) {
				const short, long = 100 * time.Millisecond, 2 * time.Second
				old := f.call(f.processes[0], 1, f.loader("old", long))
				synctest.Wait()
				waits := f.call(f.processes[1], 1, f.loader("new", short))
				synctest.Wait()
				if err := c.meanwhile(f, f.processes[2]); err != nil {
					t.Fatal(err)
				}
				later := f.call(f.processes[2], 10, f.loader("new", short))
				f.wants(later, c.gets, short)
				// Who waits has seen that, too, and waits for the new load.
				f.wants(waits, c.gets, short+2*lastPoll)
				f.wants(old, "old", long)
				f.wants(f.call(f.processes[0], 1, f.loader("older", short)), c.gets, 0)
				f.loaded(c.loads)
				f.free()
			})
		})
	}
}

// Who waits for a load that is overtaken does not wait for its end.
func TestWhoWaitsSeesAnInvalidation(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const short, long = 100 * time.Millisecond, 3 * time.Second
		old := f.call(f.processes[0], 1, f.loader("old", long))
		synctest.Wait()
		waits := f.call(f.processes[1], 1, f.loader("new", short))
		time.Sleep(short)
		if _, err := f.processes[0].Invalidate(context.Background(), f.key.Org()); err != nil {
			t.Fatal(err)
		}
		f.wants(waits, "new", 2*short+lastPoll)
		f.wants(old, "old", long)
		f.wants(f.call(f.processes[0], 1, f.loader("older", short)), "new", 0)
		f.loaded(2)
	})
}

// A caller who gives up leaves the others their load, and their wait.
func TestCallerGivesUp(t *testing.T) {
	inFleet(t, 2, func(t *testing.T, f *fleet) {
		const load = time.Second
		holder := f.call(f.processes[0], 1, f.loader("x", load))
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		gaveUp := make(chan error)
		go func() {
			_, err := f.processes[1].GetOrLoad(ctx, f.key, plain, f.loader("y", load))
			gaveUp <- err
		}()
		synctest.Wait()
		others := f.call(f.processes[1], 5, f.loader("z", load))
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
		f.wants(holder, "x", load)
		f.wants(others, "x", load+lastPoll)
		f.loaded(1)
	})
}

// Who closes gives its leases back, and leaves nothing that runs.
func TestCloseDuringLoads(t *testing.T) {
	inFleet(t, 3, func(t *testing.T, f *fleet) {
		const load = 2 * time.Second
		holder := f.call(f.processes[0], 1, f.loader("x", load))
		synctest.Wait()
		closed, waits := f.call(f.processes[1], 3, f.loader("y", load)), f.call(f.processes[2], 3, f.loader("z", load))
		synctest.Wait()
		for _, p := range f.processes[:2] {
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
		for range cap(closed) {
			if a := <-closed; !errors.Is(a.err, ErrClosed) {
				t.Errorf("who waits in a process that closes: %+v", a)
			}
		}
		<-holder
		f.wants(waits, "z", load+lastPoll)
		f.processes = f.processes[2:]
	})
}

// A hit asks for no lease.
func TestHitsPayNothing(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p := f.processes[0]
		f.wants(f.call(p, 1, f.loader("x", 0)), "x", 0)
		asked := p.line.asked.Load()
		f.wants(f.call(p, 100, f.loader("y", 0)), "x", 0)
		if n := p.line.asked.Load(); asked != 1 || n != asked {
			t.Errorf("%d leases for a miss, %d with the hits", asked, n)
		}
		local := plain
		local.LocalOnly = true
		if _, err := p.GetOrLoad(context.Background(), f.key, local, f.loader("z", 0)); err != nil {
			t.Error(err)
		}
		if n := p.line.asked.Load(); n != asked {
			t.Errorf("a kind that stays here asked for %d leases", n-asked)
		}
	})
}
