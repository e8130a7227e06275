package storetest

import (
	"context"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
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

// Missed implements store.Shared: it has no servers.
func (m *Memory) Missed(keys.Key) bool { return true }

// Bounds implements store.Shared.
func (m *Memory) Bounds(ctx context.Context, k keys.Key) (floor clock.Version, trimmedTo record.Order, exists bool, err error) {
	if err := m.enter(ctx); err != nil {
		return floor, trimmedTo, false, err
	}
	defer m.mu.Unlock()
	c, now := m.conversations[k.String()], m.time()
	switch {
	case c == nil:
		return floor, trimmedTo, false, nil
	case c.alive(now):
		return c.floor, c.trimmedTo, true, nil
	case now.Before(c.floorUntil):
		return c.floor, trimmedTo, true, nil
	}
	return floor, trimmedTo, false, nil
}

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
