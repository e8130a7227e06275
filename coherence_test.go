package jackcache_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

var coherenceFor = flag.Duration("coherence.for", 2*time.Second, "how long each of the coherence tests runs")

// freshness is the bound of the instances that are tested: the least, well below the
// time after which a silent connection is given up.
const freshness = 500 * time.Millisecond

// coherence is instances that write registers and read those of each other, and a
// judge of what they read. An answer must not be older than what was acknowledged
// longer ago than the bound, and on the instance that wrote not older than what was
// acknowledged before the read began.
type coherence struct {
	t     *testing.T
	seed  uint64
	as    []*assistant.Assistant
	all   []*register
	begun time.Time

	// lost is until when, since begun, redis may have lacked what it had
	// acknowledged: what others read before it is not judged. Negative: it may now.
	lost atomic.Int64

	writes, pending, failed, reads, near, behind, violations atomic.Int64
	refused                                                  atomic.Int64

	mu   sync.Mutex
	ages []time.Duration // guarded by mu: how old copies were that were behind
}

// register is something that is written in an order.
type register struct {
	name   string
	owner  int // the instance that writes it; everyone: all do; nobodys: none
	write  func(ctx context.Context, by, n int) (rank string, absent bool, err error)
	read   func(ctx context.Context, by int) (answer, error)
	shared acks
	own    []acks // by instance: what waits, too

	mu    sync.Mutex
	n     int    // guarded by mu, and by whose write is under way
	gone  string // guarded by mu: the highest rank of a deletion that was begun
	loose bool   // guarded by mu: a deletion whose outcome is not known may come late
}

// The owners of registers that no single instance writes.
const (
	everyone = -1
	nobodys  = -2
)

// answer is what a read gave. Ranks sort as text; empty: nothing is there.
type answer struct {
	rank   string
	source jackcache.Source // zero: not told
}

// acks are ranks that were acknowledged, by time.
type acks struct {
	mu   sync.Mutex
	at   []time.Duration // guarded by mu
	most []string        // guarded by mu: the highest until then
}

func (a *acks) add(now func() time.Duration, rank string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.most); n > 0 {
		rank = max(rank, a.most[n-1])
	}
	a.at, a.most = append(a.at, now()), append(a.most, rank)
}

// by returns the highest rank that was acknowledged before a time.
func (a *acks) by(then time.Duration) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearch(a.at, then)
	if i == 0 {
		return ""
	}
	return a.most[i-1]
}

// after returns when the first rank above one was acknowledged.
func (a *acks) after(rank string) (at time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.most, rank, func(m, rank string) int {
		if m > rank {
			return 1
		}
		return -1
	})
	if i == len(a.at) {
		return 0, false
	}
	return a.at[i], true
}

func (c *coherence) now() time.Duration { return time.Since(c.begun) }

// put writes a register once, as one instance or as a client of another make.
func (c *coherence) put(r *register, by int) {
	ctx, receipt := jackcache.WithReceipt(context.Background())
	if r.owner == everyone {
		rank, _, err := r.write(ctx, by, 0)
		c.acknowledged(r, by, rank, receipt.Pending(), err)
		return
	}
	r.mu.Lock()
	r.n++
	n := r.n
	r.mu.Unlock()
	rank, absent, err := r.write(ctx, by, n)
	if absent && err != nil {
		r.mu.Lock()
		r.loose = true
		r.mu.Unlock()
	}
	c.acknowledged(r, by, rank, receipt.Pending(), err)
}

// deletes notes that a deletion begins.
func (r *register) deletes(rank string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = rank
}

func (c *coherence) acknowledged(r *register, by int, rank string, pending bool, err error) {
	c.writes.Add(1)
	switch {
	case err != nil:
		c.failed.Add(1)
		return
	case pending:
		c.pending.Add(1)
	default:
		r.shared.add(c.now, rank)
	}
	if by >= 0 {
		r.own[by].add(c.now, rank)
	}
}

