package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/jackcache/jackcache"
)

var jackcacheValue = &peer{
	name: "jackcache, value", hands: "copy, decoded by sonic",
	open:     func(c config) (peerClient, error) { return openJackcache(c, false, valueWeight) },
	declines: map[string]string{"append": "values are written whole; what is appended to is a conversation"},
}

var jackcacheTalk = &peer{
	name: "jackcache, conversation", hands: "copy, scanned by gjson", speaks: true,
	open:     func(c config) (peerClient, error) { return openJackcache(c, true, talkWeight) },
	declines: map[string]string{"stampede": "conversations are not loaded; values are"},
}

// talkKind is declared as a user would.
var talkKind = jackcache.NewKind[talk](jackcache.KindOptions{Name: "benchTalk", ID: jackcache.PlusPhoneID, TTL: peerTTL})

type jackcacheClient struct {
	cache *jackcache.Cache
	org   jackcache.Org
}

// jackcacheTalks keeps talks as conversations.
type jackcacheTalks struct{ jackcacheClient }

// What a copy of a talk counts, decoded with what keeping it costs: the budget of the
// near tier is in bytes, and it has room for as many as the others keep.
const (
	valueWeight = 9_500
	talkWeight  = 15_500
)

func openJackcache(c config, conversations bool, weight int64) (peerClient, error) {
	o := jackcache.Options{
		DataDir: c.Dir, Redis: &jackcache.RedisOptions{Addrs: []string{c.Addr}},
		Kinds: []jackcache.AnyKind{talkKind}, Near: jackcache.NearOptions{MaxBytes: int64(c.Near) * weight, Share: 1},
		Logger: slog.New(slog.DiscardHandler),
	}
	if !c.Hurried {
		o.Budget = 10 * time.Second
	}
	cache, err := jackcache.Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	j := jackcacheClient{cache: cache, org: cache.Org("bench")}
	if conversations {
		return jackcacheTalks{j}, nil
	}
	return j, nil
}

func (j jackcacheClient) Get(ctx context.Context, id string) (view, error) {
	t, err := talkKind.Get(ctx, j.org, id)
	if errors.Is(err, jackcache.ErrNotFound) {
		err = errAbsent
	}
	return view{talk: t}, err
}

func (j jackcacheClient) Set(ctx context.Context, id string, t talk) error {
	_, err := talkKind.Set(ctx, j.org, id, t)
	return err
}

func (j jackcacheClient) Load(ctx context.Context, id string, load func() (talk, error)) (view, error) {
	t, err := talkKind.GetOrLoad(ctx, j.org, id, func(context.Context) (talk, error) { return load() })
	return view{talk: t}, err
}

func (j jackcacheClient) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = j.cache.Close(ctx) // whether its Redis is there or not
}

// Get reads the newest 20 messages.
func (j jackcacheTalks) Get(ctx context.Context, id string) (view, error) {
	return j.read(ctx, id, jackcache.ReadOptions{Last: 20})
}

func (j jackcacheTalks) read(ctx context.Context, id string, o jackcache.ReadOptions) (view, error) {
	t, err := j.org.Conversation(id).Messages(ctx, o)
	if err == nil && len(t.Messages) == 0 {
		err = errAbsent
	}
	return view{messages: t.Messages}, err
}

func (j jackcacheTalks) Set(ctx context.Context, id string, t talk) error {
	msgs := make([]jackcache.Message, len(t))
	for i, m := range t {
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		msgs[i] = jackcache.Message{JSON: b}
	}
	_, err := j.org.Conversation(id).Replace(ctx, msgs...)
	return err
}

func (j jackcacheTalks) Append(ctx context.Context, id string, m benchMessage) error {
	_, err := j.org.Conversation(id).Append(ctx, jackcache.Message{
		ID: m.ID, Role: m.Role, Content: m.Content, Timestamp: time.UnixMilli(m.Timestamp),
	})
	return err
}

func (j jackcacheTalks) Appended(ctx context.Context, id string) (view, error) {
	return j.read(ctx, id, jackcache.ReadOptions{})
}
