package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// rig is a Redis of its own, to which things happen, and a cache on it.
type rig struct {
	dir   string
	redis *redistest.Server
	*assistant.Assistant
}

// newRig starts a server and opens a cache on it, with files below dir. Redis and
// DataDir of o are set here.
func newRig(dir string, o jackcache.Options) (*rig, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	redis, err := redistest.Launch(dir)
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, redis: redis}
	if err := r.open(o); err != nil {
		redis.Close()
		return nil, err
	}
	return r, nil
}

func (r *rig) open(o jackcache.Options) (err error) {
	o.DataDir = filepath.Join(r.dir, "data")
	o.Redis = &jackcache.RedisOptions{Addrs: []string{r.redis.Addr()}}
	o.Logger = slog.New(slog.DiscardHandler)
	r.Assistant, err = assistant.Open(context.Background(), o, assistant.TTLs{})
	return err
}

func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.Close(ctx) // whether its Redis is there or not
	r.redis.Close()
	_ = os.RemoveAll(r.dir) // the whole directory of the run goes at its end
}

// pending is cheaper than Stats, which measures.
func (r *rig) pending() int64 { return r.Cache.Health().Journal.Pending }

// drained waits until nothing is pending.
func (r *rig) drained(atMost time.Duration) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(atMost); r.pending() > 0; <-tick.C {
		if time.Now().After(end) {
			return fmt.Errorf("%d writes are pending after %s: %v", r.pending(), atMost, r.Cache.Health().Problems)
		}
	}
	return nil
}

// say appends a message of 150 bytes of prose.
func say(ctx context.Context, c jackcache.Conversation, id string) error {
	_, err := c.Append(ctx, jackcache.Message{ID: id, Role: "user", Content: conversationText})
	return err
}

// insist repeats a call that on a busy machine may need more than its budget.
func insist(call func() error) error {
	for end := time.Now().Add(10 * time.Second); ; {
		if err := call(); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// fill puts n messages into a conversation.
func fill(ctx context.Context, c jackcache.Conversation, n int) error {
	msgs := make([]jackcache.Message, n)
	for i, m := range conversation(n, 5) {
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		msgs[i] = jackcache.Message{JSON: b}
	}
	return insist(func() error {
		_, err := c.Append(ctx, msgs...)
		return err
	})
}
