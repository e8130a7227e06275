package redisstore

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
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

// counters is how many there are: each is raised so seldom that the next change
// does not hide that one was missed.
const counters = 300

// counting is a process that keeps counters in memory, by the rules of the covers,
// while another one raises them. What it serves as fresh must not be older than the
// bound.
type counting struct {
	s      *Store
	all    []*counterOf
	byName map[string]*counterOf

	writes, hits, fills, late atomic.Int64
	ages                      sync.Map // the greatest age by reader
}

// counterOf is one of them.
type counterOf struct {
	k     keys.Key
	name  string
	acked acknowledged

	mu    sync.Mutex
	clock int64    // guarded by mu: rises with each change
	kept  *counter // guarded by mu; nil: nothing is in memory
}

type counter struct {
	value uint64
	cover *store.Cover
	epoch uint64
}

// acknowledged is what the writer was told, by time.
type acknowledged struct {
	mu     sync.Mutex
	at     []int64  // guarded by mu
	values []uint64 // guarded by mu
}

func (a *acknowledged) add(value uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at, a.values = append(a.at, store.Now()), append(a.values, value)
}

// by returns what was acknowledged by a time, and when the first beyond value was;
// zero: none was.
func (a *acknowledged) by(then int64, value uint64) (least uint64, since int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i, _ := slices.BinarySearch(a.at, then); i > 0 {
		least = a.values[i-1]
	}
	if i, _ := slices.BinarySearch(a.values, value+1); i < len(a.at) {
		since = a.at[i]
	}
	return least, since
}

func (c *counting) Changed(names []string) {
	for _, name := range names {
		if one := c.byName[name]; one != nil {
			one.mu.Lock()
			one.clock++
			one.kept = nil
			one.mu.Unlock()
		}
	}
}

func (c *counterOf) hit() (*counter, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept, c.clock
}

// read serves from memory what is fresh, else from the store.
func (c *counting) read(t *testing.T, one *counterOf, oldest *time.Duration) {
	now := store.Now()
	kept, clock := one.hit()
	if kept != nil && kept.cover.Fresh(kept.epoch, now, bound) {
		c.hits.Add(1)
		least, since := one.acked.by(now-int64(bound), kept.value)
		if kept.value < least {
			if c.late.Add(1) > 3 {
				return
			}
			t.Errorf("%d was served as fresh %v after a higher one was acknowledged", kept.value, time.Duration(now-since))
		}
		if since != 0 {
			*oldest = max(*oldest, time.Duration(now-since))
		}
		return
	}
	cover := c.s.Covers(one.k).Generation
	if cover == nil {
		return
	}
	fill := &counter{cover: cover, epoch: cover.Epoch()}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	var err error
	if fill.value, err = c.s.Generation(ctx, one.k.Org()); err != nil {
		return
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.clock == clock {
		one.kept = fill
		c.fills.Add(1)
	}
}

// run reads, writes, and makes trouble, until the counter was raised n times.
func (c *counting) run(t *testing.T, raise func(context.Context, string) (int64, error), n int64, trouble func(r *rand.Rand)) {
	t.Helper()
	seed := rand.Uint64()
	t.Log("seed", seed)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	for i := range 3 {
		running.Go(func() {
			var oldest time.Duration
			r := rand.New(rand.NewPCG(seed, uint64(3+i)))
			for pause(ctx, 20*time.Microsecond) {
				c.read(t, c.all[r.IntN(len(c.all))], &oldest)
			}
			c.ages.Store(i, oldest)
		})
	}
	running.Go(func() {
		r := rand.New(rand.NewPCG(seed, 1))
		for pause(ctx, time.Duration(r.IntN(5000))*time.Microsecond) {
			one := c.all[r.IntN(len(c.all))]
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			if v, err := raise(ctx, one.name); err == nil {
				one.acked.add(uint64(v))
				c.writes.Add(1)
			}
			cancel()
		}
	})
	running.Go(func() {
		for r := rand.New(rand.NewPCG(seed, 2)); pause(ctx, time.Duration(20+r.IntN(30))*time.Millisecond); {
			trouble(r)
		}
	})
	soon(t, "the counter was raised", func() bool { return c.writes.Load() >= n })
	cancel()
	running.Wait()
	var oldest time.Duration
	for _, age := range c.ages.Range {
		oldest = max(oldest, age.(time.Duration))
	}
	t.Logf("%d writes, %d fills, %d hits, %d late; the oldest that was served as fresh: %v",
		c.writes.Load(), c.fills.Load(), c.hits.Load(), c.late.Load(), oldest)
	if c.hits.Load() < 100 || c.fills.Load() < 100 {
		t.Error("nothing was tested")
	}
}

// raising returns what raises the counter by a client of its own. What it says is
// on so many replicas.
func (c *counting) raising(t *testing.T, o rueidis.ClientOption, replicas int64) func(context.Context, string) (int64, error) {
	t.Helper()
	o.DisableCache, o.PipelineMultiplex = true, -1
	w, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return func(ctx context.Context, name string) (int64, error) {
		if replicas == 0 {
			return w.Do(ctx, w.B().Incr().Key(name).Build()).AsInt64()
		}
		rs := w.DoMulti(ctx, w.B().Incr().Key(name).Build(), w.B().Wait().Numreplicas(replicas).Timeout(100).Build())
		if n, err := rs[1].AsInt64(); err != nil || n < replicas {
			return 0, errors.New("too few replicas")
		}
		return rs[0].AsInt64()
	}
}

func startCounting(t *testing.T, addr string, change func(*Options)) *counting {
	t.Helper()
	c := &counting{byName: make(map[string]*counterOf)}
	space := devSpaceOf(t)
	for i := 0; len(c.all) < counters; i++ {
		org := mustOrg(t, strconv.Itoa(i))
		one := &counterOf{k: space.Key("organization", org, keys.NoID), name: space.Generation(org)}
		if slot := slotOf(one.name); moving.low <= slot && slot <= moving.high {
			c.all = append(c.all, one)
			c.byName[one.name] = one
		}
	}
	c.s = openWith(t, addr, func(o *Options) {
		o.Listener, o.Timeout = c, 200*time.Millisecond
		change(o)
	})
	soon(t, "something is proven", func() bool { return fresh(c.s.Covers(c.all[0].k).Generation) })
	return c
}

// moving are the slots in which the counters lie.
var moving = struct{ low, high int }{100, 140}

// While the connection that is told is killed again and again.
func TestCoherentWhileTapsDie(t *testing.T) {
	server := redistest.Start(t)
	c := startCounting(t, server.Addr(), asIs)
	c.run(t, c.raising(t, rueidis.ClientOption{InitAddress: []string{server.Addr()}, ForceSingleClient: true}, 0), 2000, func(r *rand.Rand) {
		for _, id := range taps(t, server) {
			send(t, server, "CLIENT", "KILL", "ID", id)
		}
	})
}

// While connections of all kinds hang and end: those for calls, too.
func TestCoherentWhileAllBreaks(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr())
	c := startCounting(t, proxy.Addr(), asIs)
	c.run(t, c.raising(t, rueidis.ClientOption{InitAddress: []string{server.Addr()}, ForceSingleClient: true}, 0), 2000, func(r *rand.Rand) {
		switch r.IntN(12) {
		case 0:
			proxy.Cut()
		case 1:
			proxy.Stall()
			pause(t.Context(), time.Duration(r.IntN(1500))*time.Millisecond)
			proxy.Resume()
		case 2:
			proxy.Stall()
			pause(t.Context(), time.Duration(r.IntN(300))*time.Millisecond)
			proxy.Cut()
			proxy.Resume()
		case 3:
			server.Freeze()
			pause(t.Context(), time.Duration(r.IntN(300))*time.Millisecond)
			server.Thaw()
		}
	})
}

