package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// keysOf counts the keys of values and conversations of organisations on servers.
func keysOf(t *testing.T, servers []*redistest.Server, orgs ...string) (n int) {
	t.Helper()
	for _, s := range servers {
		for _, org := range orgs {
			for name := range strings.FieldsSeq(do(t, s, "KEYS", "jack:dev:*:"+org+":*")) {
				if !strings.Contains(name, ":__seen:") {
					n++
				}
			}
		}
	}
	return n
}

// What invalidated organisations took is given back in the background, in one scan for
// all of them; nothing of others goes, and nothing that is written after Invalidate
// returned, by whomever.
func TestReclaim(t *testing.T) {
	t.Parallel() // most of it is waiting
	cl := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	server := redistest.Start(t)
	for name, place := range map[string]struct {
		redis   jackcache.RedisOptions
		servers []*redistest.Server
	}{
		"standalone": {standalone(server), []*redistest.Server{server}},
		"cluster":    {jackcache.RedisOptions{Mode: jackcache.Cluster, Addrs: cl.Addrs()}, cl.Masters()},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := instanceOf(t, place.redis, copies, slow), instanceOf(t, place.redis, copies, slow)
			ctx := t.Context()
			fill := func(org string) {
				t.Helper()
				for n := range 150 {
					if _, err := a.Kinds.AgentConfig.Set(ctx, a.Cache.Org(org), strconv.Itoa(n), raw(`0`)); err != nil {
						t.Fatal(err)
					}
				}
				for n := range 10 {
					if _, err := a.Cache.Org(org).Conversation(phone(n)).Append(ctx, message("m", "hi")); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, org := range []string{"one", "two", "kept"} {
				fill(org)
			}
			kept := keysOf(t, place.servers, "kept")
			var writers sync.WaitGroup
			var stop atomic.Bool
			defer writers.Wait()
			defer stop.Store(true)
			written := make([]map[string]int, 2)
			for _, org := range []string{"one", "two"} {
				if err := a.Cache.Org(org).Invalidate(ctx); err != nil {
					t.Fatal(err)
				}
			}
			for i, w := range []*jackcache.Cache{a.Cache, b.Cache} {
				written[i] = make(map[string]int)
				r := rand.New(rand.NewPCG(1, uint64(i)))
				kind := a.Kinds.AgentConfig
				if i == 1 {
					kind = b.Kinds.AgentConfig
				}
				writers.Go(func() { // half of the ids that there were, each by one writer
					for n := 1; !stop.Load(); n++ {
						id := strconv.Itoa(2*r.IntN(37) + 75*i)
						if _, err := kind.Set(ctx, w.Org("one"), id, raw(strconv.Itoa(n))); err == nil {
							written[i][id] = n
						}
					}
				})
			}
			eventually(t, 2*time.Minute, "one is given back, but for what is written", func() bool {
				s := a.Cache.Stats().Reclaim
				return s.Queued == 0 && s.Scans > 0 && keysOf(t, place.servers, "two") == 0
			})
			stop.Store(true)
			writers.Wait()
			left := 0
			for i, one := range written {
				left += len(one)
				for id, n := range one {
					got, err := b.Kinds.AgentConfig.Get(ctx, b.Cache.Org("one"), id)
					if err != nil || string(got) != strconv.Itoa(n) {
						t.Errorf("%s: %s, %v; writer %d was told that %d is there", id, got, err, i, n)
					}
				}
			}
			if n := keysOf(t, place.servers, "one"); n != left {
				t.Errorf("%d keys are left of one, %d were written again", n, left)
			}
			if n := keysOf(t, place.servers, "kept"); n != kept {
				t.Errorf("%d keys of another organisation, there were %d", n, kept)
			}
			s := a.Cache.Stats().Reclaim
			t.Logf("%+v", s)
			if s.Scans != 1 || s.Removed < 200 || s.Dropped > 0 {
				t.Errorf("%+v; want one scan for both", s)
			}
			if s := b.Cache.Stats().Reclaim; !s.Enabled || s.Scans > 0 {
				t.Errorf("the instance that has invalidated nothing: %+v", s)
			}
		})
	}
}

