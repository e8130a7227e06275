package redisstore

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/sabotage"
	"github.com/jackcache/jackcache/internal/store"
)

// A server tells a Listener which keys changed, on a connection that does
// nothing else, a tap. What a process read is current as long as it hears of every
// change, which silence does not prove: the tap may hang, or lead to another server
// than the calls. So a canary is sent the way of the calls, a key that is written,
// and its change has to come back by the tap. All that changed on the server before
// it has been told by then.

const (
	// canaryEvery is the time between canaries. Several are due within the time for
	// which what is in memory may be served as fresh: 1 s.
	canaryEvery = 200 * time.Millisecond
	// canarySoon is that time when something has just happened, and the proof is gone.
	canarySoon = 50 * time.Millisecond
	// tapAgain is the time before a tap is made anew, at first; it grows to
	// tapAtMost as long as nothing is proven.
	tapAgain  = 20 * time.Millisecond
	tapAtMost = time.Second
	// tapRefused is that time where the server refuses to tell.
	tapRefused = 5 * time.Second
	// tapTime bounds making a tap.
	tapTime = time.Second
)

// hearing is whether the process hears of what changes on a node.
type hearing struct {
	// cover is the one that calls are given while the node has the slots that it
	// has. Another one takes its place when they change, and it is never proven
	// again: who has chosen a node by the layout before finds nothing fresh, wherever
	// its read went.
	cover atomic.Pointer[store.Cover]
	// nudged: something happened, and it is worth while to prove soon.
	nudged chan struct{}

	salt int // of near; belongs to listen

	mu      sync.Mutex
	near    string    // guarded by mu: the key in whose slot canaries lie, in a Cluster
	proven  bool      // guarded by mu
	since   time.Time // guarded by mu: of proven
	problem string    // guarded by mu
}

func (h *hearing) begin() {
	h.cover.Store(new(store.Cover))
	h.nudged = make(chan struct{}, 1)
	h.since = time.Now()
	h.problem = "nothing has come back yet"
}

// now returns the cover and its epoch.
func (h *hearing) now() (*store.Cover, uint64) {
	for {
		c := h.cover.Load()
		epoch := c.Epoch()
		// A cover is replaced first and broken then: where it is still the one, a
		// proof for the epoch comes to nothing once it is not.
		if h.cover.Load() == c {
			return c, epoch
		}
	}
}

// renew ends the cover for good and begins another one.
func (h *hearing) renew() { h.cover.Swap(new(store.Cover)).Break() }

// note notes what came of trying to hear; nil: something is proven. It reports
// whether that is news.
func (h *hearing) note(err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	problem, proven := "", err == nil
	if !proven {
		problem = err.Error()
	}
	if proven != h.proven {
		h.since = time.Now()
	}
	news := problem != h.problem
	h.problem, h.proven = problem, proven
	return news
}

// hears tells how that is, for health.
func (n *node) hears() store.TrackingHealth {
	if n.s.opts.Listener == nil {
		return store.TrackingHealth{}
	}
	h := &n.hearing
	h.mu.Lock()
	defer h.mu.Unlock()
	t := store.TrackingHealth{Since: h.since, Problem: h.problem}
	if t.Age, t.Proven = h.cover.Load().Age(store.Now()); !t.Proven {
		t.Age = 0
	}
	return t
}

// shake notes that something may not have been told, or that calls may lead to
// another server than before.
func (n *node) shake() {
	n.hearing.cover.Load().Break()
	n.s.listing.doubt(n)
	n.nudge()
}

// nudge has something proven soon.
func (n *node) nudge() {
	select {
	case n.hearing.nudged <- struct{}{}:
	default: // it is known
	}
}

// generationRoom is more than the key of a generation takes, unless its organisation
// has a very long name.
const generationRoom = 256

// Covers returns the covers of the masters that have a key and the generation
// of its organisation. They are those of calls with a deadline: what comes over the
// connection for long jobs is not covered.
func (s *Store) Covers(key string, o keys.Org) store.Covers {
	l := s.layout.Load()
	if l.covers == nil {
		return store.Covers{}
	}
	c := store.Covers{Key: l.cover(key)}
	if c.Generation = c.Key; l.slots != nil {
		// Every read of a copy asks for it: the key is not worth memory of its own.
		var room [generationRoom]byte
		c.Generation = l.cover(textOf(s.opts.Space.AppendGeneration(room[:0], o)))
	}
	return c
}

