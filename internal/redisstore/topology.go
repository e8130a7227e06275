package redisstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

const (
	// searchEvery is the time between looks at who is master, as a change may
	// close no connection: what a former master accepts after it will be lost. In
	// a Cluster a former master says who has its slots; but not of keys that are in
	// memory, for which nobody asks it.
	searchEvery        = 200 * time.Millisecond
	searchClusterEvery = time.Second
	// searchSoon is the time between looks while a master is missing, at first.
	searchSoon    = 50 * time.Millisecond
	searchSoonFor = 10 * time.Second
	// searchTime bounds one look.
	searchTime = 500 * time.Millisecond
	// askTime bounds the question to one server.
	askTime = 250 * time.Millisecond
)

// found is what a look at the deployment gave.
type found struct {
	masters []string
	// slots has, for each slot, 1 + the index of its master; nil: one has all.
	slots *[slotCount]uint16
}

// finder finds the masters of a deployment.
type finder interface {
	// find asks. It is given the masters known so far.
	find(ctx context.Context, known []string) (found, error)
	close()
}

// kick makes the search look at once.
func (s *Store) kick() {
	select {
	case s.kicked <- struct{}{}:
	default: // it will
	}
}

// search keeps the layout up to date.
func (s *Store) search() {
	if s.finder == nil {
		return
	}
	every := searchEvery
	if s.opts.Mode == Cluster && s.opts.Listener == nil {
		every = searchClusterEvery
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	missing := time.Time{} // since when a master is
	for {
		select {
		case <-s.stop:
			return
		case <-s.kicked:
		case <-timer.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), searchTime)
		s.find(ctx)
		cancel()
		wait := every
		if s.complete() {
			missing = time.Time{}
		} else if missing.IsZero() {
			missing = time.Now()
		}
		if !missing.IsZero() && time.Since(missing) < searchSoonFor {
			wait = searchSoon
		}
		timer.Reset(wait)
		select { // not more often than that, however often it is kicked
		case <-s.stop:
			return
		case <-time.After(searchSoon / 2):
		}
	}
}

// complete reports whether every slot has a master that answers.
func (s *Store) complete() bool {
	l := s.layout.Load()
	for _, n := range l.masters {
		if !n.breaker.Allow() {
			return false
		}
	}
	return len(l.masters) > 0 && l.covered() == slotCount
}

// find looks at the deployment once and adopts what it sees.
func (s *Store) find(ctx context.Context) {
	known := make([]string, 0, 4)
	for _, n := range s.layout.Load().masters {
		if n.breaker.Allow() {
			known = append(known, n.addr)
		}
	}
	asked := store.Now()
	f, err := s.finder.find(ctx, known)
	if err == nil {
		err = s.adopt(s.withWanted(f))
	}
	if err == nil {
		s.surveyed.Store(asked)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && s.problem != "":
		s.opts.Logger.Info("the masters are found again", "after", time.Since(s.since).Round(time.Millisecond).String())
		s.problem = ""
	case err != nil && s.problem == "" && !s.closed.Load():
		s.problem, s.since = err.Error(), time.Now()
		s.opts.Logger.Warn("the masters cannot be found", "err", err)
	case err != nil:
		s.problem = err.Error()
	}
}

// adopt makes a layout of what was found: new masters are connected, those that
// are masters no more are let go of.
func (s *Store) adopt(f found) error {
	old := s.layout.Load()
	l := &layout{slots: f.slots, masters: make([]*node, len(f.masters))}
	var added []*node
	for i, addr := range f.masters {
		s.mu.Lock()
		n := s.nodes[addr]
		s.mu.Unlock()
		if n == nil {
			var err error
			if n, err = s.newNode(addr); err != nil {
				for _, n := range added {
					n.retire()
				}
				return err
			}
			added = append(added, n)
		}
		l.masters[i] = n
	}
	if s.same(old, l) {
		return nil
	}
	for _, n := range l.masters {
		n.setProbe(l)
	}
	if !s.install(l, added) {
		return errClosed
	}
	s.tell(old, l)
	s.letGo(l)
	for _, n := range added {
		if s.started.Load() { // else Open starts them
			n.start()
		}
	}
	return nil
}

// install makes l the layout, unless the store was closed meanwhile.
func (s *Store) install(l *layout, added []*node) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		for _, n := range added {
			n.retire()
		}
		return false
	}
	for _, n := range added {
		s.nodes[n.addr] = n
	}
	s.installLocked(l)
	return true
}

// same reports whether two layouts say the same.
func (s *Store) same(a, b *layout) bool {
	return slices.Equal(a.masters, b.masters) &&
		(a.slots == nil) == (b.slots == nil) && (a.slots == nil || *a.slots == *b.slots)
}

func (s *Store) letGo(l *layout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, n := range maps.Clone(s.nodes) {
		if !l.has(n) {
			delete(s.nodes, addr)
			n.retire()
		}
	}
}

// tell logs what changed in one line.
func (s *Store) tell(before, after *layout) {
	if s.finder == nil || slices.Equal(before.masters, after.masters) {
		return
	}
	about := []any{"now", addrs(after)}
	if len(before.masters) > 0 {
		about = append(about, "before", addrs(before))
	}
	if after.slots != nil {
		about = append(about, "slots", after.covered())
	}
	s.opts.Logger.Info("masters of redis", about...)
}

func addrs(l *layout) string {
	var all []string
	for _, n := range l.masters {
		all = append(all, n.addr)
	}
	return strings.Join(all, " ")
}

// moved notes that a slot has another master, as the former one said. A master
// that is not known is looked for.
func (s *Store) moved(slot int, addr string) {
	s.kick()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[addr]; n != nil {
		s.installLocked(s.layout.Load().with(slot, n))
	}
}

// wantedFor is how long a server without slots is kept for the sake of those that
// are on their way to it.
const wantedFor = 30 * time.Second

// want has a server connected, or keeps it so, that may have no slots yet and to
// which a slot is being moved.
func (s *Store) want(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[addr] = time.Now()
	if s.nodes[addr] == nil {
		s.kick()
	}
}

// withWanted adds the wanted servers to the masters that were found.
func (s *Store) withWanted(f found) found {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addr := range slices.Sorted(maps.Keys(s.wanted)) {
		switch {
		case time.Since(s.wanted[addr]) > wantedFor:
			delete(s.wanted, addr)
		case !slices.Contains(f.masters, addr):
			f.masters = append(f.masters, addr)
		}
	}
	return f
}

// master returns the node at an address, nil if it is not a known master.
func (s *Store) master(addr string) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[addr]
}

// noMaster says why a key has no master.
func (s *Store) noMaster(key string) error {
	s.mu.Lock()
	problem := s.problem
	s.mu.Unlock()
	switch {
	case problem != "":
	case len(s.layout.Load().masters) == 0:
		problem = "it has not been found yet"
	default:
		problem = fmt.Sprintf("slot %d is served by nobody", slotOf(key))
	}
	return fmt.Errorf("%w: %s", errNoMaster, problem)
}

var errNoMaster = errors.New("redis has no master for the key")
