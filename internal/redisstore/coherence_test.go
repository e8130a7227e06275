package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
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

func (c *counting) Ended(keys.Org, uint64) {}

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
	cover := coversOf(c.s, one.k).Generation
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
			for pause(ctx, 100*time.Microsecond) {
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
	soon(t, "the counter was raised, and copies were given", func() bool { return c.writes.Load() >= n && c.hits.Load() >= 100 })
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
	soon(t, "something is proven", func() bool { return fresh(coversOf(c.s, c.all[0].k).Generation) })
	return c
}

// moving are the slots in which the counters lie.
var moving = struct{ low, high int }{100, 140}
