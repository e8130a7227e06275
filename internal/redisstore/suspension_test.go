package redisstore

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

const listenersKey = "jack:dev:__listeners"

// killed is a store that was in the list and is cut off since: for others it is as if
// its process had been killed.
func killed(t *testing.T, addr string, freshness time.Duration) *Store {
	t.Helper()
	p := redistest.StartProxy(t, addr)
	s := openListed(t, p.Addr(), freshness)
	p.Refuse()
	p.Cut()
	return s
}

func marked(t *testing.T, server *redistest.Server, s *Store) bool {
	t.Helper()
	return send(t, server, "HEXISTS", listenersKey, suspended+s.bootID) == "1"
}

// history is that of replication of a server.
func history(t *testing.T, server *redistest.Server) string {
	t.Helper()
	for line := range strings.SplitSeq(send(t, server, "INFO", "replication"), "\r\n") {
		if id, ok := strings.CutPrefix(line, "master_replid:"); ok {
			return id
		}
	}
	t.Fatal("no history of replication")
	return ""
}

// ago is a time of a server, as a suspension has it.
func ago(t *testing.T, d time.Duration) string {
	t.Helper()
	return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) // the servers run on this host
}

const never = "99999999999999"

// A process that was killed costs one bound, whoever invalidates then.
func TestKilledIsWaitedForOnce(t *testing.T) {
	server := redistest.Start(t)
	a, b := openWith(t, server.Addr(), asIs), openWith(t, server.Addr(), asIs)
	dead := killed(t, server.Addr(), bound)
	if took := awaits(t, a); took < bound {
		t.Errorf("%v; its bound is %v", took, bound)
	}
	var all time.Duration
	for i := range 10 {
		took := awaits(t, []*Store{a, b}[i%2])
		all += took
		if took > bound/2 {
			t.Errorf("%v for the %d. after that", took, i+1)
		}
	}
	if all > bound {
		t.Errorf("ten more took %v", all)
	}
	t.Log("ten more took", all)
	if !marked(t, server, dead) {
		t.Error("it is not suspended")
	}
}

// Those of which a process knows that they are dead are not waited for.
func TestDeadAreRemoved(t *testing.T) {
	server := redistest.Start(t)
	dead := killed(t, server.Addr(), long)
	a := openWith(t, server.Addr(), asIs)
	a.suspend(dead.bootID)
	next := openWith(t, server.Addr(), func(o *Options) { listening(o); o.Dead = []string{"former", dead.bootID} })
	soon(t, "it is in the list", func() bool { return next.listing.counts() })
	if list := send(t, server, "HGETALL", listenersKey); strings.Contains(list, dead.bootID) || !strings.Contains(list, next.bootID) {
		t.Errorf("the list is %q", list)
	}
	soon(t, "it answers", func() bool { return awaits(t, a) < long/2 })
}

// A process that lives and is suspended hears it, and enters the list again; its
// copies are as good as before.
func TestSuspendedEntersAgain(t *testing.T) {
	server := redistest.Start(t)
	a, s := openWith(t, server.Addr(), asIs), openListed(t, server.Addr(), bound)
	cover := s.layout.Load().cover(devSpaceOf(t).Generation(mustOrg(t, "org-1")))
	for range 5 {
		soon(t, "something is proven", func() bool { return fresh(cover) })
		_, doubts := s.listing.signal()
		epoch := cover.Epoch()
		a.suspend(s.bootID)
		soon(t, "it has heard that", func() bool { return s.listing.doubted(doubts) })
		soon(t, "it is in the list again", func() bool { return s.listing.counts() })
		if marked(t, server, s) {
			t.Error("it is still suspended")
		}
		if cover.Epoch() != epoch {
			t.Error("its copies are gone")
		}
	}
	if took := soonest(t, a); took > bound/2 {
		t.Errorf("%v for one that answers", took)
	}
}

// A suspension that is told while a canary is under way takes from it what it
// would prove, if it is told in the same message, too.
func TestSuspendedInFlight(t *testing.T) {
	t.Parallel()
	for name, tell := range map[string]func(told func(...string), bell string, names []string){
		"before":   func(told func(...string), bell string, names []string) { told(bell); told(names...) },
		"between":  func(told func(...string), bell string, names []string) { told(names[0], bell); told(names[1]) },
		"together": func(told func(...string), bell string, names []string) { told(append(names, bell)...) },
	} {
		tap, f, names, told := flying(t)
		s := tap.n.s
		s.suspension = s.opts.Space.Suspension(s.bootID)
		other := s.opts.Space.Suspension("other")
		told(other)
		tell(told, s.suspension, names)
		<-f.back
		if _, ok := f.cover.Age(store.Now()); ok || !f.void {
			t.Errorf("%s: it is proven", name)
		}
	}
	// What was proven before stays.
	tap, f, names, told := flying(t)
	tap.n.s.suspension = tap.n.s.opts.Space.Suspension("p")
	told(names...)
	told(tap.n.s.suspension)
	if !fresh(f.cover) || tap.n.s.listing.counts() {
		t.Error("something else became of it")
	}
}

