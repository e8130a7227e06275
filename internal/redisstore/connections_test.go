package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

func coversOf(s *Store, k keys.Key) store.Covers { return s.Covers(k.String(), k.Org()) }

func mustKey(t *testing.T, s *Store, id string) keys.Key {
	t.Helper()
	i, err := keys.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return s.opts.Space.Key("lead", mustOrg(t, "a"), i)
}

// Where making a connection takes longer than a call may, calls are served all
// the same: all connections are made by the prober, none by a caller.
func TestSlowHandshake(t *testing.T) {
	const connections = 8
	server := redistest.Start(t)
	var d dialer
	s := openWith(t, server.Addr(), func(o *Options) {
		o.Connections = connections
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			<-time.After(50 * time.Millisecond)
			return d.dial(ctx, addr)
		}
	})
	n := settled(t, s)
	made := d.made.Load()
	for range 10 * connections {
		if err := read(t, s); err != nil {
			t.Fatal(err)
		}
	}
	if d.made.Load() != made || n.reconnects.Load() != 0 {
		t.Errorf("calls made %d connections", d.made.Load()-made)
	}
	for i, c := range n.link.Load().calls {
		if _, err := c.Do(t.Context(), c.B().ClientSetname().ConnectionName(fmt.Sprintf("jackcache-%d", i)).Build()).ToString(); err != nil {
			t.Error(err)
		}
	}
	list, err := server.Do("CLIENT", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(list, "name=jackcache-"); got != connections {
		t.Errorf("%d connections for calls, want %d:\n%s", got, connections, list)
	}
}

// While one of several connections is being made anew, which may take for ever,
// callers do not wait for it, whatever their deadline.
func TestOneOfSeveralConnectionsIsLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var d dialer
	s := openWith(t, server.Addr(), func(o *Options) { o.Connections, o.Dial = 4, d.dial })
	n := settled(t, s)
	c := n.link.Load().calls[1]
	id, err := c.Do(t.Context(), c.B().ClientId().Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	h := d.hold()
	if _, err := server.Do("CLIENT", "KILL", "ID", fmt.Sprint(id)); err != nil {
		t.Fatal(err)
	}
	soon(t, "the loss is noticed", func() bool { return !n.breaker.Allow() })
	<-h.begun
	start := time.Now()
	for range 100 {
		if err := read(t, s); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("100 calls took %v", took)
	}
	if state := s.Health().State; state == store.Up {
		t.Errorf("health: %s", state)
	}
	d.held.Store(nil)
	close(h.release)
	soon(t, "it serves again", func() bool { return read(t, s) == nil })
	if got := n.reconnects.Load(); got != 1 {
		t.Errorf("%d connections are told as lost, want 1", got)
	}
}

