package redisstore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

// doubt is whether a node may lack writes that were acknowledged. A new node
// may. After an event it is in doubt until the witness is done with a suspicion
// that was raised after the event.
type doubt struct {
	events  atomic.Uint64 // how often something happened
	settled atomic.Uint64 // events up to this one are dealt with

	// unproven has the slots in doubt beside the node itself: those that it got
	// from other masters; nil: none.
	unproven atomic.Pointer[slotSet]

	shaken func()        // is called when something happened; nil: nobody is
	nudged chan struct{} // there is something to do
	missed atomic.Int64  // when a key was missed, in nanoseconds since 1970; 0: never

	mu     sync.Mutex
	reason string  // guarded by mu: of the first event since the last look
	grave  bool    // guarded by mu: one of them was more than a server that keeps others waiting
	told   string  // guarded by mu: the last suspicion, in words
	open   int     // guarded by mu: suspicions that are not done
	key    string  // guarded by mu: of the heartbeat; empty: the node has no slots
	slots  slotSet // guarded by mu: in a Cluster those of the node
	proven slotSet // guarded by mu: those of which a heartbeat may speak
	raised slotSet // guarded by mu: those that a suspicion covers as unproven
}

func (d *doubt) begin() {
	d.nudged = make(chan struct{}, 1)
	d.happened("it was not watched before")
}

// happened notes that writes may have been lost.
func (d *doubt) happened(reason string) {
	d.note(reason, true)
	if d.shaken != nil {
		d.shaken()
	}
}

// stalled notes that the server did not answer, on connections that are still
// there. Should they, its history and its heartbeat be the same after that, it has
// only been slow.
func (d *doubt) stalled(reason string) { d.note(reason, false) }

func (d *doubt) note(reason string, grave bool) {
	d.mu.Lock()
	if d.reason == "" {
		d.reason = reason
	}
	d.grave = d.grave || grave
	d.events.Add(1)
	d.mu.Unlock()
	d.nudge()
}

// calm ends the doubt about events that turned out to be nothing.
func (d *doubt) calm(epoch uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if epoch > d.settled.Load() {
		d.settled.Store(epoch)
	}
	d.nudge()
}

// missedEvery is the time within which one key that is missed counts.
const missedEvery = time.Second

// Missed puts the node of a key in doubt which was acknowledged and is not there.
// The heartbeat then tells whether more has gone.
func (s *Store) Missed(k keys.Key) bool {
	if s.opts.Witness == nil {
		return false
	}
	n := s.layout.Load().node(k.String())
	if n == nil || n.doubt.covers(k.String()) {
		return true // it is in doubt
	}
	d, now := &n.doubt, time.Now().UnixNano()
	if last := d.missed.Load(); now-last < int64(missedEvery) || !d.missed.CompareAndSwap(last, now) {
		return false
	}
	d.happened("a key that it had acknowledged is not there")
	return true
}

func (d *doubt) nudge() {
	select {
	case d.nudged <- struct{}{}:
	default: // it is known
	}
}

// doubted reports whether the whole node is in doubt.
func (d *doubt) doubted() bool { return d.settled.Load() != d.events.Load() }

// covers reports whether a key of the node is in doubt.
func (d *doubt) covers(key string) bool {
	if d.doubted() {
		return true
	}
	unproven := d.unproven.Load()
	return unproven != nil && unproven.has(slotOf(key))
}

// gain notes slots that the node is about to get.
func (d *doubt) gain(slots slotSet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slots = d.slots.or(slots)
	d.publishLocked()
}

// keep notes that the node has these slots and no others. A slot that comes back
// later has to be proven again.
func (d *doubt) keep(slots slotSet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slots, d.proven, d.raised = slots, d.proven.and(slots), d.raised.and(slots)
	d.publishLocked()
}

func (d *doubt) publishLocked() {
	if unproven := d.slots.without(d.proven); !unproven.empty() {
		d.unproven.Store(&unproven)
	} else {
		d.unproven.Store(nil)
	}
}

// done ends a suspicion that was raised after the events up to epoch.
func (d *doubt) done(epoch uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open--; d.open > 0 {
		return
	}
	d.proven, d.raised = d.proven.or(d.raised), slotSet{}
	d.publishLocked()
	if epoch > d.settled.Load() {
		d.settled.Store(epoch) // after unproven: who sees the one sees the other
	}
	d.nudge()
}

// text tells why the node is in doubt; empty: it is not.
func (d *doubt) text() string {
	doubted := d.doubted() || d.unproven.Load() != nil
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !doubted:
		return ""
	case d.open > 0:
		return d.told
	case d.reason != "":
		return d.reason
	}
	return "what it may lack is looked for"
}

// Doubtful reports whether the server that has the key may lack writes that were
// acknowledged; in a Cluster also that which has the organisation's generation.
func (s *Store) Doubtful(k keys.Key) bool {
	if s.opts.Witness == nil {
		return false
	}
	l := s.layout.Load()
	if l.slots == nil {
		return len(l.masters) == 0 || l.masters[0].doubt.doubted()
	}
	return l.doubts(k.String()) || l.doubts(s.generationOf(k.Org()))
}

// doubts reports whether a key is in doubt; where nobody has it, it is.
func (l *layout) doubts(key string) bool {
	n := l.node(key)
	return n == nil || n.doubt.covers(key)
}

// installLocked makes l the layout. What masters gain by it is in doubt before
// the first call is sent there. The caller holds s.mu.
func (s *Store) installLocked(l *layout) {
	former := s.layout.Load()
	if l != former {
		s.coverLocked(former, l)
	}
	gains := make([]slotSet, len(l.masters))
	for i, n := range l.masters {
		gains[i] = l.slotsOf(n)
		n.doubt.gain(gains[i])
	}
	s.layout.Store(l)
	if key := s.opts.Space.Listeners(); s.opts.Listener != nil && former.node(key) != l.node(key) {
		s.listing.renounce() // what the new master has of the list may be older
	}
	for i, n := range l.masters {
		n.doubt.keep(gains[i])
		n.placeBeat(l)
	}
}
