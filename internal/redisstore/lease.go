package redisstore

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

var (
	//go:embed lua/load_lease.lua
	loadLeaseSource string
	//go:embed lua/load_release.lua
	loadReleaseSource string

	loadLease   = newScript(loadLeaseSource)
	loadRelease = newScript(loadReleaseSource)
)

var _ store.Leaser = (*Store)(nil)

// LeaseLoad takes the lease to load a key in one script, on the master that has
// the key itself. A server without memory for it refuses: it would not take what
// is loaded either, so nobody should wait for that.
func (s *Store) LeaseLoad(ctx context.Context, k keys.Key, token string, life time.Duration) (held bool, left time.Duration, err error) {
	n, err := s.lease(ctx, loadLease, k, token, millis(max(life, time.Millisecond)))
	return err == nil && n == 0, time.Duration(n) * time.Millisecond, err
}

// ReleaseLoad gives the lease back in one script.
func (s *Store) ReleaseLoad(ctx context.Context, k keys.Key, token string) error {
	_, err := s.lease(ctx, loadRelease, k, token)
	return err
}

// lease runs a script on the lease of a key. Nobody relies on whether it had an
// effect, so its errors are those of a read.
func (s *Store) lease(ctx context.Context, sc script, k keys.Key, args ...string) (n int64, err error) {
	names := []string{s.opts.Space.Load(k)}
	err = s.on(ctx, k.String(), call{"EVALSHA", 1}, func(c rueidis.Client) (err error) {
		n, err = sc.run(ctx, c, names, args).AsInt64()
		return err
	})
	if err := classify(err, reading); err != nil {
		return 0, err
	}
	return n, nil
}
