package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// awaits raises the generation of an organisation and returns how long it takes until
// all have seen it.
func awaits(t *testing.T, s *Store) time.Duration {
	t.Helper()
	o := mustOrg(t, "org-1")
	if _, err := s.Invalidate(t.Context(), o, 0); err != nil {
		t.Fatal(err)
	}
	raised := time.Now()
	if err := s.AwaitSeen(t.Context(), raised, o); err != nil {
		t.Fatal(err)
	}
	return time.Since(raised)
}

// openListed opens a store that hears of changes, and returns when it is in the list.
func openListed(t *testing.T, addr string, freshness time.Duration) *Store {
	t.Helper()
	s := openWith(t, addr, func(o *Options) { listening(o); o.Freshness = freshness })
	soon(t, "it is in the list", func() bool { return s.listing.counts() })
	return s
}

// soonest returns the least of some times: others keep the machine busy.
func soonest(t *testing.T, s *Store) time.Duration {
	t.Helper()
	least := time.Hour
	for range 10 {
		least = min(least, awaits(t, s))
	}
	return least
}

const long = 30 * time.Second // no test waits for it

// Nobody waits for itself, and for others as long as they take to answer. Who leaves
// is not waited for any more.
func TestBarrierIsAnswered(t *testing.T) {
	server := redistest.Start(t)
	a := openListed(t, server.Addr(), long)
	soon(t, "nobody waits alone", func() bool { return awaits(t, a) < time.Second })
	b := openListed(t, server.Addr(), long)
	soon(t, "the other one answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return a.AwaitSeen(ctx, time.Now(), mustOrg(t, "org-1")) == nil
	})
	t.Log("with another one:", soonest(t, a))
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := send(t, server, "HGETALL", "jack:dev:__listeners"); strings.Contains(list, b.bootID) {
		t.Error("who has left is in the list")
	}
	if took := awaits(t, a); took > long/2 {
		t.Errorf("%v for one that has left", took)
	}
}

// Who hears of nothing itself waits for those who do.
func TestBarrierOfOneWhoHearsNothing(t *testing.T) {
	server := redistest.Start(t)
	deaf := openWith(t, server.Addr(), asIs)
	send(t, server, "HSET", "jack:dev:__listeners", "dead", "300 99999999999999")
	if took := awaits(t, deaf); took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("%v; the bound of the one that is there is 300 ms", took)
	}
	send(t, server, "HSET", "jack:dev:__listeners", "dead", "300 1")
	if took := soonest(t, deaf); took > 250*time.Millisecond {
		t.Errorf("%v for an entry that is over", took)
	}
}

// Who is waited for may outlast the caller: that says that it is done, and not known
// to be seen.
func TestBarrierWithoutAnswer(t *testing.T) {
	server := redistest.Start(t)
	a := openListed(t, server.Addr(), time.Second)
	send(t, server, "HSET", "jack:dev:__listeners", "dead", "60000 99999999999999")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := a.AwaitSeen(ctx, time.Now(), mustOrg(t, "org-1"))
	if !errors.Is(err, store.ErrUnseen) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v; want that it is not known to be seen", err)
	}
	// Several are waited for together.
	send(t, server, "HSET", "jack:dev:__listeners", "dead", "500 99999999999999")
	begun := time.Now()
	if err := a.AwaitSeen(t.Context(), begun, mustOrg(t, "1"), mustOrg(t, "2"), mustOrg(t, "3"), mustOrg(t, "4")); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 500*time.Millisecond || took > 1500*time.Millisecond {
		t.Errorf("%v for four with a bound of 500 ms", took)
	}
	server.Freeze()
	err = a.AwaitSeen(t.Context(), time.Now().Add(-listPatience), mustOrg(t, "org-1"))
	server.Thaw()
	if !errors.Is(err, store.ErrUnseen) {
		t.Errorf("%v without the list; want that it is not known to be seen", err)
	}
}

