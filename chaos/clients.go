package main

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// readShare is the share of calls that read.
const readShare = 0.2

// The most that is done to one key, so that reads at the end stay short and the
// check of a key, which compares its writes with each other, stays quick.
const (
	fullConversation = 200 // messages
	fullMixed        = 80  // writes
	fullValue        = 80  // writes
	fullOrg          = 150 // writes
)

// client makes one call after the other, each of which it meant to make at a
// fixed time. Its writes are a chain: each begins when the one before has ended.
type client struct {
	r    *run
	n    int
	home int // the instance that it calls
	rng  *rand.Rand
	step func() // of its role

	intended time.Time // of the present call
	again    *retry    // what to send again
}

// retry is an append without an acknowledgement.
type retry struct {
	k *key
	o op
}

// roles are what clients do, in the shares in which they come.
var roles = []func(*client) func(){
	owner, sharer, owner, valueOwner, owner, mixer, owner, valueSharer,
	owner, sharer, owner, valueOwner, owner, mixer, eraser, owner,
}

func newClient(r *run, n int) *client {
	c := &client{r: r, n: n, rng: random(r.seed, forClients, n)}
	// Each role is there on most instances. The library gets twice the share of a
	// process: its calls cost the machine less.
	c.home = min((n/len(roles)+n)%(len(r.fleet.all)+1), r.fleet.library())
	c.step = roles[n%len(roles)](c)
	return c
}

func (c *client) run(first time.Time, interval time.Duration) {
	pace(c.r.done, first, interval, func(intended time.Time) {
		c.intended = intended
		c.step()
	})
}

// write makes a call, counts it and notes it at every key that it is about.
func (c *client) write(instance int, about []*key, o op) op {
	one := c.r.fleet.all[instance]
	cell := c.r.meter.current.Load()
	o.client, o.instance, o.life = uint16(c.n), uint8(instance), one.life()
	o.start = c.r.ledger.now()
	var err error
	o.outcome, err = one.write(c.r.calls, about[0], o)
	o.end = c.r.ledger.now()
	at := c.r.meter.cell(cell)
	at.calls.add(time.Since(c.intended))
	at.writes[o.outcome].Add(1)
	if o.outcome.acknowledged() && c.r.alone(about[0], instance, cell) {
		o.outcome = unknown // for the checker
	}
	for _, k := range about {
		k.add(o)
	}
	c.r.note(about[0], o, err)
	return o
}

// alone tells whether an acknowledged write may have a single copy: what can be
// had again from where it comes from is stored without a second one while the
// instance has no disk.
func (r *run) alone(k *key, instance int, cellAtStart int32) bool {
	return k.form == agentConfig && r.fleet.disk != nil && instance == 0 && r.meter.cell(cellAtStart).name == diskFull
}

// read makes a call, counts it and checks what the instance shows against what
// it has acknowledged.
func (c *client) read(k *key, last int, check func(ch checker, ops []op, s seen, begun instant, life uint16) []violation) {
	one := c.r.fleet.all[c.home]
	cell, life, begun := c.r.meter.current.Load(), one.life(), c.r.ledger.now()
	s := one.read(c.r.calls, k, last)
	s.instance = c.home
	at := c.r.meter.cell(cell)
	at.calls.add(time.Since(c.intended))
	at.reads.Add(1)
	if s.refused {
		at.readsRefused.Add(1)
		return
	}
	if one.life() != life {
		return
	}
	ch := checker{healthy: c.r.ledger.moments()}
	c.r.report(k, check(ch, k.snapshot(), s, begun, life))
}

func (c *client) readMessages(k *key, last int) {
	c.read(k, last, func(ch checker, ops []op, s seen, begun instant, life uint16) []violation {
		return ch.reading(ops, s, begun, life, last)
	})
}

func (c *client) readOwnValue(k *key) {
	c.read(k, 0, func(ch checker, ops []op, s seen, begun instant, life uint16) []violation {
		return ch.readingValue(ops, s, begun, life)
	})
}

func (c *client) chance(p float64) bool { return c.rng.Float64() < p }

// lastOf is how many messages a reader asks for, mostly few.
func (c *client) lastOf() int {
	if c.chance(0.1) {
		return 0
	}
	return 20
}

// append sends one to three new messages.
func (c *client) append(k *key, instance int) {
	n := 1 + c.rng.IntN(3)
	c.send(k, instance, op{verb: appends, first: k.next(n), count: uint8(n)})
}

func (c *client) send(k *key, instance int, o op) {
	o = c.write(instance, []*key{k}, o)
	if !o.outcome.acknowledged() && c.chance(0.5) {
		c.again = &retry{k, o}
	}
}

// repeat sends again what got no acknowledgement, as a webhook is delivered
// again: to the same instance, or where it may to another.
func (c *client) repeat(elsewhere float64) bool {
	if c.again == nil {
		return false
	}
	r := c.again
	c.again = nil
	instance := c.home
	if c.chance(elsewhere) {
		instance = c.rng.IntN(len(c.r.fleet.all))
	}
	c.send(r.k, instance, op{verb: r.o.verb, first: r.o.first, count: r.o.count})
	return true
}

