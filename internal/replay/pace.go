package replay

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// paceEvery is how often the rate is looked at.
	paceEvery = 50 * time.Millisecond
	// slack is by how much longer than at their quickest operations may take, on
	// average, before the rate goes down: those who wait for an answer of the same
	// server wait about as long.
	slack = 4 * time.Millisecond
	// slower and faster are the factors of a step, leastShare of the highest rate is
	// the lowest.
	slower, faster = 0.7, 1.2
	leastShare     = 0.01
	// forgetting lets a path that has become longer count as one after a while.
	forgetting = 1.005
)

// pace is the rate of a replay: up to a highest one, as long as the server answers
// quickly. What waits has been acknowledged, callers have not.
type pace struct {
	limit *rate.Limiter
	most  rate.Limit

	mu    sync.Mutex
	since time.Time     // guarded by mu: of the last look
	sum   time.Duration // guarded by mu: since then
	n     int           // guarded by mu
	best  time.Duration // guarded by mu: the lowest average, lately; 0: there was none
}

func newPace(most int) *pace {
	return &pace{limit: rate.NewLimiter(rate.Limit(most), max(runMessages, int(float64(most)*burst))), most: rate.Limit(most)}
}

// wait waits until n messages or values may be sent.
func (p *pace) wait(ctx context.Context, n int) error {
	return p.limit.WaitN(ctx, max(1, min(n, p.limit.Burst())))
}

// took notes how long an operation took.
func (p *pace) took(d time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum, p.n = p.sum+d, p.n+1
	if now.Sub(p.since) < paceEvery {
		return
	}
	mean := p.sum / time.Duration(p.n)
	p.since, p.sum, p.n = now, 0, 0
	p.best = time.Duration(float64(p.best) * forgetting)
	if p.best == 0 || mean < p.best {
		p.best = mean
	}
	step := rate.Limit(faster)
	if mean > p.best+slack {
		step = slower
	}
	p.limit.SetLimit(min(p.most, max(leastShare*p.most, step*p.limit.Limit())))
}