// get reads a register once, and judges what it gave.
func (c *coherence) get(r *register, by int, ages *[]time.Duration) {
	start := c.now()
	lost := c.lost.Load()
	got, err := r.read(context.Background(), by)
	c.reads.Add(1)
	if err != nil && !errors.Is(err, jackcache.ErrNotFound) {
		c.refused.Add(1)
		return
	}
	losing := lost < 0 || c.lost.Load() != lost
	if mine := r.own[by].by(start); got.rank < mine && !r.mayBeGone(got, mine) {
		c.violated("%s: instance %d, which wrote %s, reads %q from %v", r.name, by, mine, got.rank, got.source)
	}
	if got.source == jackcache.SourceNear {
		c.near.Add(1)
		if at, ok := r.shared.after(got.rank); ok && at < start && got.rank != "" {
			c.behind.Add(1)
			*ages = append(*ages, start-at)
		}
	}
	if got.source == jackcache.SourcePending || got.source == jackcache.SourceStale {
		return // it says that it may be old
	}
	if losing || start-freshness < time.Duration(lost) {
		return
	}
	if least := r.shared.by(start - freshness); got.rank < least && !r.mayBeGone(got, least) {
		at, _ := r.shared.after(got.rank)
		c.violated("%s: instance %d reads %q from %v, though %s was acknowledged; what is newer was %v before",
			r.name, by, got.rank, got.source, least, start-at)
	}
}

// mayBeGone reports whether an answer that nothing is there may come from a deletion
// that is no older than a rank.
func (r *register) mayBeGone(got answer, least string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return got.rank == "" && (r.gone >= least || r.loose)
}

func (c *coherence) violated(format string, args ...any) {
	if c.violations.Add(1) <= 10 {
		c.t.Errorf("%v: "+format, append([]any{c.now()}, args...)...)
	}
}

// until returns what is true while the test goes on, after a pause of at most so
// much.
func (c *coherence) until(ctx context.Context, r *rand.Rand, most time.Duration) bool {
	timer := time.NewTimer(time.Duration(r.Int64N(int64(most))) + 1)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// run writes, reads and makes trouble for some time, and on a busy machine until
// enough of it was done to show something.
func (c *coherence) run(trouble func(ctx context.Context, r *rand.Rand)) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	var running sync.WaitGroup
	source := uint64(0)
	start := func(f func(r *rand.Rand)) {
		source++
		r := rand.New(rand.NewPCG(c.seed, source))
		running.Go(func() { f(r) })
	}
	for by := range c.as {
		start(func(r *rand.Rand) { c.writer(ctx, r, by) })
		for range 2 {
			start(func(r *rand.Rand) { c.reader(ctx, r, by) })
		}
	}
	start(func(r *rand.Rand) { c.writer(ctx, r, nobodys) })
	if trouble != nil {
		start(func(r *rand.Rand) { trouble(ctx, r) })
	}
	<-time.After(*coherenceFor)
	for end := time.Now().Add(time.Minute); !c.tested() && time.Now().Before(end); {
		<-time.After(5 * time.Millisecond)
	}
	cancel()
	running.Wait()
	c.tell()
}

// writer writes the registers of an instance, or of another client.
func (c *coherence) writer(ctx context.Context, r *rand.Rand, by int) {
	var mine []*register
	for _, one := range c.all {
		if one.owner == by || one.owner == everyone && by >= 0 {
			mine = append(mine, one)
		}
	}
	for len(mine) > 0 && c.until(ctx, r, 4*time.Millisecond) {
		c.put(mine[r.IntN(len(mine))], by)
	}
}

// reader reads all registers as an instance: now and then one many times, while
// it changes.
func (c *coherence) reader(ctx context.Context, r *rand.Rand, by int) {
	var ages []time.Duration
	for c.until(ctx, r, 500*time.Microsecond) {
		one := c.all[r.IntN(len(c.all))]
		for range 1 + r.IntN(10) {
			c.get(one, by, &ages)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ages = append(c.ages, ages...)
}

// lose makes redis lack what it has acknowledged, and waits until it has it again.
func (c *coherence) lose(ctx context.Context, lose func(), again func() bool) {
	c.lost.Store(-1)
	lose()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !again() {
		<-tick.C
	}
	if ctx.Err() == nil {
		c.lost.Store(int64(c.now()))
	}
}

func (c *coherence) tell() {
	c.t.Helper()
	slices.Sort(c.ages)
	at := func(part float64) time.Duration {
		if len(c.ages) == 0 {
			return 0
		}
		return c.ages[min(len(c.ages)-1, int(part*float64(len(c.ages))))]
	}
	c.t.Logf("%d writes, %d of them pending, %d failed; %d reads, %d refused, %d by copies, %d of them behind: by p50 %v, p99 %v, at most %v",
		c.writes.Load(), c.pending.Load(), c.failed.Load(), c.reads.Load(), c.refused.Load(), c.near.Load(), c.behind.Load(),
		at(0.5), at(0.99), at(1))
	if n := c.violations.Load(); n > 0 {
		c.t.Errorf("%d violations", n)
	}
	if !c.tested() {
		c.t.Error("nothing was tested")
	}
}

// tested reports whether enough was written and read to show something.
func (c *coherence) tested() bool { return c.near.Load() >= 100 && c.writes.Load() >= 100 }
