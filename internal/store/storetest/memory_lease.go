package storetest

import (
	"context"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

var _ store.Leaser = (*Memory)(nil)

// lease is that to load a key.
type lease struct {
	token     string
	expiresAt time.Time
}

// LeaseLoad implements store.Leaser.
func (m *Memory) LeaseLoad(ctx context.Context, k keys.Key, token string, life time.Duration) (held bool, left time.Duration, err error) {
	if err := m.enter(ctx); err != nil {
		return false, 0, err
	}
	defer m.mu.Unlock()
	now := m.time()
	l := m.leases[k]
	if left := l.expiresAt.Sub(now); left > 0 && l.token != token && store.MissOf(l.token) >= store.MissOf(token) {
		return false, left, nil
	}
	m.leases[k] = lease{token: token, expiresAt: now.Add(life)}
	return true, 0, nil
}

// ReleaseLoad implements store.Leaser.
func (m *Memory) ReleaseLoad(ctx context.Context, k keys.Key, token string) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if m.leases[k].token == token {
		delete(m.leases, k)
	}
	return nil
}