// Who is not in the list gives nothing as fresh, and enters it again when it may be gone.
func TestUnlistedIsNotFresh(t *testing.T) {
	server := redistest.Start(t)
	s := openListed(t, server.Addr(), time.Second)
	k := devSpaceOf(t).Generation(mustOrg(t, "org-1"))
	cover := func() *store.Cover { return s.layout.Load().cover(k) }
	soon(t, "something is proven", func() bool { return fresh(cover()) })
	// Nothing of another type can be entered into.
	do := func(args ...string) { send(t, server, args...) }
	do("SET", "jack:dev:__listeners", "x")
	s.listing.mu.Lock()
	s.listing.until.Store(store.Now()) // as if it had been prolonged last a while ago
	s.listing.mu.Unlock()
	soon(t, "nothing is fresh", func() bool { return !fresh(cover()) })
	for begun := time.Now(); time.Since(begun) < time.Second; pause(t.Context(), 5*time.Millisecond) {
		if fresh(cover()) {
			t.Fatal("it is proven without an entry")
		}
	}
	if p := s.layout.Load().masters[0].hears().Problem; !strings.Contains(p, errUnlisted.Error()) {
		t.Errorf("the problem is %q", p)
	}
	do("DEL", "jack:dev:__listeners")
	soon(t, "something is proven again", func() bool { return fresh(cover()) })
	for range 5 { // what was emptied has the entry again before anything is proven
		epoch := cover().Epoch()
		do("FLUSHALL")
		soon(t, "it is noticed, and something proven again", func() bool { return cover().Epoch() != epoch && fresh(cover()) })
		if !strings.Contains(send(t, server, "HGETALL", "jack:dev:__listeners"), s.bootID) {
			t.Fatal("it is proven without an entry")
		}
	}
}

// Where the list has not even the one who asks it may lack others.
func TestBarrierWithAnEmptiedList(t *testing.T) {
	server := redistest.Start(t)
	a := openListed(t, server.Addr(), 500*time.Millisecond)
	send(t, server, "DEL", "jack:dev:__listeners")
	if took := awaits(t, a); took < 500*time.Millisecond {
		t.Errorf("%v; others may be there with a bound of 500 ms", took)
	}
}

// A barrier is not answered by one that is told of it while the tap does not count
// yet, or by a server that is not that of the generation.
func TestBarrierOnAnotherTap(t *testing.T) {
	server := redistest.Start(t)
	s := openListed(t, server.Addr(), time.Second)
	n := s.layout.Load().masters[0]
	barrier := devSpaceOf(t).Barrier(mustOrg(t, "org-1"), "other", 1)
	early, other := newUnconnectedTap(n), newUnconnectedTap(&node{s: s})
	other.live.Store(true)
	if early.answers(barrier) || other.answers(barrier) {
		t.Error("it is answered")
	}
	early.live.Store(true)
	if !early.answers(barrier) {
		t.Error("it is not answered")
	}
	for _, name := range []string{devSpaceOf(t).Barrier(mustOrg(t, "org-1"), s.bootID, 1), "jack:dev:__gen:org-1"} {
		if early.answers(name) {
			t.Errorf("%s is answered", name)
		}
	}
}

// holding is a Listener that is held up by the change of a generation.
type holding struct{ release chan struct{} }

func (holding) Ended(keys.Org, uint64) {}

func (h holding) Changed(names []string) {
	for _, name := range names {
		if strings.Contains(name, ":__gen:") {
			<-h.release
		}
	}
}

// A barrier is answered when what came before it, or with it, was heard.
func TestBarrierBehindTheChange(t *testing.T) {
	server := redistest.Start(t)
	release := make(chan struct{})
	b := openWith(t, server.Addr(), func(o *Options) { o.Listener, o.Freshness = holding{release}, long })
	soon(t, "it is in the list", func() bool { return b.listing.counts() })
	barrier := devSpaceOf(t).Barrier(mustOrg(t, "org-1"), "other", 1)
	// Both are told of in one message.
	send(t, server, "EVAL", "for i = 1, 2 do redis.call('SET', KEYS[i], '5') end", "2", devSpaceOf(t).Generation(mustOrg(t, "org-1")), barrier)
	answered := func() bool { return send(t, server, "EXISTS", devSpaceOf(t).Seen(barrier, b.bootID)) == "1" }
	for begun := time.Now(); time.Since(begun) < 300*time.Millisecond; pause(t.Context(), 5*time.Millisecond) {
		if answered() {
			t.Error("it is answered before the change was heard")
			break
		}
	}
	close(release)
	soon(t, "it is answered", answered)
}
