package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/redis/rueidis"
	"github.com/viccon/sturdyc"
)

var sturdycPeer = &peer{name: "sturdyc", hands: "the value itself, shared by all callers", open: openSturdyc}

// sturdycClient writes to Redis itself: the library only reads through.
type sturdycClient struct {
	r rueidis.Client
	c *sturdyc.Client[talk]
}

// sturdycRecord is the form in which the library keeps values in Redis.
type sturdycRecord struct {
	CreatedAt time.Time `json:"created_at"`
	Value     talk      `json:"value"`
	Missing   bool      `json:"is_missing_record"`
}

func openSturdyc(c config) (peerClient, error) {
	o := rueidisOptions(c)
	o.DisableCache = true
	r, err := rueidis.NewClient(o)
	if err != nil {
		return nil, err
	}
	return sturdycClient{r, sturdyc.New[talk](max(16, c.Near), 16, nearTTL, 10,
		sturdyc.WithDistributedStorage(sturdycStorage{r}), sturdyc.WithLog(quiet{}))}, nil
}

func (s sturdycClient) Get(ctx context.Context, id string) (view, error) {
	t, err := s.c.GetOrFetch(ctx, id, sturdycAbsent)
	return view{talk: t}, err
}

func sturdycAbsent(context.Context) (talk, error) { return nil, errAbsent }

func (s sturdycClient) Load(ctx context.Context, id string, load func() (talk, error)) (view, error) {
	t, err := s.c.GetOrFetch(ctx, id, func(context.Context) (talk, error) { return load() })
	return view{talk: t}, err
}

func (s sturdycClient) Set(ctx context.Context, id string, t talk) error {
	b, err := json.Marshal(sturdycRecord{CreatedAt: time.Now(), Value: t})
	if err != nil {
		return err
	}
	if err := s.r.Do(ctx, s.r.B().Set().Key(id).Value(rueidis.BinaryString(b)).Ex(peerTTL).Build()).Error(); err != nil {
		return err
	}
	s.c.Set(id, t)
	return nil
}

func (s sturdycClient) Close() { s.r.Close() }

// sturdycStorage is the library's DistributedStorage: it has no errors.
type sturdycStorage struct{ r rueidis.Client }

func (s sturdycStorage) Get(ctx context.Context, key string) ([]byte, bool) {
	b, err := s.r.Do(ctx, s.r.B().Get().Key(key).Build()).AsBytes()
	return b, err == nil
}

func (s sturdycStorage) Set(ctx context.Context, key string, value []byte) {
	_ = s.r.Do(ctx, s.r.B().Set().Key(key).Value(rueidis.BinaryString(value)).Ex(peerTTL).Build()).Error()
}

func (s sturdycStorage) GetBatch(ctx context.Context, keys []string) map[string][]byte {
	all := make(map[string][]byte)
	for _, k := range keys {
		if b, ok := s.Get(ctx, k); ok {
			all[k] = b
		}
	}
	return all
}

func (s sturdycStorage) SetBatch(ctx context.Context, records map[string][]byte) {
	for k, b := range records {
		s.Set(ctx, k, b)
	}
}

// quiet is a logger that says nothing.
type quiet struct{}

func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}
