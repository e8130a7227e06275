package redisstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

const (
	// looks at a heartbeat are made until nothing happens meanwhile, at most so many.
	looks = 3
	// lookAgain is the pause after a look that failed, and at least between two.
	lookAgain = 20 * time.Millisecond
	// recordTime is how long a call that was answered may take to be recorded. A
	// suspicion waits for it, or what a former master answered last would be
	// recorded behind the back of the witness.
	recordTime = 100 * time.Millisecond
)

// beatBook is what is known of the heartbeats of all masters.
type beatBook struct {
	suspected, confirmed atomic.Int64

	mu   sync.Mutex
	last map[string]store.Position // guarded by mu: acknowledged last, by key
}

func (b *beatBook) acknowledged(key string, p store.Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last = make(map[string]store.Position)
	}
	b.last[key] = p
}

// expected returns the position of the last heartbeat under a key that was
// acknowledged to this process, of whichever master.
func (b *beatBook) expected(key string) (p store.Position, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, known = b.last[key]
	return p, known
}

// attend sends the heartbeats of a node and raises suspicions.
func (n *node) attend() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	again := lookAgain
	for {
		ticked, wait := false, beatEvery
		select {
		case <-n.life.Done():
			return
		case <-timer.C:
			ticked = true
		case <-n.doubt.nudged:
		}
		if n.breaker.Allow() {
			again = min(2*again, beatEvery)
			if err := n.check(ticked); err != nil {
				wait = again
				n.logger.Debug("a heartbeat cannot be read", "addr", n.addr, "err", err)
			} else {
				again = lookAgain
			}
		}
		timer.Reset(wait)
		if !pause(n.life, lookAgain) { // not more often, however much happens
			return
		}
	}
}

// check does for the node what is to be done now. Gained slots wait for the
// tick: they come one by one.
func (n *node) check(ticked bool) error {
	ctx, cancel := context.WithTimeout(n.life, jobTime)
	defer cancel()
	d := &n.doubt
	d.mu.Lock()
	idle := d.open > 0 || d.key == ""
	d.mu.Unlock()
	switch {
	case idle:
	case d.doubted():
		return n.suspectAll(ctx)
	case d.unproven.Load() != nil:
		if ticked {
			n.suspectGained(ctx)
		}
	case ticked:
		n.raiseBeat(ctx)
	}
	return nil
}

// sight is what a look at the heartbeat gave.
type sight struct {
	epoch     uint64    // the events before it
	beat      beatValue // position zero: there is none for this node
	confirmed bool
	reason    string
	// unbroken: nothing has happened but that the server was slow.
	unbroken bool
}

// look reads the heartbeat and marks it as seen, without raising it: so that the
// next one shows whether something happened after the look.
func (n *node) look(ctx context.Context) (s sight, err error) {
	d, p := &n.doubt, &n.pulse
	marked, same := false, true
	for range looks {
		s.epoch = d.events.Load()
		d.mu.Lock()
		key := d.key
		d.mu.Unlock()
		a, err := n.sendBeat(ctx, key, "", "", nil)
		if err != nil {
			return s, err
		}
		same = same && p.key == key && p.stream == a.stream && slices.Contains(p.held, a.held)
		var own bool
		s.beat, own = n.believed(a.held)
		last, known := n.s.beats.expected(key)
		s.confirmed = own && known && (a.held == "" || s.beat.position < last)
		p.looks++
		mark := s.beat
		mark.nonce = fmt.Sprintf("%.8s.%d", n.s.bootID, p.looks)
		if n.s.opts.Mode == Cluster {
			mark.addr = n.addr
		}
		text := mark.String()
		if a, err = n.sendBeat(ctx, key, text, a.stream, []string{a.held}); err != nil {
			if isReadOnly(err) { // where calls go is found out by calls
				n.part("the connection for jobs leads to a replica")
			}
			return s, err
		}
		if !a.raised {
			continue // it changed meanwhile
		}
		if same, err := n.seen(ctx, key, a.stream, text); err != nil {
			return s, err
		} else if !same {
			continue
		}
		marked = true
		p.key, p.stream, p.held, p.nonce = key, a.stream, []string{text}, mark.nonce
		n.stream.Store(&a.stream)
		n.s.beats.acknowledged(key, s.beat.position)
		if d.events.Load() == s.epoch {
			break
		}
	}
	if !marked {
		return s, fmt.Errorf("the heartbeat of %s changes under every look", n.addr)
	}
	d.mu.Lock()
	s.reason, d.reason = d.reason, ""
	s.unbroken = same && !d.grave && d.events.Load() == s.epoch
	if d.events.Load() == s.epoch {
		d.grave = false
	}
	d.mu.Unlock()
	return s, nil
}