// While Redis is away it waits, and what was invalidated then is given back afterwards.
func TestReclaimWaitsForRedis(t *testing.T) {
	t.Parallel() // most of it is waiting
	server := redistest.Start(t)
	a := instance(t, server, slow)
	ctx, org := t.Context(), a.Cache.Org("one")
	for n := range 50 {
		if _, err := a.Kinds.AgentConfig.Set(ctx, org, strconv.Itoa(n), raw(`0`)); err != nil {
			t.Fatal(err)
		}
	}
	server.Freeze()
	rctx, receipt := jackcache.WithReceipt(ctx)
	if err := org.Invalidate(rctx); err != nil || !receipt.Pending() {
		t.Fatalf("%v, pending %v", err, receipt.Pending())
	}
	eventually(t, 20*time.Second, "it is noticed", func() bool { return a.Cache.Health().Store.State != "up" })
	if s := a.Cache.Stats().Reclaim; s.Queued != 1 || s.Removed > 0 {
		t.Errorf("%+v", s)
	}
	server.Thaw()
	eventually(t, 60*time.Second, "it is given back", func() bool { return keysOf(t, []*redistest.Server{server}, "one") == 0 })
	eventually(t, 10*time.Second, "nothing waits", func() bool { return a.Cache.Stats().Reclaim.Queued == 0 })
}

// It can be off, and the embedded store needs none.
func TestReclaimOff(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, patient, func(o *jackcache.Options) { o.ReclaimRate = -1 })
	if err := a.Cache.Org("one").Invalidate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := a.Cache.Stats().Reclaim; s != (jackcache.ReclaimStats{}) {
		t.Errorf("%+v", s)
	}
	o := jackcache.Options{ReclaimRate: 99, DataDir: t.TempDir()}
	if _, err := jackcache.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "ReclaimRate") {
		t.Errorf("a rate of 99: %v", err)
	}
}

// BenchmarkReclaim tells what it costs Redis to give back an organisation in a
// database of many keys, and what callers notice of it.
func BenchmarkReclaim(b *testing.B) {
	const all, of = 200_000, 10_000
	server := redistest.Start(b)
	a := instance(b, server, patient, func(o *jackcache.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	do(b, server, "EVAL", fmt.Sprintf(`for i = 1, %d do redis.call('SET', 'jack:dev:lead:other:' .. i, 'x') end`, all), "0")
	for range b.N {
		b.StopTimer()
		for n := range of {
			if _, err := a.Kinds.AgentConfig.Set(b.Context(), a.Cache.Org("one"), strconv.Itoa(n), raw(`0`)); err != nil {
				b.Fatal(err)
			}
		}
		before := a.Cache.Stats().Reclaim
		if err := a.Cache.Org("one").Invalidate(b.Context()); err != nil {
			b.Fatal(err)
		}
		cpu := server.CPU()
		b.StartTimer()
		took := eventually(b, 5*time.Minute, "it is given back", func() bool { return a.Cache.Stats().Reclaim.Scans > before.Scans })
		s := a.Cache.Stats().Reclaim
		b.ReportMetric(float64(s.Removed-before.Removed), "removed")
		b.ReportMetric(float64(s.Looked-before.Looked), "looked")
		b.ReportMetric(float64(server.CPU()-cpu)/1e6, "redis-ms")
		b.ReportMetric(100*float64(server.CPU()-cpu)/float64(took), "redis-%")
	}
}

// What a Clear that is not seen by all leaves behind is given back in the background.
func TestReclaimAfterUnseenClear(t *testing.T) {
	t.Parallel() // most of it is waiting
	server := redistest.Start(t)
	a := instance(t, server, slow)
	org := a.Cache.Org("org-1")
	for name, clears := range map[string]func(context.Context) error{
		"organisation": func(ctx context.Context) error { return second(org.Clear(ctx)) },
		"all":          func(ctx context.Context) error { return second(a.Cache.Clear(ctx)) },
	} {
		if _, err := a.Kinds.AgentConfig.Set(t.Context(), org, "1", raw(`0`)); err != nil {
			t.Fatal(err)
		}
		// One that gives copies and never answers.
		do(t, server, "HSET", a.Cache.KeyPrefix()+"__listeners", "mute", "60000 9999999999999")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := clears(ctx)
		cancel()
		if !errors.Is(err, jackcache.ErrUnseen) {
			t.Errorf("%s: %v, want ErrUnseen", name, err)
		}
		do(t, server, "HDEL", a.Cache.KeyPrefix()+"__listeners", "mute")
		eventually(t, 20*time.Second, name+": the space is given back", func() bool {
			return keysOf(t, []*redistest.Server{server}, "org-1") == 0
		})
	}
}
