package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"
)

const (
	// crashCallers write at a time, as fast as they get answers.
	crashCallers = 16
	// crashChecked is how many keys are read after each kill, besides those that
	// were written last. All are read at the end.
	crashChecked = 50
)

// crashes is one process that is killed again and again while Redis is away.
type crashes struct {
	plan
	ledger  *ledger
	process *process
	rng     *rand.Rand

	mu     sync.Mutex
	broken []violation // guarded by mu
	counts [len(outcomes)]int
}

// crash kills jackcache so many times while Redis is away. Whatever it had
// acknowledged must be there at each start, and in Redis at the end.
func crash(ctx context.Context, p plan, times int) (broken bool, err error) {
	servers, err := launchServers(standalone, filepath.Join(p.dir, "redis"))
	if err != nil {
		return false, err
	}
	defer servers.close()
	env, err := servers.env(0)
	if err != nil {
		return false, err
	}
	own := filepath.Join(p.dir, "instance0")
	c := &crashes{plan: p, ledger: &ledger{began: time.Now()}, rng: random(p.seed, forCrashes, 0)}
	if c.process, err = newProcess(p.binary, own, filepath.Join(own, "data"), append(env, sabotageEnv(p.sabotage)...)); err != nil {
		return false, err
	}
	defer c.process.close()
	// It has met its Redis once; from then on there is none.
	if err := c.process.start(); err != nil {
		return false, err
	}
	f := &fleet{all: []instance{c.process}}
	if _, err := f.waitHealthy(ctx, p.recovery); err != nil {
		return false, err
	}
	servers.one.Kill()
	if err := c.repeat(ctx, times); err != nil {
		return false, err
	}
	if err := servers.one.Restart(); err != nil {
		return false, err
	}
	since, err := f.waitHealthy(ctx, p.recovery)
	if err != nil {
		fmt.Fprintf(p.progress, "note: not healthy at the end: %v\n", err)
	} else {
		c.ledger.isHealthy(since)
	}
	c.verify(ctx, c.ledger.all())
	return c.tell(times), nil
}

func (c *crashes) repeat(ctx context.Context, times int) error {
	for n := range times {
		keys := c.round(ctx, between(c.rng, 2*time.Millisecond, 300*time.Millisecond))
		if err := c.process.start(); err != nil {
			return fmt.Errorf("start %d: %w", n+1, err)
		}
		all := c.ledger.all()
		for range min(crashChecked, len(all)) {
			keys = append(keys, all[c.rng.IntN(len(all))])
		}
		c.verify(ctx, keys)
		if n%20 == 19 {
			fmt.Fprintf(c.progress, "%8s  killed %d times, %d writes acknowledged, %d keys\n",
				time.Since(c.ledger.began).Round(time.Second), n+1, c.counts[pending]+c.counts[shared], len(all))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// round writes until the process is killed, and returns what was written to.
func (c *crashes) round(ctx context.Context, lives time.Duration) []*key {
	var callers sync.WaitGroup
	done := make(chan struct{})
	keys := make([]*key, 0, 2*crashCallers)
	for n := range crashCallers {
		talk, value := c.ledger.add(conversation, "crash", 0), c.ledger.add(agentConfig, "crash", 0)
		keys = append(keys, talk, value)
		callers.Go(func() { c.caller(ctx, n, talk, value, done) })
	}
	time.Sleep(lives)
	c.process.kill()
	close(done)
	callers.Wait()
	return keys
}

// caller appends and sets, one after the other, until the process is gone.
func (c *crashes) caller(ctx context.Context, n int, talk, value *key, done <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		k, o := talk, op{verb: appends, count: 1 + uint8(i%3)}
		if i%4 == 3 {
			k, o = value, op{verb: sets}
		}
		o.first = k.next(max(1, int(o.count)))
		if o.first > window-10 {
			return // it would fall out
		}
		o.client, o.life, o.start = uint16(n), c.process.life(), c.ledger.now()
		var err error
		o.outcome, err = c.process.write(ctx, k, o)
		o.end = c.ledger.now()
		k.add(o)
		c.mu.Lock()
		c.counts[o.outcome]++
		c.mu.Unlock()
		if err != nil {
			fmt.Fprintf(c.progress, "odd answer: %v: %v\n", o, err)
		}
	}
}

// verify reads keys through the process and checks them.
func (c *crashes) verify(ctx context.Context, keys []*key) {
	ch := checker{healthy: c.ledger.moments()}
	each(keys, func(k *key) {
		if found := ch.check(k, []seen{c.read(ctx, k)}); len(found) > 0 {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.broken = append(c.broken, found...)
		}
	})
}

// read reads a key. Of one about which nothing was acknowledged the process may
// know nothing, and say so.
func (c *crashes) read(ctx context.Context, k *key) seen {
	deadline := time.Now().Add(answerTime)
	for {
		s := c.process.read(ctx, k, 0)
		if !s.refused {
			return s
		}
		known := false
		for _, o := range k.snapshot() {
			known = known || o.outcome.acknowledged()
		}
		if !known {
			return seen{}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return s
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var errNothingAcknowledged = errors.New("nothing was acknowledged while Redis was away")

// tell writes the verdict.
func (c *crashes) tell(times int) (broken bool) {
	var sum [breaches]int
	for i, v := range c.broken {
		sum[v.breach] += v.count
		if i < listed {
			fmt.Fprintf(c.progress, "  %s: %v: %s\n", breachNames[v.breach], v.key, v.detail)
			for _, o := range v.ops {
				fmt.Fprintln(c.progress, "      "+o.String())
			}
		}
	}
	fmt.Fprintf(c.progress, "killed %d times with Redis away, seed %d: acknowledged %d as pending and %d as shared, refused %d, unknown %d; lost %d, duplicated %d, diverged %d, other %d\n",
		times, c.seed, c.counts[pending], c.counts[shared], c.counts[refused], c.counts[unknown],
		sum[lost], sum[duplicated], sum[diverged], sum[resurrected]+sum[invented]+sum[unreadable])
	if c.counts[pending] == 0 {
		fmt.Fprintln(c.progress, errNothingAcknowledged)
		return true
	}
	return len(c.broken) > 0
}
