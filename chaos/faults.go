package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackcache/jackcache/internal/redistest"
)

// fault is something that happens. Do injects it, holds it and ends it; what it
// left is healed afterwards.
type fault struct {
	name string
	in   []string // scenarios; none means all
	do   func(*injection) error
}

// diskFull is a fault with consequences for what is promised: see run.alone.
const diskFull = "disk-full"

// injection is one time that a fault happens.
type injection struct {
	ctx     context.Context // ends with the run
	rng     *rand.Rand
	servers *servers
	fleet   *fleet
	longest time.Duration // of a freeze
}

var (
	replicated = []string{sentinel, cluster}
	keeping    = []string{standaloneAOF, sentinel, cluster}
	faults     = []fault{
		{name: "redis-kill", in: keeping, do: (*injection).killRedis},
		{name: "redis-empty", do: (*injection).emptyRedis},
		{name: "freeze", do: (*injection).freezeRedis},
		{name: "cut", do: (*injection).cut},
		{name: "partition", do: (*injection).partition},
		{name: "latency", do: (*injection).slow},
		{name: "failover", in: replicated, do: (*injection).failover},
		{name: "lagging", in: replicated, do: (*injection).promoteLagging},
		{name: "flushall", do: (*injection).flush},
		{name: diskFull, do: (*injection).fillDisk},
		{name: "jackcache-kill", do: (*injection).killInstance},
		{name: "jackcache-kill-down", do: (*injection).killInstanceDown},
		{name: "clock", do: (*injection).clock},
	}
)

// hold waits, or until the run ends.
func (in *injection) hold(d time.Duration) {
	select {
	case <-time.After(d):
	case <-in.ctx.Done():
	}
}

func (in *injection) holdBetween(low, high time.Duration) { in.hold(between(in.rng, low, high)) }

// master picks one of those that serve.
func (in *injection) master() (*redistest.Server, error) {
	masters := in.servers.masters()
	if len(masters) == 0 {
		return nil, errors.New("there is no master")
	}
	return masters[in.rng.IntN(len(masters))], nil
}

// killRedis kills a master. Alone it comes back with its data; with replicas one
// of them takes its place, and it comes back as a replica.
func (in *injection) killRedis() error {
	one, err := in.master()
	if err != nil {
		return err
	}
	one.Kill()
	if in.servers.one != nil {
		in.holdBetween(10*time.Millisecond, 2*time.Second)
	} else {
		in.holdBetween(1500*time.Millisecond, 4*time.Second)
	}
	return one.Restart()
}

// emptyRedis kills a master and brings it back without its data. With replicas
// that is so quick that nobody takes its place, and they become empty, too.
func (in *injection) emptyRedis() error {
	one, err := in.master()
	if err != nil {
		return err
	}
	return in.servers.empty(one, func() {
		if in.servers.one != nil {
			in.holdBetween(5*time.Millisecond, time.Second)
		}
	})
}

// freezeRedis stops a master where it is. For longer than others tolerate, one
// takes its place, and both hold themselves for the master for a while.
func (in *injection) freezeRedis() error {
	one, err := in.master()
	if err != nil {
		return err
	}
	one.Freeze()
	defer one.Thaw()
	in.holdBetween(5*time.Millisecond, in.longest)
	return nil
}

// cut closes all connections, several times.
func (in *injection) cut() error {
	for range 2 + in.rng.IntN(5) {
		for _, p := range in.servers.net.of(-1) {
			p.refuse()
			if err := p.accept(); err != nil {
				return err
			}
		}
		if in.servers.one == nil {
			// The processes reach these without a proxy.
			for _, one := range in.servers.masters() {
				for _, kind := range []string{"normal", "pubsub"} {
					_, _ = one.Do("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") // it may be down
				}
			}
		}
		in.holdBetween(10*time.Millisecond, 300*time.Millisecond)
	}
	return nil
}

// partition keeps one instance from Redis, while the others reach it. Where
// Redis tells its addresses itself, that is the library.
func (in *injection) partition() error {
	who := in.fleet.library()
	if in.servers.one != nil {
		who = in.rng.IntN(len(in.fleet.all))
	}
	ways := in.servers.net.of(who)
	for _, p := range ways {
		p.refuse()
	}
	in.holdBetween(50*time.Millisecond, 3*time.Second)
	var errs []error
	for _, p := range ways {
		errs = append(errs, p.accept())
	}
	return errors.Join(errs...)
}

