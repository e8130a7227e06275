package redisstore

import (
	"context"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// restFactor is how many times as long as its commands take, the way to the server
// and the wait for others there included, a reclaim rests: so it has a twentieth of
// a server's time at most, and less of one that is busy.
const restFactor = 19

var _ store.Reclaimer = (*Store)(nil)

// Reclaim implements store.Reclaimer: one scan of every master for all of the
// organisations.
func (s *Store) Reclaim(ctx context.Context, os []keys.Org, rate int) (store.Reclaimed, error) {
	if len(os) == 0 {
		return store.Reclaimed{}, nil
	}
	w := sweeper{s: s, orgs: make(map[keys.Org]bool, len(os)), generations: make(map[keys.Org]uint64)}
	for _, o := range os {
		w.orgs[o] = true
	}
	var pattern keys.Org // of all
	if len(os) == 1 {
		pattern = os[0]
	}
	looked, began := 0, time.Now()
	err := s.scanAll(ctx, pattern, func(c rueidis.Client, names []string) error {
		looked += sweepCount
		for part := range slices.Chunk(names, sweepBatch) {
			if err := w.sweep(ctx, c, part); err != nil {
				return err
			}
			if !pause(ctx, restFactor*time.Since(began)) {
				return ctx.Err()
			}
			began = time.Now()
		}
		least := time.Duration(sweepCount) * time.Second / time.Duration(rate)
		if !pause(ctx, max(least, restFactor*time.Since(began))) {
			return ctx.Err()
		}
		began = time.Now()
		return nil
	})
	return store.Reclaimed{Looked: looked, Removed: w.removed}, err
}
