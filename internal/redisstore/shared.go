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

func (l *layout) serving(key string) bool {
	n := l.node(key)
	return n != nil && n.breaker.Allow()
}
