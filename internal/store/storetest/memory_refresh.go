package storetest

import (
	"context"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// GetLives implements store.Store.
func (m *Memory) GetLives(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	return m.GetMany(ctx, ks)
}

// Refresh implements store.Store.
func (m *Memory) Refresh(ctx context.Context, r store.Refresh) (left time.Duration, err error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	now := m.time()
	read := m.readLocked(r.Key, now)
	if !read.Live() || read.Value.Version != r.Version || read.Value.Generation < r.Generation {
		return 0, nil
	}
	v := m.values[r.Key.String()]
	v.expiresAt, _ = r.Prolonged(now, v.expiresAt)
	return v.expiresAt.Sub(now), nil
}