// cover returns that of the master of a key, nil where there is none.
func (l *layout) cover(key string) *store.Cover {
	i := 0
	if l.slots != nil {
		i = int(l.slots[slotOf(key)]) - 1
	}
	if i < 0 || i >= len(l.covers) {
		return nil
	}
	return l.covers[i]
}

// coverLocked gives a layout its covers before anybody sees it: another one to each
// master whose slots change by it. A slot that leaves and comes back so leaves
// nothing behind that is fresh. The caller holds s.mu.
func (s *Store) coverLocked(former, l *layout) {
	if s.opts.Listener == nil {
		return
	}
	l.covers = make([]*store.Cover, len(l.masters))
	for i, n := range l.masters {
		same := former.has(n) && (former.slots == nil) == (l.slots == nil) && former.slotsOf(n) == l.slotsOf(n)
		if !same {
			n.hearing.renew()
		}
		l.covers[i] = n.hearing.cover.Load()
	}
	for _, n := range former.masters {
		if !l.has(n) {
			n.hearing.renew()
		}
	}
}

// listen keeps a tap on the node as long as the node lives.
func (n *node) listen() {
	defer n.shake() // nothing is told from here on
	again := tapAgain
	for {
		if !n.breaker.Allow() {
			n.hearing.note(n.s.refused())
			if !pause(n.life, canarySoon) {
				return
			}
			continue
		}
		proven, err := n.tap()
		if n.life.Err() != nil {
			return
		}
		if proven {
			again = tapAgain
		}
		wait := again + rand.N(again/4) // instances do not come in step
		if untold := errors.Is(err, errUntold); untold {
			wait = tapRefused
			if n.hearing.note(err) {
				n.logger.Info("nothing of this server is served from memory as fresh", "addr", n.addr, "err", err)
			}
		} else {
			n.hearing.note(err)
		}
		if !pause(n.life, wait) {
			return
		}
		again = min(2*again, tapAtMost)
	}
}

// tap listens until the connection for it ends, or the node. It reports whether
// anything was proven by it, and why it ended.
func (n *node) tap() (proven bool, err error) {
	t, err := n.newTap()
	if err != nil {
		return false, err
	}
	defer t.close()
	// What was read until now is not covered: its changes may have been told to
	// nobody.
	if !sabotage.On("generation") {
		n.hearing.cover.Load().Break()
	}
	n.s.listing.doubt(n) // nor was it heard that this process was suspended
	t.live.Store(true)
	n.s.listing.taps.Add(1)
	defer n.s.listing.taps.Add(-1)
	// At once: taps that end often prove something, too.
	if !n.s.listing.counts() && !n.s.enterOrTell() {
		n.s.listing.rouse()
	}
	for {
		begun := time.Now()
		err := t.prove()
		n.hearing.note(err)
		proven = proven || err == nil
		if errors.Is(err, errUnheard) {
			return proven, err
		}
		if err := t.rest(begun, err != nil && !errors.Is(err, errUnlisted)); err != nil {
			return proven, err
		}
	}
}

// rest waits until it is time for the next canary, or the tap has ended.
func (t *tap) rest(begun time.Time, failed bool) error {
	due := time.NewTimer(time.Until(begun.Add(canaryEvery)))
	defer due.Stop()
	nudged := t.n.hearing.nudged
	if failed {
		nudged = nil // soon would be no better
	}
	for {
		select {
		case <-t.n.life.Done():
			return t.n.life.Err()
		case <-t.shaken:
			if err := t.ping(); err != nil {
				return err
			}
			due.Reset(max(0, time.Until(begun.Add(canarySoon))))
		case <-due.C:
			return nil
		case <-nudged:
			nudged = nil
			due.Reset(max(0, time.Until(begun.Add(canarySoon))))
		}
	}
}
