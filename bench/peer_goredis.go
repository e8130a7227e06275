package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

var goredisPlain = &peer{
	name: "go-redis", open: func(c config) (peerClient, error) { return goredisClient{newGoRedis(c, false)}, nil },
	declines: map[string]string{"nearhit": noNear},
}

var goredisCached = &peer{
	name: "go-redis, client-side cache", hands: "copy, decoded by encoding/json",
	open: func(c config) (peerClient, error) { return goredisClient{newGoRedis(c, true)}, nil },
}

// goredisClient keeps JSON, and lists of it for appends.
type goredisClient struct{ r *redis.Client }

// silent keeps the library from writing about what the bench does to Redis.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

// newGoRedis has a connection for each of 64 callers, more than the default.
func newGoRedis(c config, cached bool) *redis.Client {
	o := &redis.Options{
		Addr: c.Addr, PoolSize: 64,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if cached {
		o.Protocol = 3
		o.ClientSideCacheConfig = &redis.ClientSideCacheConfig{MaxEntries: c.Near, MaxStaleness: nearTTL}
	}
	if c.Hurried {
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = peerDeadline, peerDeadline, peerDeadline, peerDeadline
		o.MaxRetries, o.ContextTimeoutEnabled = -1, true
	}
	return redis.NewClient(o)
}

func (g goredisClient) Get(ctx context.Context, id string) (view, error) {
	b, err := g.r.Get(ctx, id).Bytes()
	if errors.Is(err, redis.Nil) {
		err = errAbsent
	}
	if err != nil {
		return view{}, err
	}
	var v view
	return v, json.Unmarshal(b, &v.talk)
}

func (g goredisClient) Set(ctx context.Context, id string, t talk) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return g.r.Set(ctx, id, b, peerTTL).Err()
}

func (g goredisClient) Append(ctx context.Context, id string, m benchMessage) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return g.r.RPush(ctx, "list:"+id, b).Err()
}

func (g goredisClient) Appended(ctx context.Context, id string) (view, error) {
	all, err := g.r.LRange(ctx, "list:"+id, 0, -1).Result()
	if err != nil {
		return view{}, err
	}
	return elements(all)
}

func (g goredisClient) Close() { _ = g.r.Close() } // its Redis may be gone
