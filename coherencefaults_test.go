package jackcache_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// tapFaults makes the connections of an instance, and does things to those on which
// it is told of changes, and to no others.
type tapFaults struct {
	mu      sync.Mutex
	taps    map[*tapConn]bool // guarded by mu
	stall   chan struct{}     // guarded by mu: closed when bytes go on; nil: they do
	refused bool              // guarded by mu: there are none
}

// tapConn is a connection that knows whether changes are told on it.
type tapConn struct {
	net.Conn
	of *tapFaults
}

func newTapFaults() *tapFaults { return &tapFaults{taps: make(map[*tapConn]bool)} }

func (f *tapFaults) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &tapConn{Conn: c, of: f}, nil
}

// Write looks for the command that makes it one on which changes are told.
func (c *tapConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("TRACKING")) {
		c.of.mu.Lock()
		c.of.taps[c] = true
		refused := c.of.refused
		c.of.mu.Unlock()
		if refused {
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(b)
}

// Read hands out what has arrived, unless that is held back.
func (c *tapConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	for err == nil {
		c.of.mu.Lock()
		held := c.of.stall
		if !c.of.taps[c] {
			held = nil
		}
		c.of.mu.Unlock()
		if held == nil {
			break
		}
		<-held
	}
	return n, err
}

// Close forgets it.
func (c *tapConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.taps, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// hold holds back what is told, until resume.
func (f *tapFaults) hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stall == nil {
		f.stall = make(chan struct{})
	}
}

func (f *tapFaults) resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stall != nil {
		close(f.stall)
		f.stall = nil
	}
}

// cut ends the connections on which changes are told.
func (f *tapFaults) cut() { f.refuse(false) }

// refuse is cut, and says whether others in their place fail.
func (f *tapFaults) refuse(others bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = others
	for c := range f.taps {
		_ = c.Conn.Close() // its end is what is wanted
	}
}

// faulty returns n instances, whose connections on which changes are told can be
// had to fail.
func faulty(t *testing.T, redis jackcache.RedisOptions, n int, change ...func(*jackcache.Options)) (as []*assistant.Assistant, fs []*tapFaults) {
	t.Helper()
	for range n {
		f := newTapFaults()
		redis := redis
		redis.Dial = f.dial
		bound := func(o *jackcache.Options) {
			o.Near.Freshness, o.Kinds = freshness, []jackcache.AnyKind{registers, loaded}
		}
		as = append(as, instanceOf(t, redis, append([]func(*jackcache.Options){copies, patient, bound}, change...)...))
		fs = append(fs, f)
		t.Cleanup(f.resume) // before the instance is closed
	}
	return as, fs
}

func standalone(server *redistest.Server) jackcache.RedisOptions {
	return jackcache.RedisOptions{Addrs: []string{server.Addr()}}
}

// While nothing fails.
func TestCoherence(t *testing.T) {
	server := redistest.Start(t)
	as, _ := faulty(t, standalone(server), 3)
	startCoherence(t, as, server).run(nil)
}

// While the connections on which changes are told end again and again.
func TestCoherenceWhileTapsDie(t *testing.T) {
	server := redistest.Start(t)
	as, fs := faulty(t, standalone(server), 3)
	c := startCoherence(t, as, server)
	c.run(func(ctx context.Context, r *rand.Rand) {
		for c.until(ctx, r, 50*time.Millisecond) {
			fs[r.IntN(len(fs))].cut()
		}
	})
}

// While what is told is held back, on connections that are there, and told late.
func TestCoherenceWhileTapsStall(t *testing.T) {
	server := redistest.Start(t)
	as, fs := faulty(t, standalone(server), 2)
	c := startCoherence(t, as, server)
	c.run(func(ctx context.Context, r *rand.Rand) {
		for c.until(ctx, r, time.Second) {
			f := fs[r.IntN(len(fs))]
			f.hold()
			c.until(ctx, r, 3*time.Second)
			if r.IntN(3) == 0 {
				f.cut()
			}
			f.resume()
		}
	})
}

