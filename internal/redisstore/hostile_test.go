package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// soon polls until ok.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

// read reads a generation.
func read(t *testing.T, s *Store) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := s.Generation(ctx, mustOrg(t, "a"))
	return err
}

func openCluster(t *testing.T, addrs []string, change func(*Options)) *Store {
	t.Helper()
	return openWith(t, "", func(o *Options) {
		o.Mode, o.Addrs = Cluster, addrs
		change(o)
	})
}

func asIs(*Options) {}

// A server that greets a new connection with an error that nobody asked for, or
// is no Redis at all, is one that does not answer, and is served by when it does.
func TestUnusualGreetings(t *testing.T) {
	t.Parallel()
	for name, greeting := range map[string]string{
		"too many clients": "-ERR max number of clients reached\r\n",
		"protected mode":   "-DENIED Redis is running in protected mode because protected mode is enabled\r\n",
		"HTTP":             "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request",
		"no line":          "\x00\x15\x03\x01",
		"a reply":          "+OK\r\n",
		"a push":           ">2\r\n$10\r\ninvalidate\r\n_\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, func([]string) string { return "" })
			f.greet(greeting)
			s := openWith(t, f.addr(), greeted)
			if err := read(t, s); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("at first: %v, want ErrUnavailable", err)
			}
			f.greet("")
			soon(t, "it serves", func() bool { return read(t, s) == nil })
			f.greet(greeting)
			f.cut()
			soon(t, "the outage is noticed", func() bool { return read(t, s) != nil })
			for range 20 {
				if err := read(t, s); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("later: %v, want ErrUnavailable", err)
				}
			}
			f.greet("")
			soon(t, "it serves again", func() bool { return read(t, s) == nil })
		})
	}
}

// greeted makes sure that a greeting has arrived before the connection is used.
// Of three times, the server has hung up by then once, and once nobody waits for
// the connection any more.
func greeted(o *Options) {
	var dials atomic.Int64
	o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		// A connection without a greeting costs this time.
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			return nil, err
		}
		b := make([]byte, 512)
		n, _ := c.Read(b) // an error comes again
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			return nil, err
		}
		out := &ahead{Conn: c, first: b[:n]}
		if n == 0 {
			return out, nil
		}
		switch dials.Add(1) % 3 {
		case 1:
			<-ctx.Done()
		case 2:
			out.gone = true
		}
		return out, nil
	}
}

// ahead is a connection of which some was read.
type ahead struct {
	net.Conn
	first []byte
	gone  bool // nothing can be written
}

func (a *ahead) Read(b []byte) (int, error) {
	if len(a.first) == 0 {
		return a.Conn.Read(b)
	}
	n := copy(b, a.first)
	a.first = a.first[n:]
	return n, nil
}

func (a *ahead) Write(b []byte) (int, error) {
	if a.gone {
		return 0, syscall.EPIPE
	}
	return a.Conn.Write(b)
}

// A server without room for clients is away, and serves when there is room.
func TestMaxClients(t *testing.T) {
	server := redistest.Start(t)
	if _, err := server.Do("CONFIG", "SET", "maxclients", "8"); err != nil {
		t.Fatal(err)
	}
	var others []net.Conn
	free := func() {
		for _, c := range others {
			_ = c.Close() // somebody else's
		}
	}
	defer free()
	for range 20 {
		c, err := net.Dial("tcp", server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, c)
	}
	s := openNode(t, server.Addr())
	for range 20 {
		if err := read(t, s); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("without room: %v, want ErrUnavailable", err)
		}
	}
	if h := s.Health(); h.State == store.Up || h.Problem == "" {
		t.Errorf("health: %+v", h)
	}
	free()
	soon(t, "it serves", func() bool { return read(t, s) == nil })
}

