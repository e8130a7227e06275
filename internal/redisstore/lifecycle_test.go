package redisstore

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// dialer makes connections, counts them, and can end them or hold new ones back.
type dialer struct {
	made, open atomic.Int64
	held       atomic.Pointer[hold]

	mu    sync.Mutex
	conns []*counted // guarded by mu
}

// hold keeps dials waiting, whatever their deadline, as a lookup of a name may.
type hold struct {
	begun, release chan struct{}
}

func (d *dialer) hold() *hold {
	h := &hold{begun: make(chan struct{}, 1), release: make(chan struct{})}
	d.held.Store(h)
	return h
}

func (d *dialer) dial(_ context.Context, addr string) (net.Conn, error) {
	if h := d.held.Load(); h != nil {
		select {
		case h.begun <- struct{}{}:
		default: // it is known
		}
		<-h.release
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	d.made.Add(1)
	d.open.Add(1)
	out := &counted{Conn: c, d: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, out)
	return out, nil
}

// cut ends all connections.
func (d *dialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Conn.Close() // the client sees it
	}
}

type counted struct {
	net.Conn
	d    *dialer
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.d.open.Add(-1) })
	return c.Conn.Close()
}

// settled waits until a node serves and nothing more is found out about it.
func settled(t *testing.T, s *Store) *node {
	t.Helper()
	n := s.layout.Load().masters[0]
	soon(t, "it serves, and is known", func() bool {
		n.facts.mu.Lock()
		defer n.facts.mu.Unlock()
		return n.breaker.Allow() && n.facts.told
	})
	return n
}

func (d *dialer) option(o *Options) { o.Dial = d.dial }