// slow delays what goes through proxies.
func (in *injection) slow() error {
	millis := int(between(in.rng, 2*time.Millisecond, 80*time.Millisecond).Milliseconds())
	who := in.rng.IntN(len(in.fleet.all)+1) - 1 // less than 0: all
	if in.servers.one == nil {
		who = in.fleet.library()
	}
	ways := in.servers.net.of(who)
	for _, p := range ways {
		if err := p.delay(millis, millis/2); err != nil {
			return err
		}
	}
	in.holdBetween(300*time.Millisecond, 3*time.Second)
	for _, p := range ways {
		p.clear()
	}
	return nil
}

// failover makes a replica the master in order.
func (in *injection) failover() error {
	if in.servers.watched != nil {
		return in.servers.watched.Failover()
	}
	one, err := in.master()
	if err != nil {
		return err
	}
	replica := in.servers.shards.ReplicaOf(one)
	if replica == nil {
		return errors.New("the master has no replica")
	}
	return in.servers.shards.Failover(replica)
}

// promoteLagging kills a master while its replicas have not got its last writes.
// They are frozen and the master drops them, so that what it writes is in no
// socket for them to read when they go on.
func (in *injection) promoteLagging() error {
	one, err := in.master()
	if err != nil {
		return err
	}
	replicas := in.servers.replicas(one)
	for _, r := range replicas {
		r.Freeze()
	}
	_, err = one.Do("CLIENT", "KILL", "TYPE", "replica")
	in.holdBetween(50*time.Millisecond, 400*time.Millisecond)
	one.Kill()
	for _, r := range replicas {
		r.Thaw()
	}
	if err != nil {
		return err
	}
	in.holdBetween(1500*time.Millisecond, 3*time.Second)
	return one.Restart()
}

// flush empties Redis by command, as somebody does by mistake. No connection ends
// by that, so it takes the next heartbeat to notice.
func (in *injection) flush() error {
	for _, one := range in.servers.masters() {
		if _, err := one.Do("FLUSHALL"); err != nil {
			return err
		}
	}
	in.holdBetween(600*time.Millisecond, 1500*time.Millisecond)
	return nil
}

// fillDisk leaves one instance without room for its journal: first while Redis
// answers, then while it does not.
func (in *injection) fillDisk() error {
	d := in.fleet.disk
	if d == nil {
		return errNotHere
	}
	if err := d.fill(); err != nil {
		return err
	}
	in.holdBetween(200*time.Millisecond, time.Second)
	masters := in.servers.masters()
	for _, one := range masters {
		one.Freeze()
	}
	in.holdBetween(200*time.Millisecond, 2*time.Second)
	for _, one := range masters {
		one.Thaw()
	}
	in.holdBetween(10*time.Millisecond, 500*time.Millisecond)
	return d.free()
}

// killInstance kills a process and starts it again.
func (in *injection) killInstance() error {
	p := in.process()
	p.kill()
	in.holdBetween(5*time.Millisecond, time.Second)
	return p.start()
}

// killInstanceDown does so while Redis is away.
func (in *injection) killInstanceDown() error {
	masters := in.servers.masters()
	for _, one := range masters {
		one.Freeze()
	}
	defer func() {
		for _, one := range masters {
			one.Thaw()
		}
	}()
	in.holdBetween(50*time.Millisecond, 800*time.Millisecond)
	p := in.process()
	p.kill()
	in.holdBetween(5*time.Millisecond, 300*time.Millisecond)
	err := p.start()
	in.holdBetween(50*time.Millisecond, 800*time.Millisecond)
	return err
}

func (in *injection) process() instance {
	return in.fleet.all[in.rng.IntN(in.fleet.library())]
}

// clock makes the clock of the library jump, and go on from there.
func (in *injection) clock() error {
	d := between(in.rng, 5*time.Millisecond, 5*time.Second)
	if in.rng.IntN(2) == 0 {
		d = -d
	}
	in.fleet.lib.offset.Store(int64(d))
	in.holdBetween(200*time.Millisecond, 2*time.Second)
	return nil
}

// errNotHere means that a fault cannot be injected on this machine.
var errNotHere = errors.New("not possible on this machine")