// Redirections that lead nowhere, or in a circle, are errors of the call.
func TestUnusualRedirections(t *testing.T) {
	t.Parallel()
	var reply atomic.Value
	reply.Store("")
	f := startFakeMember(t, nothing, func() string { return reply.Load().(string) })
	s := openCluster(t, []string{f.addr()}, asIs)
	soon(t, "it serves", func() bool { return read(t, s) == nil })
	_, port, err := net.SplitHostPort(f.addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"MOVED 99999 " + f.addr(), "MOVED -1 " + f.addr(), "MOVED 5", "MOVED", "MOVED 5 127.0.0.1", "MOVED 5 :", "MOVED 5 127.0.0.1:0", "MOVED x y", "ASK", "ASK 5 ]:[",
		"MOVED 5 " + f.addr(), "ASK 5 " + f.addr(), "MOVED 5 :" + port, // in a circle
		"MOVED 5 127.0.0.1:1", "MOVED 5 [::1]:1", // to a server that nobody knows
		"TRYAGAIN",
	} {
		reply.Store("-" + text + "\r\n")
		if err := read(t, s); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%q: %v, want ErrUnavailable", text, err)
		}
		reply.Store("")
		soon(t, text+": it serves again", func() bool { return read(t, s) == nil })
	}
}

// Members that do not tell who serves what are a problem that health tells,
// and an answer that makes sense ends it.
func TestUnusualSlots(t *testing.T) {
	t.Parallel()
	var reply atomic.Value
	f := startFakeMember(t, func() string { return reply.Load().(string) }, nothing)
	for name, text := range map[string]string{
		"none":            "*0\r\n",
		"nil":             "_\r\n",
		"a string":        "+OK\r\n",
		"an error":        "-ERR This instance has cluster support disabled\r\n",
		"empty rows":      "*2\r\n*0\r\n*0\r\n",
		"no servers":      "*1\r\n*2\r\n:0\r\n:16383\r\n",
		"no host":         "*1\r\n" + row(0, slotCount-1, "?:1"),
		"slots too high":  "*1\r\n" + row(0, slotCount, f.addr()),
		"a master of nil": "*1\r\n*3\r\n:0\r\n:16383\r\n_\r\n",
		"one bad row":     "*2\r\n" + row(0, 8000, f.addr()) + row(9000, 8001, f.addr()),
	} {
		t.Run(name, func(t *testing.T) {
			reply.Store(text)
			s := openCluster(t, []string{f.addr()}, asIs)
			if err := read(t, s); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
			if h := s.Health(); h.State != store.Starting || h.Problem == "" {
				t.Errorf("health: %+v, want starting with a problem", h)
			}
			reply.Store("")
			s.kick()
			soon(t, "it serves", func() bool { return read(t, s) == nil })
			reply.Store(text)
			s.kick()
			soon(t, "health tells", func() bool { return strings.Contains(strings.Join(s.Health().Warnings, "\n"), "cannot be found") })
			if err := read(t, s); err != nil {
				t.Errorf("what was known is not served: %v", err)
			}
		})
	}
}

// Members tell rows in any order; that is no change of the masters.
func TestRowsInAnyOrder(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	var rows [2]string
	f := startFakeMember(t, func() string {
		n := asked.Add(1)
		return "*2\r\n" + rows[n%2] + rows[(n+1)%2]
	}, nothing)
	rows[0], rows[1] = row(0, 8000, "127.0.0.1:1"), row(8001, slotCount-1, f.addr())
	finder := &clusterFinder{asker: openCluster(t, []string{f.addr()}, asIs).newAsker(Access{}), seeds: []string{f.addr()}}
	defer finder.close()
	for range 10 {
		got, err := finder.find(t.Context(), nil)
		if want := []string{"127.0.0.1:1", f.addr()}; err != nil || !slices.Equal(got.masters, want) {
			t.Fatalf("masters %v, %v; want %v", got.masters, err, want)
		}
	}
}