// While the slot of the counter moves from master to master and back, and the
// connections that are told die.
func TestCoherentWhileSlotsMove(t *testing.T) {
	cl := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	c := startCounting(t, "", func(o *Options) { o.Mode, o.Addrs = Cluster, cl.Addrs() })
	c.run(t, c.raising(t, rueidis.ClientOption{InitAddress: cl.Addrs()}, 0), 2000, func(r *rand.Rand) {
		from := cl.MasterOf(moving.low)
		if from == nil {
			return
		}
		if r.IntN(10) > 0 {
			for _, id := range taps(t, from) {
				send(t, from, "CLIENT", "KILL", "ID", id)
			}
			return
		}
		for _, to := range cl.Masters() {
			if to != from {
				if err := cl.MoveSlots(from, to, moving.low, moving.high); err != nil {
					t.Error(err)
				}
				return
			}
		}
	})
}

// While masters change places.
func TestCoherentWhileMastersChange(t *testing.T) {
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{Replicas: 1})
	cl := redistest.StartCluster(t, redistest.ClusterOptions{})
	for name, test := range map[string]struct {
		change func(*Options)
		writer rueidis.ClientOption
		least  int64 // replicas, so that no failover loses what was acknowledged
		over   func() error
	}{
		"sentinel": {
			func(o *Options) { o.Mode, o.Addrs, o.Master = Sentinel, trio.Addrs(), trio.MasterName() },
			rueidis.ClientOption{InitAddress: trio.Addrs(), Sentinel: rueidis.SentinelOption{MasterSet: trio.MasterName()}},
			1,
			func() error { return trio.Failover() },
		},
		"cluster": {
			func(o *Options) { o.Mode, o.Addrs = Cluster, cl.Addrs() },
			rueidis.ClientOption{InitAddress: cl.Addrs()},
			0,
			func() error {
				if err := cl.WaitOK(time.Minute); err != nil {
					return err
				}
				return cl.Failover(cl.ReplicaOf(cl.MasterOf(moving.low)))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCounting(t, "", test.change)
			overs := 0
			c.run(t, c.raising(t, test.writer, test.least), 2000, func(*rand.Rand) {
				// A third one so soon the masters would not vote for.
				if overs < 2 {
					overs++
					if err := test.over(); err != nil {
						t.Error(err)
					}
				}
			})
			if overs == 0 {
				t.Error("no failover")
			}
		})
	}
}

// What it costs a server that a process hears of each of its writes, and what it
// costs to prove it. Processor time of the server is reported for each write.
func BenchmarkHeard(b *testing.B) {
	for _, listeners := range []int{0, 1, 4} {
		b.Run(strconv.Itoa(listeners), func(b *testing.B) {
			server := redistest.Start(b)
			for range listeners {
				o := Options{
					Space: devSpaceOf(b), Mode: Standalone, Addrs: []string{server.Addr()}, Connections: 1, InFlight: 2048,
					Timeout: time.Second, Clock: clock.New(nil, 1, nil), Listener: &heard{}, Logger: slog.New(slog.DiscardHandler),
				}
				s, err := Open(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = s.Close(context.Background()) }()
			}
			w, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, ForceSingleClient: true, DisableCache: true})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			before := server.CPU()
			b.ResetTimer()
			for i := range b.N {
				name := "jack:dev:lead:a:" + strconv.Itoa(i%1000)
				if err := w.Do(b.Context(), w.B().Set().Key(name).Value("1").Build()).Error(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(server.CPU()-before)/float64(b.N), "redis-ns/op")
		})
	}
}
