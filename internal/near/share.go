package near

import "sync"

// maxOwn is how many entries of its own organisation a fill may remove for its room.
const maxOwn = 1024

// reserve counts bytes for an organisation, and makes room in its share with
// entries of its own. False: there is none, and nothing is counted.
func (t *Tier) reserve(a *account, bytes int64) bool {
	for range maxOwn {
		had := a.bytes.Load()
		if had+bytes <= t.share {
			if a.bytes.CompareAndSwap(had, had+bytes) {
				return true
			}
			continue
		}
		e := a.candidate()
		if e == nil {
			return false
		}
		if t.remove(e) {
			t.counts.ownEvictions.Add(1)
		}
	}
	return false
}

// sweeper regains the room of organisations whose generation changed, behind those
// who tell it.
type sweeper struct {
	mu     sync.Mutex // guards queue and the accounts' sweeping
	queue  []*account
	wake   chan struct{}
	closed chan struct{}
	once   sync.Once // closes closed
	done   sync.WaitGroup
}

func (s *sweeper) start(sweep func(*account)) {
	s.wake, s.closed = make(chan struct{}, 1), make(chan struct{})
	s.done.Go(func() {
		for {
			select {
			case <-s.closed:
				return
			case <-s.wake:
			}
			for a := s.next(); a != nil; a = s.next() {
				sweep(a)
			}
		}
	})
}

func (s *sweeper) stop() {
	s.once.Do(func() { close(s.closed) })
	s.done.Wait()
}

func (s *sweeper) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// add has an account swept. It stands in the queue once.
func (s *sweeper) add(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.sweeping {
		return
	}
	a.sweeping = true
	s.queue = append(s.queue, a)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sweeper) next() *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.queue = nil
		return nil
	}
	a := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	// From now on it may be added again: what ends meanwhile is not missed.
	a.sweeping = false
	return a
}

// sweepBatch is how many entries are looked for at a time.
const sweepBatch = 128

// sweep removes the entries of an account whose time is over. One that was kept
// while the generation changed may stand behind newer ones: it is left, and goes
// by its TTL or when room is needed.
func (t *Tier) sweep(a *account) {
	batch := make([]*entry, 0, sweepBatch)
	for !t.sweeps.isClosed() {
		batch = a.over(batch[:0])
		removed := 0
		for _, e := range batch {
			if t.remove(e) {
				removed++
			}
		}
		t.counts.swept.Add(uint64(removed))
		if removed == 0 {
			return
		}
	}
}