// orgName spreads what clients share over a few organisations.
func (c *client) orgName() string { return "org-" + strconv.Itoa(c.n%8) }

// owner appends to conversations of its own.
func owner(c *client) func() {
	var open [4]*key
	return func() {
		i := c.rng.IntN(len(open))
		if open[i] == nil || open[i].last.Load() >= fullConversation {
			open[i] = c.r.ledger.add(conversation, c.orgName(), 0)
		}
		switch {
		case c.repeat(0.3):
		case c.chance(readShare):
			c.readMessages(open[i], c.lastOf())
		default:
			c.append(open[i], c.home)
		}
	}
}

// pool is keys that several clients write to.
type pool struct {
	form form
	full uint32

	mu   sync.Mutex
	keys [6]*key // guarded by mu
}

func (p *pool) pick(c *client) *key {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := c.rng.IntN(len(p.keys))
	if p.keys[i] == nil || p.keys[i].last.Load() >= p.full {
		p.keys[i] = c.r.ledger.add(p.form, c.orgName(), 0)
	}
	return p.keys[i]
}

// sharer appends to conversations to which others append through other
// instances.
func sharer(c *client) func() {
	return func() {
		switch {
		case c.repeat(0.3):
		case c.chance(readShare):
			c.readMessages(c.r.conversations.pick(c), 0)
		default:
			c.append(c.r.conversations.pick(c), c.home)
		}
	}
}

// valueOwner sets and deletes values of its own.
func valueOwner(c *client) func() {
	var open [4]*key
	return func() {
		i := c.rng.IntN(len(open))
		if open[i] == nil || open[i].last.Load() >= fullValue {
			open[i] = c.r.ledger.add(agentConfig+form(i%2), c.orgName(), 0)
		}
		if c.chance(readShare) {
			c.readOwnValue(open[i])
			return
		}
		c.setOrDelete(open[i], c.home, 0.2)
	}
}

func (c *client) setOrDelete(k *key, instance int, deletion float64) {
	o := op{verb: sets, first: k.next(1)}
	if c.chance(deletion) {
		o = op{verb: deletes}
	}
	c.write(instance, []*key{k}, o)
}

// valueSharer sets and deletes values that others set through other instances.
func valueSharer(c *client) func() {
	return func() {
		k := c.r.values.pick(c)
		if c.chance(readShare) {
			c.read(k, 0, func(checker, []op, seen, instant, uint16) []violation { return nil })
			return
		}
		c.setOrDelete(k, c.home, 0.15)
	}
}

// mixer appends to conversations of its own, and clears and replaces them.
func mixer(c *client) func() {
	var (
		open [3]*key
		done [3]int
	)
	return func() {
		i := c.rng.IntN(len(open))
		if open[i] == nil || done[i] >= fullMixed {
			open[i], done[i] = c.r.ledger.add(conversation, c.orgName(), 0), 0
		}
		k := open[i]
		switch x := c.rng.Float64(); {
		case c.repeat(0):
		case x < readShare:
			c.readMessages(k, c.lastOf())
			return
		case x < 0.28:
			c.write(c.home, []*key{k}, op{verb: clears})
		case x < 0.34:
			n := 1 + c.rng.IntN(3)
			c.write(c.home, []*key{k}, op{verb: replaces, first: k.next(n), count: uint8(n)})
		default:
			c.append(k, c.home)
		}
		done[i]++
	}
}

// erased is an organisation of one client, which invalidates it and forgets its
// persons.
type erased struct {
	all     []*key
	persons [][]*key
	written int
}

func newErased(c *client, n int) *erased {
	e := &erased{}
	org := "erase-" + strconv.Itoa(c.n) + "-" + strconv.Itoa(n)
	for range 2 {
		talk := c.r.ledger.add(conversation, org, 0)
		e.persons = append(e.persons, []*key{talk, c.r.ledger.add(summary, org, talk.subject)})
	}
	e.all = slices.Concat(e.persons[0], e.persons[1], []*key{c.r.ledger.add(agentConfig, org, 0)})
	return e
}

// eraser writes through its own instance and through others, and erases through
// its own.
func eraser(c *client) func() {
	var (
		e *erased
		n int
	)
	return func() {
		if e == nil || e.written >= fullOrg {
			e = newErased(c, n)
			n++
		}
		k := e.all[c.rng.IntN(len(e.all))]
		instance := c.home
		if c.chance(0.25) {
			instance = c.rng.IntN(len(c.r.fleet.all))
		}
		switch x := c.rng.Float64(); {
		case x < readShare && k.form == conversation:
			c.readMessages(k, 0)
			return
		case x < readShare:
			c.readOwnValue(k)
			return
		case x < 0.23:
			c.write(c.home, e.all, op{verb: invalidates})
		case x < 0.26:
			c.write(c.home, e.persons[c.rng.IntN(len(e.persons))], op{verb: forgets})
		case k.form == conversation:
			c.append(k, instance)
			c.again = nil // what is sent again could have been erased meanwhile
		default:
			c.setOrDelete(k, instance, 0.1)
		}
		e.written++
	}
}