// sentinel is a Sentinel that names a master, and its epoch.
func sentinel(t *testing.T, answer *atomic.Value) *fake {
	return startFake(t, func(args []string) string {
		a, ok := answer.Load().(sentinelAnswer)
		if strings.ToUpper(args[0]) != "SENTINEL" || !ok {
			return ""
		}
		if strings.EqualFold(args[1], "master") {
			return fmt.Sprintf("%%1\r\n%s%s", bulk("config-epoch"), bulk(fmt.Sprint(a.epoch)))
		}
		host, port, _ := net.SplitHostPort(a.addr) // tests pass addresses
		return "*2\r\n" + bulk(host) + bulk(port)
	})
}

// Two Sentinels that name one server differently do not make the master change,
// and one that was cut off is not believed.
func TestSentinelsDisagree(t *testing.T) {
	t.Parallel()
	var first, second atomic.Value
	a, b := sentinel(t, &first), sentinel(t, &second)
	f := &sentinelFinder{asker: openNode(t, redistest.Start(t).Addr()).newAsker(Access{}), addrs: []string{a.addr(), b.addr()}, master: "m"}
	defer f.close()
	look := func(known string, want string) {
		t.Helper()
		for range 10 {
			got, err := f.find(t.Context(), []string{known})
			if err != nil || !slices.Equal(got.masters, []string{want}) {
				t.Fatalf("masters %v, %v; want %s", got.masters, err, want)
			}
		}
	}
	tell := func(x, y sentinelAnswer) { first.Store(x); second.Store(y) }
	tell(sentinelAnswer{"10.0.0.1:6379", 0}, sentinelAnswer{"redis:6379", 0})
	look("", "10.0.0.1:6379")
	look("redis:6379", "redis:6379")
	look("10.0.0.1:6379", "10.0.0.1:6379")
	tell(sentinelAnswer{"10.0.0.1:6379", 1}, sentinelAnswer{"10.0.0.2:6379", 2})
	look("10.0.0.1:6379", "10.0.0.2:6379")
	// The one that knew of the failover is away.
	tell(sentinelAnswer{"10.0.0.1:6379", 1}, sentinelAnswer{"10.0.0.1:6379", 1})
	look("10.0.0.2:6379", "10.0.0.2:6379")
	f.seen = time.Now().Add(-2 * staleFor)
	look("10.0.0.2:6379", "10.0.0.1:6379") // they were set up anew
}

// Masters that do not answer at all, not even to say so, do not delay those that
// answer: making the connections does not wait for any of them.
func TestBlackholedMasters(t *testing.T) {
	t.Parallel()
	const holes = 8
	isHole := func(addr string) bool { return strings.HasPrefix(addr, "192.0.2.") }
	var dials atomic.Int64 // into holes
	var f *fake
	f = startFakeMember(t, func() string {
		out := fmt.Sprintf("*%d\r\n%s", holes+1, row(0, slotCount-holes-1, f.addr()))
		for i := range holes {
			slot := slotCount - holes + i
			out += row(slot, slot, fmt.Sprintf("192.0.2.%d:7000", i+1))
		}
		return out
	}, nothing)
	s := openCluster(t, []string{f.addr()}, func(o *Options) {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			if isHole(addr) {
				dials.Add(1)
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	})
	soon(t, "the one that answers serves", func() bool { return read(t, s) == nil })
	if h := s.Health(); h.State != store.Partial || len(h.Nodes) != holes+1 {
		t.Errorf("health: %s with %d nodes", h.State, len(h.Nodes))
	}
	soon(t, "somebody tries the others", func() bool { return dials.Load() > 0 })
	if err := s.Close(t.Context()); err != nil { // nobody else dials from now on
		t.Error(err)
	}
	before := dials.Load()
	l, err := s.newLink("192.0.2.99:7000", &node{s: s})
	if err != nil {
		t.Fatal(err)
	}
	l.close()
	if dials.Load() != before {
		t.Error("making a link waits for the server")
	}
}
