package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
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
	// firstTime is how long a store that is opened goes on asking a server that is
	// slow: on a busy machine many connections are made at once, each with TLS.
	firstTime = time.Second
	// relinkAfter is how long a server may say that it is a replica before the
	// connection is made anew: its name may lead elsewhere by now.
	relinkAfter = time.Second
	// tellAfter the begin of an outage it is told what probes say, and then again
	// every tellEvery: it may be another reason than that which began it.
	tellAfter = 2 * time.Second
	tellEvery = time.Minute
	// mostGivenUp is how many commands may wait for an answer that nobody wants:
	// with those that are waited for they must not fill the ring, or callers
	// would wait for a place in it whatever their deadline.
	mostGivenUp = 1<<ringScale - maxInFlight - 1<<10
	maxInFlight = 4096
	// probeTTL is the life of the key that a probe writes.
	probeTTL = 10 * time.Second
)

// node is one master and the guard in front of it.
type node struct {
	s       *Store
	addr    string
	breaker *breaker.Breaker
	slots   *semaphore.Weighted // commands that wait for an answer
	size    int64               // of slots
	waiting atomic.Int64
	// givenUp counts commands whose callers left since the node last answered.
	// Each still has a place in the client's ring.
	givenUp atomic.Int64
	probe   atomic.Pointer[string] // the key that a probe writes
	facts   facts
	logger  *slog.Logger
	trips   trips
	doubt   doubt
	pulse   pulse
	hearing hearing
	first   bool                   // nobody could call before it is looked at for the first time
	stream  atomic.Pointer[string] // of writes, as the last look gave it; nil: there was none

	link atomic.Pointer[link]
	// parted says why the prober is to make the connections anew; nil: it is not.
	// partedAt, when that was asked for last, belongs to the goroutine that attends.
	parted   atomic.Pointer[string]
	partedAt time.Time
	life     context.Context // ends with the node
	end      context.CancelFunc

	mu     sync.Mutex     // held where done and jobs grow and closed is set
	closed atomic.Bool    // written with mu held
	done   sync.WaitGroup // watch, monitor, attend and listen
	jobs   sync.WaitGroup // commands of jobs

	reconnects atomic.Int64
}

// newNode connects to a server. Its breaker is open until probes succeed.
func (s *Store) newNode(addr string) (*node, error) {
	n := &node{
		s: s, addr: addr, breaker: breaker.New(openAfter, closeAfter, nil, "not connected yet"),
		slots: semaphore.NewWeighted(int64(s.opts.InFlight)), size: int64(s.opts.InFlight),
		logger: s.opts.Logger,
	}
	n.life, n.end = context.WithCancel(context.Background())
	n.trips.observer, n.trips.addr = s.trips, addr
	n.hearing.begin()
	n.doubt.shaken = n.shake
	n.doubt.begin()
	n.first = !s.started.Load()
	n.setProbe(nil)
	l, err := s.newLink(addr, n)
	if err != nil {
		return nil, err
	}
	n.link.Store(l)
	return n, nil
}

// start begins to probe and to watch over the node.
func (n *node) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed.Load() {
		return
	}
	if n.s.opts.Witness != nil {
		n.done.Add(1)
		go func() { defer n.done.Done(); n.attend() }()
	}
	if n.s.opts.Listener != nil {
		n.done.Add(1)
		go func() { defer n.done.Done(); n.listen() }()
	}
	n.done.Add(2)
	go func() { defer n.done.Done(); n.watch() }()
	go func() { defer n.done.Done(); n.monitor() }()
}

// call is a command for a node, by the name under which it is observed.
type call struct {
	name     string
	commands int64
}

// do sends commands to the node if it is worth asking, and tells the breaker
// what came of it. The error is f's own, for classify.
func (n *node) do(ctx context.Context, c call, f func(*link) error) error {
	if n.closed.Load() {
		return errClosed
	}
	if !n.breaker.Allow() {
		return n.s.refused()
	}
	c.commands = min(c.commands, n.size)
	if !n.slots.TryAcquire(c.commands) {
		if err := n.slots.Acquire(ctx, c.commands); err != nil {
			return errShed
		}
	}
	n.waiting.Add(c.commands)
	defer func() {
		n.waiting.Add(-c.commands)
		n.slots.Release(c.commands)
	}()
	span, start := n.trips.begin(ctx, c), time.Now()
	err := f(n.link.Load())
	n.trips.end(ctx, span, c, start, err)
	n.learn(c, err, err == nil || time.Since(start) >= n.s.opts.Timeout/2)
	return err
}

// learn tells the breaker what came of a call; patient is for judge.
func (n *node) learn(c call, err error, patient bool) {
	n.heed(err)
	switch judge(err, patient) {
	case fine:
		n.breaker.Success()
		if n.givenUp.Load() != 0 {
			n.givenUp.Store(0)
		}
		return
	case failing:
		n.breaker.Failure(err.Error())
	case neutral:
	}
	if n.givenUp.Add(c.commands) > mostGivenUp {
		n.givenUp.Store(0)
		n.breaker.Trip("too many callers left before it answered")
	}
}

