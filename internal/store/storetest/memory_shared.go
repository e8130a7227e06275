package storetest

import (
	"context"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
)

// token is that of an invalidation.
type token struct {
	org     keys.Org
	version clock.Version
}

// Serves implements store.Shared.
func (m *Memory) Serves(keys.Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.closed
}

// Doubtful implements store.Shared. It loses nothing.
func (m *Memory) Doubtful(keys.Key) bool { return false }

// InvalidateOnce implements store.Shared.
func (m *Memory) InvalidateOnce(ctx context.Context, o keys.Org, known uint64, version clock.Version) (uint64, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	t := token{org: o, version: version}
	if m.invalidated[t] == 0 {
		m.invalidated[t] = max(m.generations[o], known) + 1
	}
	m.generations[o] = max(m.generations[o], m.invalidated[t])
	return m.invalidated[t], nil
}
