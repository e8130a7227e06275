package redisstore

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sync/semaphore"

	"github.com/jackcache/jackcache/internal/breaker"
)

const (
	// openAfter failures in a row the breaker opens: one may be chance, and each
	// costs a caller its budget.
	openAfter = 8
	// closeAfter successful probes in a row it closes.
	closeAfter = 3
	// probeEvery is the time between probes at first; it grows to probeAtMost.
	probeEvery  = 10 * time.Millisecond
	probeAtMost = 100 * time.Millisecond
	// probeTime bounds one probe. Only the prober waits that long: it includes a
	// connection that has to be made.
	probeTime = 250 * time.Millisecond
	// mostGivenUp is how many commands may wait for an answer that nobody wants:
	// with those that are waited for they must not fill the ring, or callers
	// would wait for a place in it whatever their deadline.
	mostGivenUp = 1<<ringScale - maxInFlight - 1<<10
	maxInFlight = 4096
	// probeTTL is the life of the key that a probe writes.
	probeTTL = 10 * time.Second
)

// node is one Redis server and the guard in front of it. Standalone there is
// one; in a cluster every master gets its own.
type node struct {
	addr    string
	client  rueidis.Client
	breaker *breaker.Breaker
	slots   *semaphore.Weighted // commands that wait for an answer
	size    int64               // of slots
	waiting atomic.Int64
	closed  atomic.Bool
	// givenUp counts commands whose callers left since the node last answered.
	// Each still has a place in the client's ring.
	givenUp atomic.Int64
	timeout time.Duration
	probe   string // the key that a probe writes
	logger  *slog.Logger

	reconnects atomic.Int64
}

// do sends commands to the node if it is worth asking, and tells the breaker
// what came of it. n is how many commands f sends. The error is f's own, for
// classify.
func (n *node) do(ctx context.Context, commands int64, f func() error) error {
	if n.closed.Load() {
		return errClosed
	}
	if !n.breaker.Allow() {
		return errOpen
	}
	if !n.slots.TryAcquire(commands) {
		if err := n.slots.Acquire(ctx, commands); err != nil {
			return errShed
		}
	}
	n.waiting.Add(commands)
	start := time.Now()
	err := f()
	n.waiting.Add(-commands)
	n.slots.Release(commands)
	switch judge(err, err == nil || time.Since(start) >= n.timeout/2) {
	case fine:
		n.breaker.Success()
		if n.givenUp.Load() != 0 {
			n.givenUp.Store(0)
		}
		return err
	case failing:
		n.breaker.Failure(err.Error())
	case neutral:
	}
	if n.givenUp.Add(commands) > mostGivenUp {
		n.givenUp.Store(0)
		n.breaker.Trip("too many callers left before it answered")
	}
	return err
}

// lost is called when a connection of the client ends.
func (n *node) lost() {
	n.reconnects.Add(1)
	n.breaker.Trip("the connection was lost")
}

// watch is the prober: while the breaker is open it alone asks the node, with a
// write, because a replica answers reads.
func (n *node) watch(stop <-chan struct{}) {
	for {
		if n.breaker.Allow() {
			select {
			case <-stop:
				return
			case <-n.breaker.Opened():
				continue // it may have closed meanwhile
			}
		}
		_, _, reason, _ := n.breaker.Snapshot()
		n.logger.Warn("redis does not answer; calls are refused until it does", "addr", n.addr, "reason", reason)
		start := time.Now()
		if !n.probeUntilClosed(stop) {
			return
		}
		n.logger.Info("redis answers again", "addr", n.addr, "after", time.Since(start).Round(time.Millisecond).String())
	}
}

func (n *node) probeUntilClosed(stop <-chan struct{}) bool {
	wait := probeEvery
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return false
		case <-timer.C:
		}
		err := n.probeOnce()
		if n.breaker.Probe(err) {
			return true
		}
		if err == nil {
			wait = probeEvery
		} else {
			wait = min(wait*3/2, probeAtMost)
		}
		timer.Reset(wait + rand.N(wait/4)) // instances do not probe in step
	}
}

// probeOnce asks whether the node takes writes. A refusal for lack of memory
// or of a permission is an answer: reads work, and writes get the same refusal.
func (n *node) probeOnce() error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	err := n.client.Do(ctx, n.client.B().Set().Key(n.probe).Value("1").Px(probeTTL).Build()).Error()
	if judge(err, true) == failing {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}