// More commands than may be under way count as all that may; they do not wait
// for ever for room that there will never be.
func TestMoreCommandsThanMayWait(t *testing.T) {
	const inFlight = 16
	server := redistest.Start(t)
	s := openWith(t, server.Addr(), func(o *Options) { o.InFlight = inFlight })
	n := settled(t, s)
	for _, commands := range []int64{inFlight - 1, inFlight, inFlight + 1, 100 * inFlight} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := n.do(ctx, call{"GET", commands}, func(*link) error {
			if n.waiting.Load() < min(commands, inFlight) {
				t.Errorf("%d commands count as %d", commands, n.waiting.Load())
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Errorf("%d commands: %v", commands, err)
		}
	}
	if !n.slots.TryAcquire(inFlight) {
		t.Error("room is not given back")
	} else {
		n.slots.Release(inFlight)
	}
}

// A Cluster whose members do not tell their hosts is served at those that are
// known; and one call may have more keys than commands may be under way.
func TestMembersWithoutHosts(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, Args: []string{"--cluster-preferred-endpoint-type", "unknown-endpoint"}})
	s := openCluster(t, c.Addrs(), func(o *Options) { o.InFlight = 16 })
	soon(t, "all of it serves", func() bool { return s.Health().State == store.Up })
	var ks []keys.Key
	for i := range 100 {
		ks = append(ks, mustKey(t, s, fmt.Sprintf("x%d", i)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if rs, err := s.GetMany(ctx, ks); err != nil || len(rs) != len(ks) {
		t.Errorf("%d of %d keys, %v", len(rs), len(ks), err)
	}
	// A slot that has moved, as this process does not know yet.
	key := s.opts.Space.Generation(mustOrg(t, "a"))
	l := s.layout.Load()
	wrong := l.masters[0]
	if l.node(key) == wrong {
		wrong = l.masters[1]
	}
	s.mu.Lock()
	s.layout.Store(l.with(slotOf(key), wrong))
	s.mu.Unlock()
	// The host is that of the server that was asked, which is that of all here.
	if err := read(t, s); err != nil {
		t.Errorf("a slot that moved: %v", err)
	}
}

// ErrUnavailable means that nothing happened: what was refused with it is not
// there, however the connections break.
func TestUnavailableIsCertain(t *testing.T) {
	for _, connections := range []int{1, 4} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			server := redistest.Start(t)
			p := redistest.StartProxy(t, server.Addr())
			s := openWith(t, p.Addr(), func(o *Options) { o.Connections, o.Timeout = connections, 25*time.Millisecond })
			w := writers{s: s, clock: clock.New(nil, 1, nil)}
			stop := w.start(t)
			served := func() { w.await(t, "calls are served", &w.applied, 50) }
			for range 4 {
				served()
				p.Stall()
				w.await(t, "calls fail", &w.failed, 20)
				p.Cut()
				p.Resume()
				served()
				p.Cut()
				served()
				p.Stall()
				w.await(t, "calls fail", &w.failed, 100)
				p.Resume()
			}
			stop()
			if len(w.refused) == 0 {
				t.Fatal("no call was refused")
			}
			c := s.layout.Load().masters[0].link.Load().jobs
			soon(t, "the server is reached", func() bool { return c.Do(t.Context(), c.B().Ping().Build()).Error() == nil })
			w.compare(t, c)
		})
	}
}

// writers write keys, each once.
type writers struct {
	s               *Store
	clock           *clock.Clock
	applied, failed atomic.Int64

	mu      sync.Mutex
	refused []string // guarded by mu: keys of writes that were ErrUnavailable
	kept    []string // guarded by mu: of those that were acknowledged
}

// start lets them write until the returned function is called.
func (w *writers) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for g := range 4 {
		writing.Go(func() {
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				w.write(t, mustKey(t, w.s, fmt.Sprintf("%d-%d", g, i)))
				<-pace.C
			}
		})
	}
	return func() {
		cancel()
		writing.Wait()
	}
}

func (w *writers) write(t *testing.T, k keys.Key) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Millisecond)
	defer cancel()
	_, err := w.s.Apply(ctx, store.Op{Action: store.Set, Key: k, Version: w.clock.Now(), TTL: time.Hour, Payload: []byte("1")})
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.applied.Add(1)
		w.kept = append(w.kept, k.String())
		return
	case errors.Is(err, store.ErrUnknown):
	case errors.Is(err, store.ErrUnavailable):
		w.refused = append(w.refused, k.String())
	default:
		t.Errorf("a write: %v", err)
	}
	w.failed.Add(1)
}

// await waits until a count has grown by n.
func (w *writers) await(t *testing.T, what string, count *atomic.Int64, n int64) {
	t.Helper()
	from := count.Load()
	soon(t, what, func() bool { return count.Load() >= from+n })
}

// compare looks which keys are there.
func (w *writers) compare(t *testing.T, c rueidis.Client) {
	t.Helper()
	for what, test := range map[string]struct {
		keys []string
		want int
	}{"refused": {w.refused, 0}, "acknowledged": {w.kept, len(w.kept)}} {
		n, err := c.Do(t.Context(), c.B().Exists().Key(test.keys...).Build()).AsInt64()
		if err != nil || int(n) != test.want {
			t.Errorf("of %d %s writes %d are there, want %d; %v", len(test.keys), what, n, test.want, err)
		}
	}
}
