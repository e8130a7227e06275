package main

import (
	"context"
	"sync/atomic"

	"github.com/dgraph-io/ristretto"
	"github.com/eko/gocache/lib/v4/cache"
	"github.com/eko/gocache/lib/v4/marshaler"
	"github.com/eko/gocache/lib/v4/store"
	gocacheredis "github.com/eko/gocache/store/redis/v4"
	gocacheristretto "github.com/eko/gocache/store/ristretto/v4"
	"github.com/redis/go-redis/v9"
	"github.com/vmihailenco/msgpack/v5"
)

var gocachePeer = &peer{name: "eko/gocache", hands: "copy, decoded by msgpack", open: openGocache}

// gocacheClient is ristretto before Redis, behind the library's marshaler.
type gocacheClient struct {
	r    *redis.Client
	near *ristretto.Cache
	all  *cache.LoadableCache[any]
	m    *marshaler.Marshaler
	load atomic.Pointer[func() (talk, error)] // the library has one loader for all
}

func openGocache(c config) (peerClient, error) {
	near := int64(max(1, c.Near))
	mem, err := ristretto.NewCache(&ristretto.Config{NumCounters: 10 * near, MaxCost: near, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		return nil, err
	}
	g := &gocacheClient{r: newGoRedis(c, false), near: mem}
	chain := cache.NewChain[any](
		cache.New[any](gocacheristretto.NewRistretto(mem, store.WithCost(1), store.WithExpiration(nearTTL))),
		cache.New[any](gocacheredis.NewRedis(g.r, store.WithExpiration(peerTTL))))
	g.all = cache.NewLoadable[any](g.loaded, chain)
	g.m = marshaler.New(g.all)
	return g, nil
}

func (g *gocacheClient) loaded(context.Context, any) (any, []store.Option, error) {
	load := g.load.Load()
	if load == nil {
		return nil, nil, errAbsent
	}
	t, err := (*load)()
	if err != nil {
		return nil, nil, err
	}
	b, err := msgpack.Marshal(t)
	return b, []store.Option{store.WithCost(1)}, err
}

func (g *gocacheClient) Get(ctx context.Context, id string) (view, error) {
	var v view
	_, err := g.m.Get(ctx, id, &v.talk)
	return v, err
}

func (g *gocacheClient) Set(ctx context.Context, id string, t talk) error {
	return g.m.Set(ctx, id, t, store.WithCost(1))
}

func (g *gocacheClient) Load(ctx context.Context, id string, load func() (talk, error)) (view, error) {
	g.load.CompareAndSwap(nil, &load)
	return g.Get(ctx, id)
}

func (g *gocacheClient) Close() {
	_ = g.all.Close() // what waits for Redis may not get there
	g.near.Close()
	_ = g.r.Close()
}