// believed reads a heartbeat that is there. In a Cluster one that another master
// wrote came here with its slot: it is not this node's own.
func (n *node) believed(held string) (v beatValue, own bool) {
	v = parseBeat(held)
	if n.s.opts.Mode != Cluster {
		return beatValue{position: v.position}, true
	}
	if v.addr != "" && v.addr != n.addr {
		if m := n.s.master(v.addr); m != nil && n.s.layout.Load().serves(m) {
			return beatValue{}, false
		}
	}
	return v, true
}

// suspectAll raises a suspicion that covers all that the node has, in a Cluster
// one for the slots of which the heartbeat speaks and one for the others.
func (n *node) suspectAll(ctx context.Context) error {
	seen, err := n.look(ctx)
	if err != nil {
		return err
	}
	if seen.unbroken {
		n.doubt.calm(seen.epoch)
		return nil
	}
	if !n.first { // else there were no calls
		n.s.quiesce(ctx)
	}
	n.first = false
	d := &n.doubt
	var all []store.Suspicion
	about := store.Suspicion{Server: n.addr, Reason: seen.reason, From: seen.beat.position, Confirmed: seen.confirmed}
	d.mu.Lock()
	if n.s.opts.Mode != Cluster {
		about.Covers = func(string) bool { return true }
		all = append(all, about)
	} else {
		d.proven = slotSet{}
		if about.From > 0 {
			d.proven = seen.beat.slots.and(d.slots)
		}
		d.raised = d.slots.without(d.proven)
		if !d.proven.empty() {
			about.Covers = covering(d.proven)
			all = append(all, about)
		}
		if !d.raised.empty() {
			about.From, about.Covers = 0, covering(d.raised)
			if len(all) > 0 {
				about.Confirmed = false
			}
			all = append(all, about)
		}
		d.publishLocked()
	}
	n.openLocked(all)
	d.mu.Unlock()
	n.raise(all, seen.epoch)
	return nil
}

// suspectGained raises a suspicion that covers the slots which the node got from
// other masters: its heartbeat says nothing of what came with them.
func (n *node) suspectGained(ctx context.Context) {
	d := &n.doubt
	n.s.quiesce(ctx)
	d.mu.Lock()
	d.raised = d.slots.without(d.proven)
	all := []store.Suspicion{{
		Server: n.addr, Reason: fmt.Sprintf("it got %d slots of other masters", d.raised.count()), Covers: covering(d.raised),
	}}
	if d.raised.empty() {
		all = nil
	}
	n.openLocked(all)
	d.mu.Unlock()
	n.raise(all, 0)
}

// quiesce waits until the calls are answered and recorded that may have gone to a
// server before what happened to it was noticed, or to a former master.
func (s *Store) quiesce(ctx context.Context) {
	s.underway.drain(ctx)
	pause(ctx, recordTime)
}

func (n *node) openLocked(all []store.Suspicion) {
	n.doubt.open += len(all)
	for _, s := range all {
		n.doubt.told = fmt.Sprintf("%s; what was acknowledged after %d is applied again", s.Reason, s.From)
	}
}

// raise tells the witness. It may be done at once.
func (n *node) raise(all []store.Suspicion, epoch uint64) {
	for _, s := range all {
		n.s.beats.suspected.Add(1)
		if s.Confirmed {
			n.s.beats.confirmed.Add(1)
			n.logger.Warn("redis has lost acknowledged writes; they are applied again", "addr", s.Server, "reason", s.Reason)
		} else { // the witness tells if there was something to do
			n.logger.Debug("redis may lack acknowledged writes", "addr", s.Server, "reason", s.Reason, "from", uint64(s.From))
		}
		s.Done = sync.OnceFunc(func() { n.doubt.done(epoch) })
		n.s.opts.Witness.Suspect(s)
	}
}

func covering(slots slotSet) func(key string) bool {
	return func(key string) bool { return slots.has(slotOf(key)) }
}