// Who hears that it is suspended while it enters the list enters it once more: the
// entry that is under way may be from before.
func TestSuspendedWhileItEnters(t *testing.T) {
	server := redistest.Start(t)
	s := openWith(t, server.Addr(), asIs) // nobody enters for it
	if err := s.enter(); err != nil || !s.listing.counts() {
		t.Fatalf("%v, %v; want an entry", err, s.listing.counts())
	}
	server.Freeze()
	entered := make(chan error)
	go func() { entered <- s.enter() }()
	pause(t.Context(), listTime/5)
	s.listing.renounce()
	server.Thaw()
	if err := <-entered; err != nil || s.listing.counts() {
		t.Errorf("%v, %v; want that it does not count", err, s.listing.counts())
	}
}

// A new connection on which changes are told may have missed that the process was
// suspended: nothing is proven by it before the entry was made again.
func TestSuspendedWhileNobodyHears(t *testing.T) {
	server := redistest.Start(t)
	a := openWith(t, server.Addr(), asIs)
	var held atomic.Pointer[chan struct{}]
	s := openWith(t, server.Addr(), func(o *Options) {
		listening(o)
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			if wait := held.Load(); wait != nil {
				<-*wait
			}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	})
	cover := func() *store.Cover {
		return s.layout.Load().cover(devSpaceOf(t).Generation(mustOrg(t, "org-1")))
	}
	soon(t, "something is proven", func() bool { return fresh(cover()) })
	wait := make(chan struct{})
	held.Store(&wait)
	for _, id := range taps(t, server) {
		send(t, server, "CLIENT", "KILL", "ID", id)
	}
	soon(t, "nobody hears", func() bool { return s.listing.taps.Load() == 0 })
	if err := s.enter(); err != nil || !s.listing.counts() { // as it may just before that
		t.Fatalf("%v, %v; want an entry", err, s.listing.counts())
	}
	a.suspend(s.bootID)
	if !marked(t, server, s) {
		t.Fatal("it is not suspended")
	}
	held.Store(nil)
	close(wait)
	soon(t, "something is proven", func() bool { return fresh(cover()) })
	if marked(t, server, s) {
		t.Error("something is proven by one that is suspended")
	}
}

// A mark counts when it is as old as the bound, and where it was made.
func TestSuspensionsThatCount(t *testing.T) {
	server := redistest.Start(t)
	a := openWith(t, server.Addr(), asIs)
	own := history(t, server)
	const bound = 600 * time.Millisecond
	for name, c := range map[string]struct {
		mark        string
		least, most time.Duration
	}{
		"old":                  {own + " " + ago(t, time.Hour), 0, bound / 2},
		"just made":            {own + " " + ago(t, -time.Hour), bound, time.Hour},
		"of another history":   {strings.Repeat("0", 40) + " " + ago(t, time.Hour), bound, time.Hour},
		"without a history":    {" " + ago(t, time.Hour), bound, time.Hour},
		"that nobody can read": {own + " x", bound, time.Hour},
	} {
		send(t, server, "HSET", listenersKey, "dead", "+600 "+never, suspended+"dead", "suspended "+c.mark+" "+never)
		if took := awaits(t, a); took < c.least || took > c.most {
			t.Errorf("%s: %v; want %v to %v", name, took, c.least, c.most)
		}
		send(t, server, "DEL", listenersKey)
	}
	// A younger one is waited for until it is that old.
	send(t, server, "HSET", listenersKey, "dead", "+600 "+never, suspended+"dead", "suspended "+own+" "+ago(t, bound/2)+" "+never)
	if took := awaits(t, a); took < bound/4 || took > bound*9/10 {
		t.Errorf("%v; want about %v", took, bound/2)
	}
}

