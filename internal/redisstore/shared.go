package redisstore

import "github.com/jackcache/jackcache/internal/keys"

// Serves reports whether an operation on the key would be sent now. In a Cluster
// that takes the master of the organisation's generation, too.
func (s *Store) Serves(k keys.Key) bool {
	if s.closed.Load() || s.identity.wrong.Load() != nil {
		return false
	}
	l := s.layout.Load()
	return l.serving(k.String()) && (l.slots == nil || l.serving(s.generationOf(k.Org())))
}

// errAway is what refused is for a write that comes while the breaker is open.
var errAway = classify(errOpen, writing)

// Away implements store.Refuser.
func (s *Store) Away(k keys.Key) error {
	if s.closed.Load() || s.identity.wrong.Load() != nil {
		return nil
	}
	if n := s.layout.Load().node(k.String()); n == nil || n.closed.Load() || n.breaker.Allow() {
		return nil
	}
	return errAway
}

func (l *layout) serving(key string) bool {
	n := l.node(key)
	return n != nil && n.breaker.Allow()
}
