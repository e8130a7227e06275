package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

const (
	// talksAtOnce is how many conversations all instances append to, and talkWrites after
	// how many writes one is left: well below its window.
	talksAtOnce = 20
	talkWrites  = 30
	// numbersEach is how many values each instance sets.
	numbersEach = 20
)

// never is instances that write conversations together and values of their own, and
// read what they have written, whatever becomes of redis.
type never struct {
	t     *testing.T
	as    []*assistant.Assistant
	begun atomic.Int64 // writes of conversations
	mine  []mine       // by instance

	reads, refused, less atomic.Int64
}

// mine is what an instance has acknowledged.
type mine struct {
	mu      sync.Mutex
	talks   map[int]int // guarded by mu: how many messages, by conversation
	numbers [numbersEach]int
}

func startNever(t *testing.T, as []*assistant.Assistant) *never {
	s := &never{t: t, as: as, mine: make([]mine, len(as))}
	for i := range s.mine {
		s.mine[i].talks = make(map[int]int)
	}
	return s
}

func (s *never) talk(by, n int) jackcache.Conversation {
	return s.as[by].Cache.Org("org-" + strconv.Itoa(n%3)).Conversation(phone(n))
}

// oldest is the conversation that is left next.
func (s *never) oldest() int { return int(s.begun.Load()) / talkWrites }

func messageOf(by, n int) string { return fmt.Sprintf("%d-%d", by, n) }

// write appends a message, or sets a value.
func (s *never) write(r *rand.Rand, by int) {
	m := &s.mine[by]
	ctx := context.Background()
	if r.IntN(3) == 0 {
		at := r.IntN(numbersEach)
		n := m.number(at) + 1
		if _, err := registers.Set(ctx, s.as[by].Cache.Org("org-1"), messageOf(by, at), raw(strconv.Itoa(n))); err == nil {
			m.mu.Lock()
			m.numbers[at] = n
			m.mu.Unlock()
		}
		return
	}
	talk := s.oldest() + r.IntN(talksAtOnce)
	s.begun.Add(1)
	n := m.said(talk)
	if _, err := s.talk(by, talk).Append(ctx, message(messageOf(by, n), "hi")); err == nil {
		m.mu.Lock()
		m.talks[talk] = n + 1
		m.mu.Unlock()
	}
}

func (m *mine) number(at int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.numbers[at]
}

func (m *mine) said(talk int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.talks[talk]
}

// read reads what an instance has written, and judges it.
func (s *never) read(r *rand.Rand, by int) {
	if r.IntN(4) == 0 {
		at := r.IntN(numbersEach)
		want := s.mine[by].number(at)
		e, err := registers.Entry(s.t.Context(), s.as[by].Cache.Org("org-1"), messageOf(by, at))
		got, _ := strconv.Atoi(string(e.Value))
		s.judge(got < want, err, "value %d of instance %d: %d from %v, want %d", at, by, got, e.Source, want)
		return
	}
	talk := max(0, s.oldest()+r.IntN(2*talksAtOnce)-talksAtOnce)
	s.listen(by, talk, r.IntN(4))
}

// listen reads the newest last messages of a conversation; 0: all.
func (s *never) listen(by, talk, last int) {
	want := s.mine[by].said(talk)
	got, err := s.talk(by, talk).Messages(s.t.Context(), jackcache.ReadOptions{Last: last})
	var ids []string
	for _, m := range got.Messages {
		ids = append(ids, m.ID)
	}
	less := last > 0 && len(ids) < min(last, want)
	for n := 0; last == 0 && n < want; n++ {
		less = less || !slices.Contains(ids, messageOf(by, n))
	}
	s.judge(less, err, "conversation %d of instance %d, the last %d: %v from %v, want its %d", talk, by, last, ids, got.Source, want)
}

func (s *never) judge(less bool, err error, format string, args ...any) {
	s.reads.Add(1)
	switch {
	case err != nil && !errors.Is(err, jackcache.ErrNotFound):
		s.refused.Add(1)
	case less && s.less.Add(1) <= 10:
		s.t.Errorf(format, args...)
	}
}