// Nobody is suspended who would not heed it, or is not in the list; the earlier
// suspension stands, unless it is of another history.
func TestWhoIsSuspended(t *testing.T) {
	server := redistest.Start(t)
	a := openWith(t, server.Addr(), asIs)
	own := history(t, server)
	mark := func(entry, mark string) string {
		t.Helper()
		send(t, server, "DEL", listenersKey)
		send(t, server, "HSET", listenersKey, "p", entry, suspended+"p", mark)
		a.suspend("p")
		a.suspend("q")
		if send(t, server, "HEXISTS", listenersKey, suspended+"q") == "1" {
			t.Error("one that is not in the list is suspended")
		}
		return send(t, server, "HGET", listenersKey, suspended+"p")
	}
	for _, entry := range []string{"1000 " + never, "+1000 1", "x", "+ " + never} {
		if got := mark(entry, "former"); got != "former" {
			t.Errorf("%q is suspended: %q", entry, got)
		}
	}
	earlier := "suspended " + own + " 7 " + never
	if got := mark("+1000 "+never, earlier); got != earlier {
		t.Errorf("then it has %q; want %q", got, earlier)
	}
	for _, former := range []string{"former", "suspended " + strings.Repeat("0", 40) + " 7 " + never} {
		got, since := parseSuspension(mark("+1000 "+never, former))
		if got != own || time.Since(time.UnixMilli(since)).Abs() > time.Minute {
			t.Errorf("it has %q since %d; want %q since now", got, since, own)
		}
	}
}

// What a replica has of suspensions when it becomes the master may be older than the
// entries: it does not count.
func TestSuspensionsOfAFormerMaster(t *testing.T) {
	r := redistest.StartReplicated(t, 1)
	former := r.Master()
	s := openWith(t, former.Addr(), asIs)
	send(t, former, "HSET", listenersKey, "dead", "+600 "+never)
	s.suspend("dead")
	mark := send(t, former, "HGET", listenersKey, suspended+"dead")
	soon(t, "it counts", func() bool { return awaits(t, s) < 300*time.Millisecond })
	var replica *redistest.Server
	for _, server := range r.Servers() {
		if server != former {
			replica = server
		}
	}
	// A replica lags, and has the history of its master: nobody is suspended by it.
	soon(t, "the replica has it", func() bool {
		return strings.Contains(send(t, replica, "EVAL", listenerReadSource, "1", listenersKey), mark)
	})
	if text := send(t, replica, "EVAL", listenerReadSource, "1", listenersKey); strings.Count(text, history(t, former)) != 1 {
		t.Errorf("the replica gives %q", text)
	}
	if err := r.Promote(replica); err != nil {
		t.Fatal(err)
	}
	next := openWith(t, replica.Addr(), asIs)
	if got := send(t, replica, "HGET", listenersKey, suspended+"dead"); got != mark {
		t.Fatalf("the replica has %q; want %q", got, mark)
	}
	if took := awaits(t, next); took < 600*time.Millisecond {
		t.Errorf("%v; the bound of the one that is there is 600 ms", took)
	}
	soon(t, "it is suspended anew", func() bool { return awaits(t, next) < 300*time.Millisecond })
}

// In a Cluster a mark counts when no entry from before it does any more: other servers
// tell of generations than of marks.
func TestSuspensionsInACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	s := openCluster(t, c.Addrs(), func(o *Options) { listening(o) })
	soon(t, "it is in the list", func() bool { return s.listing.counts() })
	master := c.MasterOf(slotOf(listenersKey))
	own := history(t, master)
	send(t, master, "HSET", listenersKey, "dead", "+1000 "+never)
	s.suspend("dead")
	if got, since := parseSuspension(send(t, master, "HGET", listenersKey, suspended+"dead")); got != own || since == 0 {
		t.Errorf("it is suspended in %q since %d", got, since)
	}
	for _, test := range []struct {
		age         time.Duration
		least, most time.Duration
	}{
		{listLife + bound + time.Second, 0, bound / 2},
		{listLife + bound/2, bound / 4, bound * 9 / 10},
		{listLife - time.Second, bound, time.Hour},
	} {
		send(t, master, "HSET", listenersKey, "dead", "+1000 "+never, suspended+"dead", "suspended "+own+" "+ago(t, test.age)+" "+never)
		if took := awaits(t, s); took < test.least || took > test.most {
			t.Errorf("%v for a mark of %v before; want %v to %v", took, test.age, test.least, test.most)
		}
	}
}

// Where another master has the list nothing counts until the entry was made there.
func TestListMoves(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, NodeTimeout: 15 * time.Second})
	s := openCluster(t, c.Addrs(), func(o *Options) { listening(o) })
	soon(t, "it is in the list", func() bool { return s.listing.counts() })
	slot := slotOf(listenersKey)
	from := c.MasterOf(slot)
	var to *redistest.Server
	for _, m := range c.Masters() {
		if m != from {
			to = m
		}
	}
	_, doubts := s.listing.signal()
	l := s.layout.Load()
	s.moved(slot, to.Addr()) // as if it had been told
	if s.layout.Load() == l || !s.listing.doubted(doubts) {
		t.Error("the entry is not doubted")
	}
}

