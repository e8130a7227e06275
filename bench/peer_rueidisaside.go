package main

import (
	"context"
	"encoding/json"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidisaside"
)

var rueidisAside = &peer{name: "rueidisaside", hands: "copy, decoded by encoding/json", open: openRueidisAside}

// asideClient writes past the library, which can only load.
type asideClient struct{ rueidisaside.CacheAsideClient }

func openRueidisAside(c config) (peerClient, error) {
	a, err := rueidisaside.NewClient(rueidisaside.ClientOption{ClientOption: rueidisOptions(c)})
	return asideClient{a}, err
}

func (a asideClient) Get(ctx context.Context, id string) (view, error) {
	return a.Load(ctx, id, func() (talk, error) { return nil, errAbsent })
}

func (a asideClient) Load(ctx context.Context, id string, load func() (talk, error)) (view, error) {
	s, err := a.CacheAsideClient.Get(ctx, peerTTL, id, func(context.Context, string) (string, error) {
		t, err := load()
		if err != nil {
			return "", err
		}
		return rueidis.JSON(t), nil
	})
	if err != nil {
		return view{}, err
	}
	var v view
	return v, json.Unmarshal([]byte(s), &v.talk)
}

func (a asideClient) Set(ctx context.Context, id string, t talk) error {
	return rueidisSet(ctx, a.Client(), id, t)
}
