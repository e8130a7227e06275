package main

import (
	"context"
	"errors"

	"github.com/go-redis/cache/v9"
	"github.com/redis/go-redis/v9"
)

var gorediscache = &peer{name: "go-redis/cache", hands: "copy, decoded by msgpack and s2", open: openGoRedisCache}

type gorediscacheClient struct {
	r *redis.Client
	c *cache.Cache
}

func openGoRedisCache(c config) (peerClient, error) {
	r := newGoRedis(c, false)
	return gorediscacheClient{r, cache.New(&cache.Options{Redis: r, LocalCache: cache.NewTinyLFU(max(1, c.Near), nearTTL)})}, nil
}

func (g gorediscacheClient) Get(ctx context.Context, id string) (view, error) {
	var v view
	err := g.c.Get(ctx, id, &v.talk)
	if errors.Is(err, cache.ErrCacheMiss) {
		err = errAbsent
	}
	return v, err
}

func (g gorediscacheClient) Set(ctx context.Context, id string, t talk) error {
	return g.c.Set(&cache.Item{Ctx: ctx, Key: id, Value: t, TTL: peerTTL})
}

func (g gorediscacheClient) Load(ctx context.Context, id string, load func() (talk, error)) (view, error) {
	var v view
	err := g.c.Once(&cache.Item{
		Ctx: ctx, Key: id, Value: &v.talk, TTL: peerTTL,
		Do: func(*cache.Item) (any, error) { return load() },
	})
	return v, err
}

func (g gorediscacheClient) Close() { _ = g.r.Close() } // its Redis may be gone