// run writes, reads and makes trouble for some time, with a pause of at most so much
// before each, and reads everything in the end.
func (s *never) run(most time.Duration, trouble func(ctx context.Context, r *rand.Rand)) {
	s.t.Helper()
	seed := rand.Uint64()
	s.t.Log("seed", seed)
	ctx, cancel := context.WithTimeout(s.t.Context(), *coherenceFor)
	defer cancel()
	var running sync.WaitGroup
	start := func(most time.Duration, f func(r *rand.Rand)) {
		seed++
		r := rand.New(rand.NewPCG(seed, 0))
		running.Go(func() {
			for paused(ctx, time.Duration(r.Int64N(int64(most)))) {
				f(r)
			}
		})
	}
	for by := range s.as {
		start(4*time.Millisecond, func(r *rand.Rand) { s.write(r, by) })
		for range 2 {
			start(time.Millisecond, func(r *rand.Rand) { s.read(r, by) })
		}
	}
	start(most, func(r *rand.Rand) { trouble(ctx, r) })
	running.Wait()
	for by := range s.as { // restored or not
		for talk := range s.oldest() + talksAtOnce {
			s.listen(by, talk, 0)
		}
	}
	s.t.Logf("%d writes of conversations; %d reads, %d refused, %d less than acknowledged",
		s.begun.Load(), s.reads.Load(), s.refused.Load(), s.less.Load())
	if s.reads.Load() < 100 {
		s.t.Error("nothing was tested")
	}
}

// emptied empties servers again and again, soon after another, also while what they
// lost is applied again, told of or not.
func (s *never) emptied(fs []*tapFaults, servers ...*redistest.Server) {
	s.t.Helper()
	flushes := 0
	s.run(time.Second, func(ctx context.Context, r *rand.Rand) {
		if r.IntN(2) == 0 { // known by nobody but who misses something, and heartbeats
			for _, f := range fs {
				f.hold()
				defer f.resume()
			}
		}
		for range 1 + r.IntN(6) {
			do(s.t, servers[r.IntN(len(servers))], "FLUSHALL")
			flushes++
			most := 50 * time.Millisecond
			if r.IntN(3) == 0 {
				most = 300 * time.Millisecond // what it lost is being applied by then
			}
			if !paused(ctx, 5*time.Millisecond+time.Duration(r.Int64N(int64(most)))) {
				return
			}
		}
	})
	s.t.Logf("emptied %d times", flushes)
	if flushes == 0 {
		s.t.Error("nothing was lost")
	}
}

// Redis is emptied: no read gives less than its own instance had acknowledged before it
// began.
func TestOwnIsNeverLess(t *testing.T) {
	server := redistest.Start(t)
	as, fs := faulty(t, standalone(server), 2)
	startNever(t, as).emptied(fs, server)
}

// One master of several is emptied.
func TestOwnIsNeverLessInCluster(t *testing.T) {
	cl := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	as, fs := faulty(t, jackcache.RedisOptions{Mode: jackcache.Cluster, Addrs: cl.Addrs()}, 2)
	startNever(t, as).emptied(fs, cl.Masters()...)
}

// A replica takes the place of its master, and lags behind.
func TestOwnIsNeverLessAfterFailover(t *testing.T) {
	servers := redistest.StartReplicated(t, 1)
	master, replica := servers.Servers()[0], servers.Servers()[1]
	proxy := redistest.StartProxy(t, master.Addr())
	host, port, err := net.SplitHostPort(proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	do(t, replica, "REPLICAOF", host, port)
	as, _ := faulty(t, jackcache.RedisOptions{Addrs: []string{master.Addr(), replica.Addr()}}, 2)
	promoted := false
	s := startNever(t, as)
	s.run(*coherenceFor/4, func(ctx context.Context, r *rand.Rand) {
		if promoted || !strings.Contains(do(t, replica, "INFO", "replication"), "master_link_status:up") {
			return
		}
		proxy.Refuse()
		proxy.Cut()
		paused(ctx, time.Duration(r.Int64N(int64(*coherenceFor/4))))
		master.Kill()
		do(t, replica, "REPLICAOF", "NO", "ONE")
		promoted = true
	})
	if !promoted {
		t.Error("nothing was lost")
	}
}

// paused waits, and reports whether ctx goes on.
func paused(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
