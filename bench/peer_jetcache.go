package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"
	"github.com/mgtv-tech/jetcache-go"
	"github.com/mgtv-tech/jetcache-go/local"
	"github.com/mgtv-tech/jetcache-go/remote"
	"github.com/redis/go-redis/v9"
)

var jetcachePeer = &peer{name: "jetcache-go", hands: "copy, decoded by msgpack and s2", open: openJetcache}

const (
	// jetcacheChannel carries the events, as in the library's README.
	jetcacheChannel = "jetcache"
	// jetcacheShare is how much larger its TinyLFU must be told to be: it counts
	// each entry as so many.
	jetcacheShare = 57
)

type jetcacheClient struct {
	r      *redis.Client
	c      cache.Cache
	events *redis.PubSub
}

func openJetcache(c config) (peerClient, error) {
	r, self := newGoRedis(c, false), uuid.NewString()
	j := jetcacheClient{r: r, events: r.Subscribe(context.Background(), jetcacheChannel)}
	j.c = cache.New(cache.WithName("bench"),
		cache.WithRemote(remote.NewGoRedisV9Adapter(r)),
		cache.WithLocal(local.NewTinyLFU(max(1, c.Near)*jetcacheShare, nearTTL)),
		cache.WithRemoteExpiry(peerTTL), cache.WithErrNotFound(errAbsent),
		cache.WithStatsDisabled(true), cache.WithSourceId(self),
		cache.WithSyncLocal(true), cache.WithEventChBufSize(10_000),
		cache.WithEventHandler(func(e *cache.Event) {
			if b, err := json.Marshal(e); err == nil {
				r.Publish(context.Background(), jetcacheChannel, b)
			}
		}))
	messages := j.events.Channel()
	go func() {
		for m := range messages {
			var e cache.Event
			if json.Unmarshal([]byte(m.Payload), &e) != nil || e.SourceID == self {
				continue
			}
			for _, key := range e.Keys {
				j.c.DeleteFromLocalCache(key)
			}
		}
	}()
	return j, nil
}

func (j jetcacheClient) Get(ctx context.Context, id string) (view, error) {
	var v view
	err := j.c.Get(ctx, id, &v.talk)
	if errors.Is(err, cache.ErrCacheMiss) {
		err = errAbsent
	}
	return v, err
}

func (j jetcacheClient) Set(ctx context.Context, id string, t talk) error {
	return j.c.Set(ctx, id, cache.Value(t), cache.TTL(peerTTL))
}

func (j jetcacheClient) Load(ctx context.Context, id string, load func() (talk, error)) (view, error) {
	var v view
	err := j.c.Once(ctx, id, cache.Value(&v.talk), cache.TTL(peerTTL),
		cache.Do(func(context.Context) (any, error) { return load() }))
	return v, err
}

func (j jetcacheClient) Close() {
	_ = j.events.Close() // its Redis may be gone
	j.c.Close()
	_ = j.r.Close()
}
