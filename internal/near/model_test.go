package near

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// model is a store of numbers that only grow, as its tier sees it: values on one
// server, generations on another, each with a connection that tells of changes,
// late, in order, and not at all while it is away.
type model struct {
	mu      sync.Mutex // guards what is stored, and the order in which it is told
	keys    []*cell
	orgs    []*cell
	values  *link
	ends    *link
	covers  store.Covers
	perOrg  int
	changes atomic.Int64
}

// cell is a number with its history.
type cell struct {
	key  keys.Key // of a value
	name string
	n    int64
	was  [256]stamp   // the last ones
	told atomic.Int64 // the highest that Changed returned for, or Drop
}

// stamp says when a number was there for all to read.
type stamp struct{ n, at int64 }

// raise changes a cell. Under mu.
func (m *model) raise(c *cell, l *link) int64 {
	c.n++
	c.was[c.n%int64(len(c.was))] = stamp{c.n, store.Now()}
	l.tell(event{cell: c, n: c.n})
	m.changes.Add(1)
	return c.n
}

// since returns the highest number that was there at a time. Under mu.
func (c *cell) since(at int64) int64 {
	for n := c.n; n > 0 && n > c.n-int64(len(c.was)); n-- {
		if s := c.was[n%int64(len(c.was))]; s.at <= at {
			return n
		}
	}
	return 0
}

// read returns the item that a key has now.
func (m *model) read(i int) Item {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, gen := m.keys[i].n, m.orgs[i/m.perOrg].n
	return Item{Value: [2]int64{n, gen}, Version: clock.NewVersion(n, 0, 0), Generation: uint64(gen), Size: 16, TTL: time.Hour, Retain: time.Duration(n%2) * time.Hour}
}

// floor is what a fresh item must have at least.
type floor struct{ told, toldGen, old, oldGen int64 }

func (m *model) floor(i int, bound time.Duration) floor {
	c, o := m.keys[i], m.orgs[i/m.perOrg]
	f := floor{told: c.told.Load(), toldGen: o.told.Load()}
	at := store.Now() - int64(bound)
	m.mu.Lock()
	defer m.mu.Unlock()
	f.old, f.oldGen = c.since(at), o.since(at)
	return f
}

// event is what a connection tells: of a change, or that a signal came back.
type event struct {
	cell  *cell
	n     int64
	epoch uint64
	sent  int64
}

// link is a connection that tells of changes.
type link struct {
	cover *store.Cover
	mu    sync.Mutex // guards the following; taken under the model's
	up    bool
	epoch int // of the queue: what was taken from an earlier one is lost
	queue []event
	more  chan struct{}
}

func newLink() *link { return &link{cover: &store.Cover{}, up: true, more: make(chan struct{}, 1)} }

func (l *link) tell(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return
	}
	l.queue = append(l.queue, e)
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// cut ends the connection: what it had not told is lost.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.queue = false, nil
	l.epoch++
	l.cover.Break()
}

func (l *link) connect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = true
}

// signal sends what proves the cover when it comes back.
func (l *link) signal() {
	l.tell(event{epoch: l.cover.Epoch(), sent: store.Now()})
}

func (l *link) take() ([]event, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue
	l.queue = nil
	return q, l.epoch
}

func (l *link) still(epoch int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch == epoch
}

// deliver tells the tier until stop, sometimes late, and now and then so late that
// the bound is long over.
func (l *link) deliver(t *Tier, r *rand.Rand, bound time.Duration, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-l.more:
		}
		switch r.IntN(40) {
		case 0:
			wait(3*bound, stop)
		case 1, 2, 3:
			wait(time.Duration(r.Int64N(int64(time.Millisecond))), stop)
		}
		q, epoch := l.take()
		for _, e := range q {
			if !l.still(epoch) {
				break
			}
			if e.cell == nil {
				l.cover.Prove(e.epoch, e.sent)
				continue
			}
			t.Changed([]string{e.cell.name})
			raiseTo(&e.cell.told, e.n)
		}
	}
}

func raiseTo(a *atomic.Int64, n int64) {
	for {
		old := a.Load()
		if old >= n || a.CompareAndSwap(old, n) {
			return
		}
	}
}

func wait(d time.Duration, stop <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}
