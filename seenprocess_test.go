package jackcache_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// besideAProcess is an instance that invalidates, beside a process that keeps copies.
type besideAProcess struct {
	t      *testing.T
	server *redistest.Server
	a      *assistant.Assistant
	org    jackcache.Org
}

func newBesideAProcess(t *testing.T) *besideAProcess {
	t.Helper()
	server := redistest.Start(t)
	a := instance(t, server, func(o *jackcache.Options) { o.Kinds = []jackcache.AnyKind{cars} })
	return &besideAProcess{t: t, server: server, a: a, org: a.Cache.Org("org-1")}
}

// copied writes a value that is to be invalidated, and returns when the process gives
// it from a copy.
func (b *besideAProcess) copied(p *loaderProcess, id string) {
	b.t.Helper()
	eventually(b.t, 10*time.Second, "the old one is written", func() bool {
		_, err := cars.Set(b.t.Context(), b.org, id, car{Make: "old"})
		return err == nil
	})
	eventually(b.t, 10*time.Second, "it has copies", func() bool { // the least time of a call: no trip to redis
		p.do(stampede{ID: id, Callers: 200, At: time.Now()})
		return p.result().Failed == 200 && len(do(b.t, b.server, "HKEYS", b.a.Cache.KeyPrefix()+"__listeners")) > 0
	})
}

// invalidate returns how long it took.
func (b *besideAProcess) invalidate() time.Duration {
	b.t.Helper()
	begun := time.Now()
	eventually(b.t, 10*time.Second, "it is invalidated", func() bool { // redis may be slow for an instant
		begun = time.Now()
		return b.org.Invalidate(b.t.Context()) == nil
	})
	return time.Since(begun)
}

// soonest is the least of how long several take: others keep the machine busy.
func (b *besideAProcess) soonest(times int) time.Duration {
	b.t.Helper()
	least := time.Hour
	for range times {
		least = min(least, b.invalidate())
	}
	return least
}

// kill ends the process as a crash does, and returns when it is gone.
func (p *loaderProcess) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-p.done
}

// An instance that is stopped is waited for until its copies are not current any more,
// once: it gives none of before when it goes on, and is waited for again.
func TestInvalidateWaitsForTheStopped(t *testing.T) {
	b := newBesideAProcess(t)
	p := startLoader(t, b.server)
	late := 0
	for n := range 3 {
		id := fmt.Sprint(n)
		b.copied(p, id)
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		err := b.org.Invalidate(t.Context())
		took := time.Since(begun)
		if again := b.soonest(5); again > jackcache.DefaultFreshness/2 {
			t.Errorf("five more took %v each at least", again)
		}
		p.do(stampede{ID: id, Callers: 200, At: begun}) // it reads this at once
		if err := errors.Join(err, p.cmd.Process.Signal(syscall.SIGCONT)); err != nil {
			t.Fatal(err)
		}
		if did := p.result(); did.Failed > 0 {
			t.Errorf("after %v %d callers were given something else: %s", took, did.Failed, did.Problem)
		}
		if took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if took > jackcache.DefaultFreshness/2 {
			late++
		}
		t.Log("it took", took)
		eventually(t, 10*time.Second, "it is in the list again", func() bool {
			return len(do(t, b.server, "HKEYS", b.a.Cache.KeyPrefix()+"__listeners")) == 36 // an id, and no mark
		})
	}
	if late == 0 {
		t.Error("nobody was waited for")
	}
}

// An instance that stops and goes on at any time gives nothing as fresh that was
// invalidated by then.
func TestInvalidateWhileAnotherStumbles(t *testing.T) {
	b := newBesideAProcess(t)
	p := startLoader(t, b.server)
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for n := range 8 {
		id := fmt.Sprint(n)
		b.copied(p, id)
		stumbled := make(chan error, 1)
		after, goesOn := r.Int64N(20), r.Int64N(1500)
		go func() {
			<-time.After(time.Duration(after) * time.Millisecond)
			err := p.cmd.Process.Signal(syscall.SIGSTOP)
			<-time.After(time.Duration(goesOn) * time.Millisecond)
			stumbled <- errors.Join(err, p.cmd.Process.Signal(syscall.SIGCONT))
		}()
		took := b.invalidate()
		p.do(stampede{ID: id, Callers: 200, At: time.Now()})
		for range r.IntN(4) {
			b.invalidate()
		}
		if did := p.result(); did.Failed > 0 {
			t.Errorf("stopped after %d ms for %d ms, invalidated in %v: %d callers were given something else: %s",
				after, goesOn, took, did.Failed, did.Problem)
		}
		if err := <-stumbled; err != nil {
			t.Fatal(err)
		}
	}
}

// An instance that was killed costs one bound, once.
func TestInvalidateWaitsOnceForTheKilled(t *testing.T) {
	b := newBesideAProcess(t)
	p := startLoader(t, b.server)
	b.copied(p, "1")
	p.kill()
	first := b.invalidate()
	var all []time.Duration
	for range 9 {
		all = append(all, b.invalidate())
	}
	t.Log("the first took", first, "and then", all)
	if first > 2*jackcache.DefaultFreshness {
		t.Errorf("the first took %v", first)
	}
	for i, took := range all {
		if took > jackcache.DefaultFreshness/2 {
			t.Errorf("the %d. after that took %v", i+1, took)
		}
	}
}

// An instance that was killed and is started again with its data directory costs
// nothing then: nobody waits for what it was before.
func TestInvalidateDoesNotWaitForTheRestarted(t *testing.T) {
	b := newBesideAProcess(t)
	dir := t.TempDir()
	p := startLoaderIn(t, b.server, dir)
	b.copied(p, "1")
	p.kill()
	list := b.a.Cache.KeyPrefix() + "__listeners"
	former := do(t, b.server, "HKEYS", list)
	p = startLoaderIn(t, b.server, dir)
	b.copied(p, "2")
	if now := do(t, b.server, "HKEYS", list); len(now) != len(former) || now == former {
		t.Errorf("%q are in the list; before there was %q", now, former)
	}
	// The first of them counts: one that is in vain suspends it.
	if took := b.invalidate(); took > jackcache.DefaultFreshness/2 {
		t.Errorf("it took %v", took)
	}
	if marks := do(t, b.server, "HKEYS", list); len(marks) != len(former) {
		t.Errorf("%q are in the list", marks)
	}
}
