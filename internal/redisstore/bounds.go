package redisstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Bounds reads from a conversation's companion what it forgot on purpose. The
// hash may outlive the conversation for the sake of the floor: what else it says
// has no meaning then.
func (s *Store) Bounds(ctx context.Context, k keys.Key) (floor clock.Version, trimmedTo record.Order, exists bool, err error) {
	var state, now []string
	meta := s.opts.Space.Meta(k)
	err = s.on(ctx, k.String(), call{"HMGET", 2}, func(c rueidis.Client) (err error) {
		rs := c.DoMulti(ctx,
			c.B().Hmget().Key(meta).Field("generation", "floor", "trimmedTo", "expiresAt").Build(),
			c.B().Time().Build())
		if state, err = rs[0].AsStrSlice(); err == nil {
			now, err = rs[1].AsStrSlice()
		}
		return err
	})
	if err := classify(err, reading); err != nil {
		return floor, trimmedTo, false, err
	}
	if len(state) != 4 || len(now) != 2 {
		return floor, trimmedTo, false, fmt.Errorf("%w: %s answers %q, the time %q", store.ErrCorrupt, meta, state, now)
	}
	if state[0] == "" { // a script writes it first
		return floor, trimmedTo, false, nil
	}
	if state[1] != "" {
		if floor, err = clock.Parse(state[1]); err != nil {
			return floor, trimmedTo, false, fmt.Errorf("%w: floor %q in %s", store.ErrCorrupt, state[1], meta)
		}
	}
	alive, err := later(state[3], now)
	if err == nil && alive && state[2] != "" {
		trimmedTo, err = record.ParseOrder(state[2])
	}
	if err != nil {
		return floor, trimmedTo, false, fmt.Errorf("%w: %s holds %q", store.ErrCorrupt, meta, state)
	}
	return floor, trimmedTo, true, nil
}

// later reports whether an instant in milliseconds, empty for none, is after the
// time of a server, which is seconds and microseconds.
func later(millis string, now []string) (bool, error) {
	if millis == "" {
		return false, nil
	}
	at, err := strconv.ParseInt(millis, 10, 64)
	if err != nil {
		return false, err
	}
	seconds, err := strconv.ParseInt(now[0], 10, 64)
	if err != nil {
		return false, err
	}
	micros, err := strconv.ParseInt(now[1], 10, 64)
	return at > seconds*1000+micros/1000, err
}
