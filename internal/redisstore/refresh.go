package redisstore

import (
	"context"
	_ "embed"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

//go:embed lua/value_refresh.lua
var valueRefreshSource string

var valueRefresh = newScript(valueRefreshSource)

// Refresh prolongs a life in one script. Nobody relies on whether it had an effect,
// so its errors are those of a read.
func (s *Store) Refresh(ctx context.Context, r store.Refresh) (left time.Duration, err error) {
	args := []string{
		r.Version.String(), hexadecimal(r.Generation), millis(r.TTL), instant(r.Until),
		strconv.FormatInt((r.TTL - r.TTL/store.RefreshPart).Milliseconds(), 10),
	}
	var n int64
	err = s.on(ctx, r.Key.String(), call{"EVALSHA", 1}, func(c rueidis.Client) (err error) {
		n, err = valueRefresh.run(ctx, c, s.scriptKeys(r.Key), args).AsInt64()
		return err
	})
	return time.Duration(n) * time.Millisecond, classify(err, reading)
}

// GetLives reads values, and what is left of their lives, in one trip.
func (s *Store) GetLives(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	return s.getMany(ctx, ks, make([]rueidis.RedisMessage, len(ks)))
}

// leftOf is what an answer to PTTL says of something that was just read: zero if it
// does not expire.
func leftOf(m rueidis.RedisMessage) (time.Duration, error) {
	n, err := m.AsInt64()
	switch {
	case err != nil:
		return 0, classify(err, reading)
	case n == -1:
		return 0, nil
	}
	return time.Duration(max(n, 1)) * time.Millisecond, nil // gone meanwhile: at its end
}
