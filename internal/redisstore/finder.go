package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// newFinder returns what finds the masters; nil where the one address is the
// master.
func (s *Store) newFinder() (finder, error) {
	switch {
	case s.opts.Mode == Cluster:
		return &clusterFinder{asker: s.newAsker(s.opts.Access), seeds: s.opts.Addrs}, nil
	case s.opts.Mode == Sentinel:
		return &sentinelFinder{asker: s.newAsker(s.opts.Sentinels), addrs: s.opts.Addrs, master: s.opts.Master}, nil
	case s.opts.Mode == Standalone && len(s.opts.Addrs) == 1:
		return nil, nil
	case s.opts.Mode == Standalone:
		return &roleFinder{asker: s.newAsker(s.opts.Access), addrs: s.opts.Addrs}, nil
	}
	return nil, fmt.Errorf("mode %q of redis: allowed are %s, %s, %s", s.opts.Mode, Standalone, Sentinel, Cluster)
}

// asker asks servers about the deployment, several at a time, on connections of
// its own.
type asker struct {
	s      *Store
	access Access

	mu      sync.Mutex
	clients map[string]rueidis.Client // guarded by mu
}

func (s *Store) newAsker(a Access) *asker {
	return &asker{s: s, access: a, clients: make(map[string]rueidis.Client)}
}

func (a *asker) client(addr string) (rueidis.Client, error) {
	a.mu.Lock()
	c := a.clients[addr]
	a.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := a.s.connect(server{addr: addr, access: a.access, ring: askRingScale, read: askBuffer, write: askBuffer})
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if other := a.clients[addr]; other != nil {
		a.s.background(c.Close)
		return other, nil
	}
	a.clients[addr] = c
	return c, nil
}

func (a *asker) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.clients {
		c.Close()
	}
	clear(a.clients)
}

// keep closes connections to servers that are not asked any more.
func (a *asker) keep(addrs map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr, c := range a.clients {
		if !addrs[addr] {
			delete(a.clients, addr)
			a.s.background(c.Close)
		}
	}
}

// askAll puts a question to several servers at once and returns the answers
// that came, by address; an error only if there is none.
func askAll[T any](ctx context.Context, a *asker, addrs []string, question func(ctx context.Context, addr string, c rueidis.Client) (T, error)) (map[string]T, error) {
	var (
		mu      sync.Mutex
		answers = make(map[string]T)
		errs    []error
		asking  sync.WaitGroup
	)
	for _, addr := range addrs {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			answer, err := func() (t T, err error) {
				c, err := a.client(addr)
				if err != nil {
					return t, err
				}
				return question(ctx, addr, c)
			}()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", addr, err))
				return
			}
			answers[addr] = answer
		})
	}
	asking.Wait()
	if len(answers) == 0 {
		return nil, errors.Join(errs...)
	}
	return answers, nil
}

// sentinelFinder asks Sentinels.
//
// See https://redis.io/docs/latest/develop/reference/sentinel-clients/
type sentinelFinder struct {
	*asker
	addrs  []string
	master string
	latest sentinelAnswer // the one with the highest epoch that was believed
	seen   time.Time      // when it was given last
}

type sentinelAnswer struct {
	addr  string
	epoch int64
}

// find believes the Sentinel that knows the latest failover. The one that leads
// a failover names the new master as soon as it is one; its own record of the
// master still has the old address then.
func (f *sentinelFinder) find(ctx context.Context, known []string) (found, error) {
	answers, err := askAll(ctx, f.asker, f.addrs, func(ctx context.Context, _ string, c rueidis.Client) (a sentinelAnswer, err error) {
		rs := c.DoMulti(ctx,
			c.B().SentinelGetMasterAddrByName().Master(f.master).Build(),
			c.B().Arbitrary("SENTINEL", "MASTER").Args(f.master).Build())
		addr, err := rs[0].AsStrSlice()
		if rueidis.IsRedisNil(err) || err == nil && len(addr) != 2 {
			return a, errors.New("it does not know the name")
		}
		if err != nil {
			return a, err
		}
		a.addr = net.JoinHostPort(addr[0], addr[1])
		if m, err := rs[1].AsStrMap(); err == nil { // without it all are believed alike
			a.epoch = number(m["config-epoch"])
		}
		return a, nil
	})
	if err != nil {
		return found{}, fmt.Errorf("no Sentinel knows the master %q: %w", f.master, err)
	}
	best := f.best(answers, known)
	switch {
	case best.epoch >= f.latest.epoch:
		f.latest, f.seen = best, time.Now()
	case time.Since(f.seen) < staleFor:
		best = f.latest // who knows more was late
	default: // they were set up anew
		f.latest, f.seen = best, time.Now()
	}
	return found{masters: []string{best.addr}}, nil
}

// best returns the answer with the highest epoch. Sentinels may name one server
// differently: then the name in use is kept, else the first in order.
func (f *sentinelFinder) best(answers map[string]sentinelAnswer, known []string) sentinelAnswer {
	var all []sentinelAnswer
	for _, a := range answers {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b sentinelAnswer) int {
		return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(a.addr, b.addr))
	})
	for _, a := range all {
		if a.epoch == all[0].epoch && slices.Contains(known, a.addr) {
			return a
		}
	}
	return all[0]
}

// staleFor is how long answers with a lower epoch than was seen are not believed.
const staleFor = 10 * time.Second

// roleFinder asks all servers who is master.
type roleFinder struct {
	*asker
	addrs []string
}

type roleAnswer struct {
	master bool
	// offset in the stream of replication: of two that say that they are master
	// the one that went on is believed.
	offset int64
}

func (f *roleFinder) find(ctx context.Context, known []string) (found, error) {
	answers, err := askAll(ctx, f.asker, f.addrs, func(ctx context.Context, _ string, c rueidis.Client) (roleAnswer, error) {
		info, err := c.Do(ctx, c.B().Info().Section("replication").Build()).ToString()
		if err != nil {
			return roleAnswer{}, err
		}
		m := parseInfo(info)
		return roleAnswer{master: m["role"] == "master", offset: number(m["master_repl_offset"])}, nil
	})
	if err != nil {
		return found{}, fmt.Errorf("no server answers: %w", err)
	}
	best := ""
	for _, addr := range slices.Sorted(maps.Keys(answers)) {
		a := answers[addr]
		switch {
		case !a.master:
		case best == "", a.offset > answers[best].offset:
			best = addr
		case a.offset == answers[best].offset && len(known) == 1 && addr == known[0]:
			best = addr
		}
	}
	if best == "" {
		return found{}, fmt.Errorf("none of %d servers that answer is a master", len(answers))
	}
	return found{masters: []string{best}}, nil
}
