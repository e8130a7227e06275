package migrate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackcache/jackcache"
)

const (
	firstPause = 10 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// patience waits for a store that is away. It is shared by all entries: once
// the store has been away for too long, each tries once and fails, so that a
// long input comes to its end.
type patience struct {
	limit time.Duration

	mu    sync.Mutex
	since time.Time // guarded by mu: of the first failure after the last success; zero: none
}

func newPatience(limit time.Duration) *patience { return &patience{limit: limit} }

// do calls fn until it succeeds, fails for another reason than an absent store,
// or the store has been away for too long. What fn does can be repeated.
func (p *patience) do(ctx context.Context, fn func() error) error {
	for next := firstPause; ; next = min(2*next, longPause) {
		err := fn()
		if !errors.Is(err, jackcache.ErrUnavailable) && !errors.Is(err, jackcache.ErrUnknown) {
			p.answered()
			return err
		}
		if !p.wait(ctx, next) {
			return err
		}
	}
}

func (p *patience) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Time{}
}

func (p *patience) wait(ctx context.Context, next time.Duration) bool {
	p.mu.Lock()
	now := time.Now()
	if p.since.IsZero() {
		p.since = now
	}
	left := p.limit - now.Sub(p.since)
	p.mu.Unlock()
	if left <= 0 {
		return false
	}
	return pause(ctx, min(next, left)) == nil
}