// While Redis hangs, and what is written waits and is applied later.
func TestCoherenceWhileRedisHangs(t *testing.T) {
	server := redistest.Start(t)
	as, _ := faulty(t, standalone(server), 3)
	c := startCoherence(t, as, nil)
	c.run(func(ctx context.Context, r *rand.Rand) {
		defer server.Thaw()
		for c.until(ctx, r, time.Second) {
			server.Freeze()
			most := 300 * time.Millisecond
			if r.IntN(2) == 0 {
				most = 2 * time.Second
			}
			c.until(ctx, r, most)
			server.Thaw()
		}
	})
	if c.pending.Load() == 0 && *coherenceFor > 10*time.Second {
		t.Error("nothing had to wait")
	}
}

// confirmed reports whether all instances have noticed a loss since they had
// confirmed so much, and redis has everything again.
func confirmed(as []*assistant.Assistant, before []uint64) bool {
	for i, a := range as {
		if a.Cache.Health().Journal.Confirmed <= before[i] || !settled(a) {
			return false
		}
	}
	return true
}

// While Redis is emptied, and what is acknowledged is restored: who wrote it misses
// nothing of it.
func TestCoherenceWhileRedisIsEmptied(t *testing.T) {
	server := redistest.Start(t)
	as, fs := faulty(t, standalone(server), 2)
	c := startCoherence(t, as, nil)
	c.run(func(ctx context.Context, r *rand.Rand) {
		for c.until(ctx, r, time.Second) {
			var before []uint64
			for _, a := range as {
				before = append(before, a.Cache.Health().Journal.Confirmed)
			}
			c.lose(ctx, func() {
				do(t, server, "FLUSHALL")
				if r.IntN(2) == 0 {
					fs[r.IntN(len(fs))].cut()
				}
			}, func() bool { return confirmed(as, before) })
		}
	})
}

// While masters change places.
func TestCoherenceWhileMastersChange(t *testing.T) {
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{Replicas: 1})
	as, fs := faulty(t, jackcache.RedisOptions{
		Mode: jackcache.Sentinel, Addrs: trio.Addrs(), Sentinel: jackcache.SentinelOptions{Master: trio.MasterName()},
	}, 2)
	c := startCoherence(t, as, nil)
	c.run(func(ctx context.Context, r *rand.Rand) {
		for ctx.Err() == nil {
			if err := trio.WaitReady(time.Minute); err != nil {
				t.Error(err)
				return
			}
			from := time.Time{}
			c.lose(ctx, func() {
				if err := trio.Failover(); err != nil {
					t.Log(err)
				}
				from = time.Now()
				fs[r.IntN(len(fs))].cut()
			}, func() bool { return time.Since(from) > 5*time.Second && settled(as[0]) && settled(as[1]) })
			c.until(ctx, r, 3*time.Second)
		}
	})
}

// While slots move from master to master, and connections end.
func TestCoherenceWhileSlotsMove(t *testing.T) {
	cl := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	as, fs := faulty(t, jackcache.RedisOptions{Mode: jackcache.Cluster, Addrs: cl.Addrs()}, 2)
	c := startCoherence(t, as, nil)
	c.run(func(ctx context.Context, r *rand.Rand) {
		for c.until(ctx, r, 100*time.Millisecond) {
			fs[r.IntN(len(fs))].cut()
			one := c.all[r.IntN(len(c.all))]
			slot := redistest.Slot(as[0].Cache.KeyPrefix() + "register:org-1:" + one.name)
			from, all := cl.MasterOf(slot), cl.Masters()
			if to := all[r.IntN(len(all))]; from != nil && to != from {
				if err := cl.MoveSlots(from, to, slot, slot); err != nil {
					t.Log(err)
				}
			}
		}
	})
}
