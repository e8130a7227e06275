package redisstore

import (
	"context"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// A connection that is told of what changes on another server than that of the
// calls proves nothing, however well both work.
func TestTapLeadsElsewhere(t *testing.T) {
	t.Parallel()
	server, other := redistest.Start(t), redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr())
	s, _ := openHearing(t, proxy.Addr())
	k := mustKey(t, s, "x")
	soon(t, "something is proven", func() bool { return covered(s, k) })
	c := coversOf(s, k).Key
	epoch := c.Epoch()
	proxy.Retarget(other.Addr())
	for _, id := range taps(t, server) {
		send(t, server, "CLIENT", "KILL", "ID", id)
	}
	soon(t, "the other server is listened to", func() bool { return len(taps(t, other)) == 1 })
	if read(t, s) != nil || covered(s, k) {
		t.Error("proven while two servers are used")
	}
	soon(t, "health says why", func() bool { return tracked(t, s).Problem == errUnheard.Error() })
	if covered(s, k) || c.Fresh(epoch, store.Now(), bound) {
		t.Error("proven while two servers are used")
	}
	proxy.Retarget(server.Addr())
	soon(t, "something is proven again", func() bool { return covered(s, k) })
}

// Each connection for calls has to lead to the server that tells.
func TestOneConnectionLeadsElsewhere(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, which := range []int64{2, 3} { // after that for jobs come those for calls
		other := redistest.Start(t)
		var dials atomic.Int64
		s := openWith(t, server.Addr(), func(o *Options) {
			listening(o)
			o.Connections = 2
			o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
				if dials.Add(1) == which {
					addr = other.Addr()
				}
				return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			}
		})
		k := mustKey(t, s, "x")
		soon(t, "health says why", func() bool { return tracked(t, s).Problem == errUnheard.Error() })
		if covered(s, k) {
			t.Error("proven although one connection leads elsewhere")
		}
		// The one that leads there ends.
		send(t, other, "CLIENT", "KILL", "TYPE", "normal")
		soon(t, "something is proven", func() bool { return covered(s, k) })
	}
}

// Calls that go over connections that are made anew may reach another server: what
// was read before that is not fresh.
func TestCallsConnectAnew(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, _ := openHearing(t, server.Addr())
	k := mustKey(t, s, "x")
	n := s.layout.Load().masters[0]
	for name, anew := range map[string]func(){
		"lost":     func() { n.lost(n.link.Load()) },
		"dialled":  n.connected,
		"replaced": func() { n.relink("a test") },
	} {
		soon(t, "something is proven", func() bool { return covered(s, k) })
		c := coversOf(s, k).Key
		epoch := c.Epoch()
		anew()
		if c.Fresh(epoch, store.Now(), bound) || c.Epoch() == epoch {
			t.Errorf("%s: what was read before is fresh", name)
		}
		soon(t, "the breaker closes", func() bool {
			n.breaker.Probe(n.probeOnce())
			return n.breaker.Allow()
		})
	}
	soon(t, "something is proven", func() bool { return covered(s, k) })
}

// order notes how proven a cover was when names were told.
type order struct {
	cover  func() *store.Cover
	canary func(string) bool
	early  atomic.Int64 // proven by a canary that was just being told
	seen   atomic.Int64
	last   atomic.Int64 // when a canary was told of, before this one
}

func (*order) Ended(keys.Org, uint64) {}

func (o *order) Changed(names []string) {
	if !slices.ContainsFunc(names, o.canary) {
		return
	}
	o.seen.Add(1)
	now := store.Now()
	// A canary is sent when the one before it is back: what those before this one
	// prove is older than what was told last.
	last := o.last.Swap(now)
	if age, ok := o.cover().Age(now); ok && last != 0 && now-int64(age) > last {
		o.early.Add(1)
	}
}

// The names of a push are told before anything is proven by it.
func TestToldBeforeProven(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var cover atomic.Pointer[store.Cover]
	cover.Store(new(store.Cover))
	space := devSpaceOf(t)
	o := &order{cover: cover.Load, canary: space.IsCanary}
	s := openWith(t, server.Addr(), func(opts *Options) { opts.Listener = o })
	cover.Store(coversOf(s, mustKey(t, s, "x")).Key)
	soon(t, "twenty canaries came back", func() bool { return o.seen.Load() >= 20 })
	if n := o.early.Load(); n > 0 {
		t.Errorf("%d times it was proven before it was told", n)
	}
}

// flying is a tap with a canary of two keys under way, told by hand.
func flying(t *testing.T) (tap *tap, f *flight, names []string, told func(names ...string)) {
	n := &node{s: &Store{opts: Options{Space: devSpaceOf(t), Listener: &heard{}}, bootID: "p"}}
	n.hearing.begin()
	n.s.layout.Store(&layout{})
	n.s.listing.until.Store(math.MaxInt64)
	tap = newUnconnectedTap(n)
	f, names = tap.depart("near", 2)
	return tap, f, names, func(names ...string) {
		var ms []rueidis.RedisMessage
		for _, name := range names {
			ms = append(ms, message(t, name))
		}
		tap.told(ms)
	}
}

// Only all keys of the canary that is under way prove something, and no more than
// that it was sent; others, late ones and those of other processes prove nothing.
func TestWhatProves(t *testing.T) {
	t.Parallel()
	tap, f, names, told := flying(t)
	proven := func() bool { _, ok := f.cover.Age(store.Now()); return ok }
	space := tap.n.s.opts.Space
	told("x", space.Canary("near", "q", 1), names[0], names[0])
	if proven() {
		t.Error("proven by one of two")
	}
	told(names[1], "y")
	<-f.back
	if age, ok := f.cover.Age(store.Now()); !ok || age != time.Duration(store.Now()-f.sent) && age < 0 {
		t.Errorf("age %v, %v", age, ok)
	}
	const rounded = int64(time.Millisecond) // more than what a proof is rounded by
	if !f.cover.Fresh(f.epoch, f.sent+int64(bound)-rounded, bound) || f.cover.Fresh(f.epoch, f.sent+int64(bound), bound) {
		t.Error("proven as of another time than that when it was sent")
	}

	tap, f, names, told = flying(t)
	tap.land()
	_, later := tap.depart("near", 2)
	told(names...)
	if proven() {
		t.Error("proven by a canary that is not waited for any more")
	}
	if slices.Contains(later, names[0]) || slices.Contains(later, names[1]) {
		t.Errorf("%q are used twice", names)
	}
}

// What happens while a canary is under way undoes what it would prove: the end of
// the connection, what is told of calls, slots that come or go.
func TestBrokenInFlight(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(*tap){
		"the connection ends":  func(tap *tap) { tap.told(nil) },
		"calls lead elsewhere": func(tap *tap) { tap.n.shake() },
		"slots change":         func(tap *tap) { tap.n.hearing.renew() },
	} {
		tap, f, names, told := flying(t)
		happens(tap)
		told(names...)
		<-f.back
		if c := tap.n.hearing.cover.Load(); fresh(c) || fresh(f.cover) {
			t.Errorf("%s: something is fresh", name)
		}
	}
}
