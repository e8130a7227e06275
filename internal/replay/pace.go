package replay

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

const (
	// slowest is the rate below which a replay is not slowed down, in operations a
	// second, where it is not bounded to less: it has to come to an end.
	slowest = 2_500
	// underWay is how many operations the store has before it at a time: those who
	// wait for an answer of it wait behind them. Each counts no longer than it takes to
	// do it at the slowest rate: what is not answered keeps nobody waiting.
	underWay = 64

	// period is how often the rate is changed: it grows by faster, in operations a
	// second, as long as it is used up, and shrinks to the share of slower where one
	// in tolerated calls took longer than late.
	period    = 100 * time.Millisecond
	late      = 5 * time.Millisecond
	tolerated = 10
	faster    = 500
	slower    = 0.75
)

// pace makes a replay go as fast as those who are served meanwhile do not feel: calls
// of the store and of the journal that take long say that they do. Safe for concurrent
// use.
type pace struct {
	bound   *rate.Limiter // of all that is sent
	adapted *rate.Limiter // of operations
	room    *semaphore.Weighted
	least   rate.Limit
	counts  time.Duration // how long an operation that is not done counts as under way
	// bulk is held by who reads many records: one at a time leaves the other
	// processors to those who are served.
	bulk sync.Mutex

	mu             sync.Mutex
	since          time.Time // guarded by mu: when the rate was looked at
	done           int       // guarded by mu: operations since then
	store, journal calls     // guarded by mu: since then
}

// calls are how many there were, and how many of them took long.
type calls struct{ all, late int }

func (c *calls) add(took time.Duration) {
	c.all++
	if took > late {
		c.late++
	}
}

func (c *calls) slow() bool { return c.late*tolerated > c.all }

// newPace returns a pace that begins slowly, and never exceeds most operations a
// second.
func newPace(most int) *pace {
	least := rate.Limit(min(most, slowest))
	return &pace{
		bound: rate.NewLimiter(rate.Limit(most), underWay), adapted: rate.NewLimiter(least, underWay),
		room: semaphore.NewWeighted(underWay), least: least,
		counts: underWay * time.Second / time.Duration(least),
	}
}

// operations calls f, which applies n operations, when it is time to.
func (p *pace) operations(ctx context.Context, n int, f func() error) error {
	n = max(1, min(n, underWay))
	if err := p.room.Acquire(ctx, int64(n)); err != nil {
		return err
	}
	free := func() { p.room.Release(int64(n)) }
	for _, limit := range []*rate.Limiter{p.adapted, p.bound} {
		if err := limit.WaitN(ctx, n); err != nil {
			free()
			return err
		}
	}
	start := time.Now()
	hung := time.AfterFunc(p.counts, free)
	err := f()
	if hung.Stop() {
		free()
	}
	done := n
	if err != nil {
		done = 0 // what is refused at once does not say that more can be taken
	}
	p.note(&p.store, done, time.Since(start))
	return err
}

// question waits until something may be sent that costs the store next to nothing,
// and for which operations wait.
func (p *pace) question(ctx context.Context) error { return p.bound.Wait(ctx) }

// recorded notes how long the journal took.
func (p *pace) recorded(took time.Duration) { p.note(&p.journal, 0, took) }

// note notes a call by which n operations were done, and changes the rate when it is
// time to.
func (p *pace) note(c *calls, n int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.add(took)
	p.done += n
	now := time.Now()
	over := now.Sub(p.since)
	if over < period {
		return
	}
	switch limit := p.adapted.Limit(); {
	case p.store.slow() || p.journal.slow():
		p.adapted.SetLimit(max(limit*slower, p.least))
	case float64(p.done) >= float64(limit)*over.Seconds()*slower:
		p.adapted.SetLimit(min(limit+faster, p.bound.Limit()))
	}
	p.since, p.done, p.store, p.journal = now, 0, calls{}, calls{}
}

// piece calls f, which takes some time of a processor, when nobody else has one to do,
// and lets others go before the next one.
func (p *pace) piece(f func() error) error {
	p.bulk.Lock()
	defer p.bulk.Unlock()
	defer runtime.Gosched()
	return f()
}
