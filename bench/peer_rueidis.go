package main

import (
	"context"
	"encoding/json"
	"net"
	"runtime"
	"time"

	"github.com/redis/rueidis"
)

var rueidisPlain = &peer{
	name: "rueidis", open: func(c config) (peerClient, error) { return openRueidis(c, false) },
	declines: map[string]string{"nearhit": noNear},
}

var rueidisCached = &peer{
	name: "rueidis, DoCache", hands: "copy, decoded by encoding/json",
	open: func(c config) (peerClient, error) { return openRueidis(c, true) },
}

// rueidisClient keeps JSON, and lists of it for appends.
type rueidisClient struct {
	rueidis.Client
	cached bool
}

// rueidisOptions are the defaults where nothing hangs.
func rueidisOptions(c config) rueidis.ClientOption {
	o := rueidis.ClientOption{
		InitAddress: []string{c.Addr}, ForceSingleClient: true,
		CacheSizeEachConn: max(1, c.Near) * nearBytes / min(4, runtime.GOMAXPROCS(0)), // its default is so many connections
	}
	if c.Hurried {
		o.DisableRetry, o.ConnWriteTimeout = true, 2*peerDeadline
		o.Dialer = net.Dialer{Timeout: peerDeadline, KeepAlive: time.Second}
	}
	return o
}

func openRueidis(c config, cached bool) (peerClient, error) {
	o := rueidisOptions(c)
	o.DisableCache = !cached
	r, err := rueidis.NewClient(o)
	return rueidisClient{r, cached}, err
}

func (r rueidisClient) Get(ctx context.Context, id string) (view, error) {
	var res rueidis.RedisResult
	if r.cached {
		res = r.DoCache(ctx, r.B().Get().Key(id).Cache(), nearTTL)
	} else {
		res = r.Do(ctx, r.B().Get().Key(id).Build())
	}
	var v view
	err := res.DecodeJSON(&v.talk)
	if rueidis.IsRedisNil(err) {
		err = errAbsent
	}
	return v, err
}

func (r rueidisClient) Set(ctx context.Context, id string, t talk) error {
	return rueidisSet(ctx, r.Client, id, t)
}

func rueidisSet(ctx context.Context, r rueidis.Client, id string, t talk) error {
	return r.Do(ctx, r.B().Set().Key(id).Value(rueidis.JSON(t)).Ex(peerTTL).Build()).Error()
}

func (r rueidisClient) Append(ctx context.Context, id string, m benchMessage) error {
	return r.Do(ctx, r.B().Rpush().Key("list:"+id).Element(rueidis.JSON(m)).Build()).Error()
}

func (r rueidisClient) Appended(ctx context.Context, id string) (view, error) {
	all, err := r.Do(ctx, r.B().Lrange().Key("list:"+id).Start(0).Stop(-1).Build()).AsStrSlice()
	if err != nil {
		return view{}, err
	}
	return elements(all)
}

// elements decodes the elements of a list.
func elements(all []string) (view, error) {
	v := view{talk: make(talk, len(all))}
	for i, s := range all {
		if err := json.Unmarshal([]byte(s), &v.talk[i]); err != nil {
			return view{}, err
		}
	}
	return v, nil
}
