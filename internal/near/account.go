package near

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackcache/jackcache/internal/keys"
)

// account is what an organisation has in the tier. There is one while the
// organisation has copies, or fills are under way.
type account struct {
	name  string // the key of the generation
	org   keys.Org
	epoch atomic.Uint64 // raised when the generation changes
	refs  atomic.Int64  // copies, and fills under way
	bytes atomic.Int64  // of copies, and reserved for fills under way

	mu               sync.Mutex // guards the list; nothing else is locked under it
	oldest, youngest *entry
	hand             *entry // where the search for what may go goes on
	sweeping         bool   // Guarded by the sweeper's mu.
}

// add lists an entry that is put in, and counts it.
func (a *account) add(e *entry) {
	a.refs.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.older = a.youngest; e.older != nil {
		e.older.newer = e
	} else {
		a.oldest = e
	}
	a.youngest = e
}

// drop takes an entry from the list.
func (a *account) drop(e *entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hand == e {
		a.hand = e.newer
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		a.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		a.youngest = e.older
	}
	e.older, e.newer = nil, nil
}

// maxLook is how many entries a fill looks at before it takes one that was of use.
const maxLook = 64

// candidate returns an entry that may go for a newer one: the first from the hand on
// that was of no use since the hand came by, or whose time is over; nil if there
// are none. The hand goes from old to new, and does not return for what came after
// it until it has been through.
//
// See Zhang et al., "SIEVE is Simpler than LRU" (NSDI 2024).
func (a *account) candidate() *entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.hand
	for looked := 0; ; looked++ {
		if e == nil {
			if e = a.oldest; e == nil {
				return nil
			}
		}
		if e.over() || !e.visited.Load() || looked == maxLook {
			a.hand = e.newer
			return e
		}
		e.visited.Store(false)
		e = e.newer
	}
}

// over adds to dst the oldest entries whose time is over, at most what it has
// room for.
func (a *account) over(dst []*entry) []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	for e := a.oldest; e != nil && e.over() && len(dst) < cap(dst); e = e.newer {
		dst = append(dst, e)
	}
	return dst
}

// accounts are those of all organisations that have something in the tier.
type accounts struct {
	mu     sync.RWMutex // guards byName; nothing else is locked under it
	byName map[string]*account
}

// find returns the account with a name, nil for none.
func (s *accounts) find(name string) *account {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byName[name]
}

// acquire returns the account with a name, which stays until it is released.
func (s *accounts) acquire(name string, o keys.Org) *account {
	s.mu.RLock()
	a := s.byName[name]
	if a != nil {
		a.refs.Add(1)
	}
	s.mu.RUnlock()
	if a != nil {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a = s.byName[name]; a == nil {
		a = &account{name: strings.Clone(name), org: o}
		s.byName[a.name] = a
	}
	a.refs.Add(1)
	return a
}

// release gives one reference back. The account goes with the last one: a fill
// whose lease is older finds the clock of the organisation all the same.
func (s *accounts) release(a *account) {
	if a.refs.Add(-1) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.refs.Load() == 0 && s.byName[a.name] == a {
		delete(s.byName, a.name)
	}
}
