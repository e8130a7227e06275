package main

import (
	"context"

	"github.com/maypok86/otter/v2"
)

// otterPeer is the limit of near hits: it has no Redis.
var otterPeer = &peer{
	name: "otter, raw", hands: "the value itself, shared by all callers", open: openOtter,
	declines: map[string]string{
		"sharedhit": oneProcess, "mix": oneProcess, "coherence": oneProcess, "frozen": oneProcess, "killed": oneProcess, "append": oneProcess,
	},
}

const oneProcess = "is the memory of one process, without Redis"

type otterClient struct{ c *otter.Cache[string, talk] }

func openOtter(c config) (peerClient, error) {
	cache, err := otter.New(&otter.Options[string, talk]{MaximumSize: max(1, c.Near), ExpiryCalculator: otter.ExpiryWriting[string, talk](nearTTL)})
	return otterClient{cache}, err
}

func (o otterClient) Get(_ context.Context, id string) (view, error) {
	t, ok := o.c.GetIfPresent(id)
	if !ok {
		return view{}, errAbsent
	}
	return view{talk: t}, nil
}

func (o otterClient) Set(_ context.Context, id string, t talk) error {
	o.c.Set(id, t)
	return nil
}

func (o otterClient) Load(ctx context.Context, id string, load func() (talk, error)) (view, error) {
	t, err := o.c.Get(ctx, id, otter.LoaderFunc[string, talk](func(context.Context, string) (talk, error) { return load() }))
	return view{talk: t}, err
}

func (o otterClient) Close() { o.c.StopAllGoroutines() }
