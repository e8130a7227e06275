package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

const (
	// recentIdle is how long is kept what nobody looks at.
	recentIdle = 10 * time.Second
	// recentEntry is about what an entry takes beside its key and what it counts itself.
	recentEntry = 250
)

// weight is about how many bytes something takes that grows while it is kept.
type weight struct{ bytes atomic.Int64 }

func (w *weight) weighed() *weight { return w }

// recent keeps by key what was looked at last, within a bound of bytes. The zero
// value has nothing.
type recent[T interface{ weighed() *weight }] struct {
	mu sync.Mutex
	// young has what was looked at last, old what was before: at half of the bound the
	// young become the old.
	young, old map[string]T // guarded by mu
	bytes      int          // guarded by mu: about what young takes
	used       time.Time    // guarded by mu
}

// get returns what is kept of a key, which fresh makes where there is nothing.
func (s *recent[T]) get(k keys.Key, bound int, fresh func() T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = time.Now()
	if s.bytes > bound/2 || s.young == nil {
		s.young, s.old, s.bytes = make(map[string]T), s.young, 0
	}
	v, ok := s.young[k.String()]
	if !ok {
		if v, ok = s.old[k.String()]; !ok {
			v = fresh()
		}
		s.young[k.String()] = v
		s.bytes += int(v.weighed().bytes.Load()) + recentEntry + len(k.String())
	}
	return v
}

// peek returns what is kept of a key, and does not count as a look.
func (s *recent[T]) peek(k keys.Key) (v T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok = s.young[k.String()]; !ok {
		v, ok = s.old[k.String()]
	}
	return v, ok
}

func (s *recent[T]) grew(v T, n int) {
	if n == 0 {
		return
	}
	v.weighed().bytes.Add(int64(n))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += n
}

// forget lets go of all when nobody has looked for a while.
func (s *recent[T]) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young != nil && time.Since(s.used) > recentIdle {
		s.young, s.old, s.bytes = nil, nil, 0
	}
}