// job is do for long jobs: they have their own connection and do not count for
// the breaker.
func (n *node) job(f func(*link) error) error {
	if !n.breaker.Allow() {
		return n.s.refused()
	}
	n.mu.Lock()
	if n.closed.Load() {
		n.mu.Unlock()
		return errClosed
	}
	n.jobs.Add(1)
	n.mu.Unlock()
	defer n.jobs.Done()
	err := f(n.link.Load())
	n.heed(err)
	return err
}

// lost is called when a connection for calls ends.
func (n *node) lost(l *link) {
	if n.closed.Load() || n.link.Load() != l {
		return // it was let go of
	}
	n.reconnects.Add(1)
	n.s.reconnects.Add(1)
	n.doubt.happened("the connection was lost")
	n.breaker.Trip("the connection was lost")
}

// connected is called when a connection is made, before anything is sent on it:
// who is at its end may be another one than before.
func (n *node) connected() { n.doubt.happened("it was connected anew") }

// watch is the prober: while the breaker is open it alone asks the node, with a
// write, because a replica answers reads.
func (n *node) watch() {
	told := newOutages(n.logger, n.addr)
	for {
		if n.breaker.Allow() {
			select {
			case <-n.life.Done():
				return
			case <-told.calm.C:
				told.settle()
				continue
			case <-n.breaker.Opened():
				continue // it may have closed meanwhile
			}
		}
		_, since, reason, openings := n.breaker.Snapshot()
		n.doubt.stalled(reason) // before it can close
		if openings > 1 {
			told.begin(reason)
		}
		n.s.kick()
		if !n.probeUntilClosed() {
			return
		}
		n.doubt.nudge()
		if openings > 1 {
			told.end(since)
		}
	}
}

func (n *node) probeUntilClosed() bool {
	wait := probeEvery
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var replica time.Time // since when it says that it is one
	tell := time.Now().Add(tellAfter)
	for {
		select {
		case <-n.life.Done():
			return false
		case <-timer.C:
		}
		if reason := n.parted.Swap(nil); reason != nil {
			n.relink(*reason)
		}
		err := n.contact()
		if n.breaker.Probe(err) {
			return true
		}
		if err == nil {
			wait = probeEvery
		} else {
			wait = min(wait*3/2, probeAtMost)
		}
		if now := time.Now(); err != nil && now.After(tell) {
			n.logger.Warn("redis still does not serve", "addr", n.addr, "err", err)
			tell = now.Add(tellEvery)
		}
		if !isReadOnly(err) {
			replica = time.Time{}
		} else if now := time.Now(); replica.IsZero() {
			replica = now
		} else if now.Sub(replica) > relinkAfter {
			n.relink("what is there takes no writes")
			replica = now
		}
		timer.Reset(wait + rand.N(wait/4)) // instances do not probe in step
	}
}

// contact asks whether the node may serve, and then whether it can: what is not
// the right one gets no write.
func (n *node) contact() error {
	if err := n.s.admit(n); err != nil {
		return err
	}
	return n.probeOnce()
}

// probeOnce asks on every connection whether the node takes writes. A refusal
// for lack of memory or of a permission is an answer: reads work, and writes get
// the same refusal.
func (n *node) probeOnce() error {
	ctx, cancel := context.WithTimeout(n.life, probeTime)
	defer cancel()
	var probes []func() error
	for _, c := range n.link.Load().calls {
		probes = append(probes, func() error { return n.write(ctx, c) })
	}
	err := together(probes...)
	if isReadOnly(err) {
		return fmt.Errorf("it is a replica; connect to the master: %w", err)
	}
	if err != nil && !tolerable(err) {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

// write writes the key of probes.
func (n *node) write(ctx context.Context, c rueidis.Client) error {
	return c.Do(ctx, c.B().Set().Key(*n.probe.Load()).Value("1").Px(probeTTL).Build()).Error()
}

// setProbe chooses a key for probes, in a Cluster one whose slot the node has
// by l.
func (n *node) setProbe(l *layout) {
	instance := n.s.opts.Clock.Node()
	key := n.s.opts.Space.Probe(instance)
	if l != nil && l.serves(n) {
		for salt := 0; l.node(key) != n && salt < 64*slotCount; salt++ {
			key = n.s.opts.Space.SlotProbe(instance, salt)
		}
	}
	n.probe.Store(&key)
}

// retire lets go of a node that is not a master any more, once the calls under
// way have ended.
func (n *node) retire() {
	n.end()
	n.s.background(func() { _ = n.close(context.Background()) })
}

// close waits for the commands under way until ctx ends, then disconnects.
func (n *node) close(ctx context.Context) error {
	n.mu.Lock()
	n.closed.Store(true)
	n.mu.Unlock()
	n.end()
	err := n.slots.Acquire(ctx, n.size)
	if err == nil {
		defer n.slots.Release(n.size)
	} else {
		err = fmt.Errorf("%d commands still wait for redis %s: %w", n.waiting.Load(), n.addr, err)
	}
	ended := make(chan struct{})
	go func() { // a server that hangs may keep close waiting
		defer close(ended)
		// A client that is closed while it dials keeps the connection.
		n.done.Wait()
		n.jobs.Wait()
		n.link.Load().close()
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}
