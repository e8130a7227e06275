package redisstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/store"
)

// A list in Redis has the processes that give copies, so that who invalidates
// knows for whom to wait. An entry is there before anything is proven, and until
// the last proof that counts with it is too old: who is not in the list gives
// nothing as fresh.

const (
	// listEvery is how often an entry is prolonged, and listAgain the time before
	// that is tried again.
	listEvery = 3 * time.Second
	listAgain = 100 * time.Millisecond
	// listSoon is the least time between two tries.
	listSoon = 5 * time.Millisecond
	// listLife is for how long after it was asked for an entry lets signals count
	// that are sent. It is how long the server of the list may be away until no
	// copies are given.
	listLife = 10 * time.Second
	// listMargin is how much longer the server keeps an entry: for clocks of servers
	// that differ, where another one takes over.
	listMargin = 2 * time.Second
	// listTime bounds asking for an entry.
	listTime = 250 * time.Millisecond
	// defaultFreshness is that of Options.
	defaultFreshness = time.Second
)

// errUnlisted: nobody knows that this process gives copies.
var errUnlisted = errors.New("the list of those who give copies does not have this instance yet")

// listing is the entry of this process in the list.
type listing struct {
	until atomic.Int64  // signals that are sent until then count, as store.Now; 0: none does
	ever  atomic.Bool   // there was an entry
	taps  atomic.Int32  // on which servers tell what changes: without any there is no entry
	wake  chan struct{} // to enter now

	mu     sync.Mutex
	doubts uint64 // guarded by mu: how often the entry may have gone, or was suspended
	left   bool   // guarded by mu
}

// counts reports whether a signal that is sent now counts.
func (l *listing) counts() bool { return store.Now() < l.until.Load() }

// doubt notes that a node may have lost what it had, the list too if it has that.
func (l *listing) doubt(n *node) {
	if n.s.opts.Listener == nil || n.s.layout.Load().node(n.s.opts.Space.Listeners()) != n {
		return
	}
	l.renounce()
}

// renounce has no signal count that is under way, or is sent before the entry has
// been made again.
func (l *listing) renounce() {
	l.mu.Lock()
	l.doubts++
	l.until.Store(0)
	l.mu.Unlock()
	l.rouse()
}

// signal returns as of when a signal counts that is sent now, and the doubts that
// there were by then.
func (l *listing) signal() (sent int64, doubts uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return min(store.Now(), l.until.Load()), l.doubts
}

// doubted reports whether the entry was doubted since there were so many doubts.
func (l *listing) doubted(since uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doubts != since
}

// rouse has the entry made now if there is none.
func (l *listing) rouse() {
	if l.counts() {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default: // it is known
	}
}

// keepListed keeps the entry of this process.
func (s *Store) keepListed() {
	for wait := time.Duration(0); ; {
		timer := time.NewTimer(wait)
		select {
		case <-s.stop:
			timer.Stop()
			return
		case <-s.listing.wake:
			timer.Stop()
		case <-timer.C:
		}
		wait = listEvery
		if s.listing.taps.Load() == 0 {
			continue // nobody has to wait for this one
		}
		if !s.enterOrTell() {
			wait = listAgain
		}
		select { // not more often than that, however often it is doubted
		case <-s.stop:
			return
		case <-time.After(listSoon):
		}
	}
}

// enterOrTell is enter, and reports whether that could be done.
func (s *Store) enterOrTell() bool {
	err := s.enter()
	if err != nil {
		s.opts.Logger.Debug("the list of those who give copies cannot be written", "err", err)
	}
	return err == nil
}

// enter makes the entry, or prolongs it. It ends a suspension, and removes the
// entries of processes that are dead.
func (s *Store) enter() error {
	l := &s.listing
	l.mu.Lock()
	doubts, left := l.doubts, l.left
	l.mu.Unlock()
	if left {
		return nil
	}
	sent := store.Now()
	ctx, cancel := context.WithTimeout(context.Background(), listTime)
	defer cancel()
	key := s.opts.Space.Listeners()
	args := append([]string{s.bootID, millis(s.opts.Freshness), millis(s.opts.Freshness + listLife + listMargin)}, s.opts.Dead...)
	err := s.jobOn(ctx, key, func(c rueidis.Client) error {
		return listenerEnter.run(ctx, c, []string{key}, args).Error()
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left || l.doubts != doubts {
		return nil // whoever doubts has it made again
	}
	news := l.until.Swap(sent+int64(listLife)) == 0
	l.ever.Store(true)
	if news {
		for _, n := range s.layout.Load().masters {
			n.nudge()
		}
	}
	return nil
}

// unlist takes the entry away: nothing is given as fresh from here on.
func (s *Store) unlist() {
	if s.opts.Listener == nil {
		return
	}
	l := &s.listing
	l.mu.Lock()
	was := !l.left && l.ever.Load()
	l.left = true
	l.until.Store(0)
	l.mu.Unlock()
	for _, n := range s.layout.Load().masters {
		n.hearing.cover.Load().Break()
	}
	if !was {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), listTime)
	defer cancel()
	key := s.opts.Space.Listeners()
	err := s.jobOn(ctx, key, func(c rueidis.Client) error {
		return c.Do(ctx, c.B().Hdel().Key(key).Field(s.bootID, suspended+s.bootID).Build()).Error()
	})
	if err != nil {
		s.opts.Logger.Debug("this instance stays in the list of those who give copies, until its entry is over", "err", err)
	}
}