// What is in the list is read, and an older build reads an entry as it always did.
func TestParseList(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		bound time.Duration
		ends  int64
	}{
		"1000 1763895994123": {time.Second, 1763895994123}, "+1000 1763895994123": {time.Second, 1763895994123},
		"": {}, "x": {}, "x 5": {}, "suspended 8a0f 1763895994123 1763896007123": {},
	} {
		if b, ends := parseEntry(text); b != want.bound || ends != want.ends {
			t.Errorf("entry %q: %v, %d", text, b, ends)
		}
	}
	for text, want := range map[string]struct {
		history string
		since   int64
	}{
		"suspended 8a0f 1763895994123 1763896007123": {"8a0f", 1763895994123},
		"suspended 8a0f -1 1763896007123":            {}, "suspended 8a0f x 1": {}, "suspended 8a0f 1": {}, "+1000 1763895994123": {}, "": {},
	} {
		if history, since := parseSuspension(text); history != want.history || since != want.since {
			t.Errorf("suspension %q: %q, %d", text, history, since)
		}
	}
	for _, text := range [][]string{nil, {"1"}, {"x", ""}, {"1", "", "p"}} {
		if _, err := parseList(text); err == nil {
			t.Errorf("%q is a list", text)
		}
	}
}

// One that lives, and was suspended, is waited for again: here it hears of the
// generation late, while its proof is of use.
func TestSuspendedIsWaitedForAgain(t *testing.T) {
	server := redistest.Start(t)
	release := make(chan struct{})
	a, s := openWith(t, server.Addr(), asIs), openWith(t, server.Addr(), func(o *Options) { o.Listener = holding{release} })
	cover := s.layout.Load().cover(devSpaceOf(t).Generation(mustOrg(t, "org-1")))
	soon(t, "something is proven", func() bool { return fresh(cover) })
	a.suspend(s.bootID)
	pause(t.Context(), bound+bound/5)
	soon(t, "something is proven", func() bool { return fresh(cover) })
	took := awaits(t, a)
	if fresh(cover) {
		t.Errorf("after %v it gives as fresh what it had before", took)
	}
	close(release)
	soon(t, "something is proven", func() bool { return fresh(cover) })
}

// slowly is a Listener that takes its time with each generation.
type slowly struct{ takes time.Duration }

func (slowly) Ended(keys.Org, uint64) {}

func (s slowly) Changed(names []string) {
	if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, "__gen:") }) {
		pause(context.Background(), s.takes)
	}
}

// One that lives and is slow is not suspended each time: it could prove nothing.
func TestSlowIsGivenTime(t *testing.T) {
	server := redistest.Start(t)
	a := openWith(t, server.Addr(), asIs)
	s := openWith(t, server.Addr(), func(o *Options) { o.Listener = slowly{2 * suspendAfter} })
	soon(t, "it is in the list", func() bool { return s.listing.counts() })
	_, doubts := s.listing.signal()
	awaits(t, a)
	soon(t, "it has heard that it is suspended", func() bool { return s.listing.doubted(doubts) })
	const wanted = 3
	left := 0
	for range 20 { // the machine may be slow, too
		_, doubts := s.listing.signal()
		if awaits(t, a); s.listing.doubted(doubts) {
			left = 0
		} else if left++; left == wanted {
			return
		}
	}
	t.Errorf("it is suspended again and again; %d times in a row it was not", left)
}

// Who is waited for longer is so no more than it takes, and no longer than while it
// is needed.
func TestPatience(t *testing.T) {
	t.Parallel()
	var p patience
	want := func(what string, want time.Duration) {
		t.Helper()
		if got := p.now(); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	want("at first", suspendAfter)
	p.answered(0)
	want("answered in time", suspendAfter)
	p.needed(100 * time.Millisecond)
	want("one was slow", 200*time.Millisecond)
	p.needed(60 * time.Millisecond)
	want("another was less so", 200*time.Millisecond)
	p.answered(100 * time.Millisecond)
	want("it is slow still", 200*time.Millisecond)
	p.needed(time.Hour)
	want("one was very slow", suspendLate)
	for range 100 {
		p.answered(time.Millisecond)
	}
	want("all are quick again", suspendAfter)
}
