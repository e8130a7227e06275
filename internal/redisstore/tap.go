package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/sabotage"
)

// mostNames is how many names of one push the room is kept for.
const mostNames = 4096

// errUntold: the server does not tell what changes.
var errUntold = errors.New("redis does not tell what changes")

// tap is one connection, for as long as it lasts, on which a server tells what
// changes. What comes after its end belongs to another tap: so nobody takes the end
// of the one for the end of the other.
type tap struct {
	n      *node
	c      rueidis.Client
	shaken chan struct{} // it may have ended
	// live: copies of before it are not given as fresh any more.
	live atomic.Bool

	names []string // of the push that is being told; belongs to who reads the connection

	mu     sync.Mutex
	flight *flight // guarded by mu: the canary under way; nil: there is none
}

func newUnconnectedTap(n *node) *tap { return &tap{n: n, shaken: make(chan struct{}, 1)} }

// newTap connects, and returns when the server tells what changes.
func (n *node) newTap() (*tap, error) {
	t := newUnconnectedTap(n)
	c, err := n.s.connect(server{
		addr: n.addr, access: n.s.opts.Access, db: n.s.opts.DB, ring: askRingScale, read: jobBuffer, write: askBuffer,
		onEnd: t.told, track: n.s.opts.Space.Prefix(),
	})
	if err != nil {
		return nil, err
	}
	t.c = c
	if err := t.ping(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// ping reports whether the connection is there; the first time, it makes it.
func (t *tap) ping() error {
	ctx, cancel := context.WithTimeout(t.n.life, tapTime)
	defer cancel()
	err := t.c.Do(ctx, t.c.B().Ping().Build()).Error()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rueidis.ErrNoCache):
		reason, _, _ := strings.Cut(err.Error(), ": [")
		if reason == rueidis.ErrNoCache.Error() {
			reason = "it speaks no RESP3"
		}
		return fmt.Errorf("%w: %s; 'jackcache acl' prints the rights that the user needs", errUntold, reason)
	}
	return fmt.Errorf("the connection on which redis tells what changes: %w", err)
}

// close ends the tap. A server that hangs keeps nobody waiting but the end of the
// node.
func (t *tap) close() {
	t.n.done.Add(1) // listen is one of them
	go func() { defer t.n.done.Done(); t.c.Close() }()
}

// told is called with the names of keys that changed, in the order in which the
// server says it, and with nil when all may have changed or the connection ended.
// It is called by who reads the connection, one call after the other.
func (t *tap) told(changed []rueidis.RedisMessage) {
	if changed == nil {
		if !sabotage.On("generation") {
			t.n.hearing.cover.Load().Break()
		}
		t.n.s.listing.doubt(t.n) // it may have been emptied
		if t.live.Load() {
			// Of that its heartbeat tells: so soon, calls may not have missed anything yet.
			t.n.doubt.stalled("it may have been emptied")
		}
		t.look()
		return
	}
	names, canary, suspended := t.names[:0], false, false
	for i := range changed {
		name, err := changed[i].ToString()
		if err != nil {
			continue // it is no key
		}
		names = append(names, name)
		canary = canary || t.n.s.opts.Space.IsCanary(name)
		suspended = suspended || name == t.n.s.suspension
	}
	t.n.s.opts.Listener.Changed(names)
	t.answer(names)
	if suspended { // before what may come behind it
		t.n.s.listing.renounce()
	}
	if canary { // only now: it proves that all before it has been told
		t.returned(names)
	}
	clear(names) // they are parts of what was received
	if cap(names) <= mostNames {
		t.names = names[:0]
	}
}

// look has who rests find out whether the connection is there.
func (t *tap) look() {
	select {
	case t.shaken <- struct{}{}:
	default: // it is known
	}
}

// noCache is for a client that caches nothing itself.
func noCache(rueidis.CacheStoreOption) rueidis.CacheStore { return uncached{} }

type uncached struct{}

// Flight finds nothing.
func (uncached) Flight(string, string, time.Duration, time.Time) (v rueidis.RedisMessage, e rueidis.CacheEntry) {
	return v, nil
}

// Update keeps nothing.
func (uncached) Update(string, string, rueidis.RedisMessage) int64 { return 0 }

// Cancel has nothing to cancel.
func (uncached) Cancel(string, string, error) {}

// Delete has nothing to delete.
func (uncached) Delete([]rueidis.RedisMessage) {}

// Close has nothing to close.
func (uncached) Close(error) {}