// ended fails the test if goroutines are left that were not there before.
func ended(t *testing.T, before goleak.Option) {
	t.Helper()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// Close leaves nothing behind, neither goroutines nor connections.
func TestCloseLeavesNothing(t *testing.T) {
	server := redistest.Start(t)
	before := goleak.IgnoreCurrent()
	var d dialer
	s := openWith(t, server.Addr(), func(o *Options) { o.Dial, o.Connections = d.dial, 4 })
	soon(t, "it serves", func() bool { return read(t, s) == nil })
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon(t, "no connection is open", func() bool { return d.open.Load() == 0 })
	ended(t, before)
}

// A node that is closed while the prober makes a connection lets go of that, too.
func TestCloseDuringDial(t *testing.T) {
	server := redistest.Start(t)
	before := goleak.IgnoreCurrent()
	var d dialer
	s := openWith(t, server.Addr(), d.option)
	soon(t, "it serves", func() bool { return read(t, s) == nil })
	h := d.hold()
	d.cut()
	<-h.begun
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	select {
	case err := <-closed:
		t.Errorf("closed while a connection was being made: %v", err)
		closed <- err
	case <-time.After(200 * time.Millisecond):
	}
	close(h.release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	soon(t, "no connection is open", func() bool { return d.open.Load() == 0 })
	ended(t, before)
}

// Close does not wait longer than its context for a connection that is being made.
func TestCloseIsBounded(t *testing.T) {
	server := redistest.Start(t)
	var d dialer
	s := openWith(t, server.Addr(), d.option)
	soon(t, "it serves", func() bool { return read(t, s) == nil })
	h := d.hold()
	defer close(h.release)
	d.cut()
	<-h.begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want DeadlineExceeded", err)
	}
}

// A look at the deployment that ends after Close has begun connects to nobody.
func TestAdoptAfterClose(t *testing.T) {
	first, second := redistest.Start(t), redistest.Start(t)
	before := goleak.IgnoreCurrent()
	var d dialer
	s := openWith(t, first.Addr(), d.option)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.adopt(found{masters: []string{second.Addr()}}); !errors.Is(err, errClosed) {
		t.Errorf("%v, want errClosed", err)
	}
	if s.master(second.Addr()) != nil {
		t.Error("it is a master of a store that is closed")
	}
	soon(t, "no connection is open", func() bool { return d.open.Load() == 0 })
	ended(t, before)
}

// The same while Close is under way, at any moment of it.
func TestAdoptDuringClose(t *testing.T) {
	first, second := redistest.Start(t), redistest.Start(t)
	before := goleak.IgnoreCurrent()
	var d dialer
	for range 10 {
		s := openWith(t, first.Addr(), d.option)
		var adopting sync.WaitGroup
		adopting.Go(func() {
			for i := 0; ; i++ {
				if err := s.adopt(found{masters: []string{[]string{second.Addr(), first.Addr()}[i%2]}}); errors.Is(err, errClosed) {
					return
				}
				if s.closed.Load() && i > 100 {
					t.Error("a store that is closed adopts masters")
					return
				}
			}
		})
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		adopting.Wait()
	}
	soon(t, "no connection is open", func() bool { return d.open.Load() == 0 })
	ended(t, before)
}

// Masters that come and go leave no connection behind, and a call that has
// chosen one that is let go of goes to the one that took its place.
func TestMastersComeAndGo(t *testing.T) {
	servers := []*redistest.Server{redistest.Start(t), redistest.Start(t)}
	before := goleak.IgnoreCurrent()
	var d dialer
	s := openWith(t, servers[0].Addr(), d.option)
	settled(t, s)
	const steady = 2 // one for calls and one for jobs; that to find out what is offered ends
	soon(t, "it has its connections", func() bool { return d.open.Load() == steady })
	for i := range 10 {
		addr := servers[(i+1)%2].Addr()
		former := s.layout.Load().masters[0]
		if err := s.adopt(found{masters: []string{addr}}); err != nil {
			t.Fatal(err)
		}
		soon(t, "the new master serves", func() bool { return read(t, s) == nil })
		if err := former.do(t.Context(), call{"X", 1}, func(*link) error { return nil }); !errors.Is(err, errClosed) {
			t.Errorf("the former master: %v, want errClosed", err)
		}
	}
	soon(t, "the connections of former masters end", func() bool { return d.open.Load() == steady })
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	soon(t, "no connection is open", func() bool { return d.open.Load() == 0 })
	ended(t, before)
}

// A master that is let go of lets a call under way end, and the store goes on
// with the new one.
func TestRetireWaitsForCalls(t *testing.T) {
	first, second := redistest.Start(t), redistest.Start(t)
	s := openNode(t, first.Addr())
	n := s.layout.Load().masters[0]
	soon(t, "it serves", func() bool { return read(t, s) == nil })
	result := n.do(t.Context(), call{"X", 1}, func(l *link) error {
		if err := s.adopt(found{masters: []string{second.Addr()}}); err != nil {
			return err
		}
		soon(t, "the new master serves", func() bool { return read(t, s) == nil })
		c := l.call()
		return c.Do(t.Context(), c.B().Set().Key("under way").Value("1").Build()).Error()
	})
	if result != nil {
		t.Errorf("the call under way: %v", result)
	}
}

// Making connections anew lets go of the former ones, whose end says nothing
// about the new ones.
func TestRelink(t *testing.T) {
	server := redistest.Start(t)
	var d dialer
	s := openWith(t, server.Addr(), func(o *Options) { o.Dial, o.Connections = d.dial, 2 })
	settled(t, s)
	const steady = 3 // two for calls and one for jobs; that to find out what is offered ends
	soon(t, "it has its connections", func() bool { return d.open.Load() == steady })
	n, err := s.newNode(server.Addr()) // nobody probes it
	if err != nil {
		t.Fatal(err)
	}
	proven := func() bool { return n.probeOnce() == nil }
	soon(t, "connected", proven)
	for n.breaker.Probe(nil); !n.breaker.Allow(); n.breaker.Probe(nil) {
	}
	for range 10 {
		n.relink("a test")
		soon(t, "connected anew", proven)
	}
	soon(t, "the former connections end", func() bool { return d.open.Load() == steady+2 })
	if n.reconnects.Load() != 0 || !n.breaker.Allow() {
		t.Errorf("%d connections are told as lost; the breaker lets calls through: %v", n.reconnects.Load(), n.breaker.Allow())
	}
	n.retire()
	soon(t, "all its connections end", func() bool { return d.open.Load() == steady })
	if err := n.do(t.Context(), call{"X", 1}, func(*link) error { return nil }); !errors.Is(err, errClosed) {
		t.Errorf("a call: %v, want errClosed", err)
	}
	if err := n.job(func(*link) error { return nil }); !errors.Is(err, errClosed) {
		t.Errorf("a job: %v, want errClosed", err)
	}
}

// A master without slots that is wanted stays the same node from look to look,
// and serves.
func TestWantedStays(t *testing.T) {
	server, extra := redistest.Start(t), redistest.Start(t)
	s := openNode(t, server.Addr())
	f := found{masters: []string{server.Addr()}, slots: new([slotCount]uint16)}
	for slot := range f.slots {
		f.slots[slot] = 1
	}
	s.want(extra.Addr())
	var first *node
	for range 5 {
		if err := s.adopt(s.withWanted(f)); err != nil {
			t.Fatal(err)
		}
		n := s.master(extra.Addr())
		if first == nil {
			first = n
		}
		if n == nil || n != first || n.closed.Load() {
			t.Fatal("it was let go of")
		}
	}
	soon(t, "it serves", first.breaker.Allow)
	if s.layout.Load().covered() != slotCount || s.layout.Load().serves(first) {
		t.Error("it has slots")
	}
	s.mu.Lock()
	s.wanted[extra.Addr()] = time.Now().Add(-2 * wantedFor)
	s.mu.Unlock()
	if err := s.adopt(s.withWanted(f)); err != nil {
		t.Fatal(err)
	}
	if s.master(extra.Addr()) != nil {
		t.Error("it stays although nobody wants it any more")
	}
	soon(t, "it is let go of", first.closed.Load)
}

// What comes after Close is refused without effect, whoever asks.
func TestAfterClose(t *testing.T) {
	s := openNode(t, redistest.Start(t).Addr())
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := read(t, s); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a call: %v, want ErrUnavailable", err)
	}
	if _, err := s.List(t.Context(), store.Query{Type: "lead", Limit: 10}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a listing: %v, want ErrUnavailable", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("the second time: %v", err)
	}
}
