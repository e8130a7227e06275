package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// valueKeys is how many keys the contests of values spread over.
const valueKeys = 1000

// environment is the servers and clients of a run.
type environment struct {
	dir      string
	redis    *redistest.Server
	plain    rueidis.Client // default options
	tuned    rueidis.Client // the product's options
	shared   *assistant.Assistant
	embedded *assistant.Assistant
	closers  []func()
}

// kinds of the bench: the same value in the three forms that are compared.
var (
	rawKind     = jackcache.NewKind[json.RawMessage](jackcache.KindOptions{Name: "rawValue", TTL: time.Hour, CompressAbove: -1})
	zstdKind    = jackcache.NewKind[json.RawMessage](jackcache.KindOptions{Name: "zstdValue", TTL: time.Hour})
	decodedKind = jackcache.NewKind[[]benchMessage](jackcache.KindOptions{Name: "decodedValue", TTL: time.Hour, CompressAbove: -1})
)

type benchMessage struct {
	ID        string `json:"id"`
	Role      string `json:"role"`
	Content   string `json:"content"`
	Timestamp int64  `json:"timestamp"`
}

func newEnvironment(dir string) (*environment, error) {
	e := &environment{dir: dir}
	var err error
	if e.redis, err = redistest.Launch(dir); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, e.redis.Close)
	if e.plain, err = rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{e.redis.Addr()}, ForceSingleClient: true, DisableCache: true,
	}); err != nil {
		return nil, err
	}
	if e.tuned, err = rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{e.redis.Addr()}, ForceSingleClient: true, DisableCache: true,
		PipelineMultiplex: -1, AlwaysPipelining: true, DisableRetry: true, RingScaleEachConn: 13,
		ConnWriteTimeout:   500 * time.Millisecond,
		Dialer:             net.Dialer{Timeout: 250 * time.Millisecond, KeepAlive: 250 * time.Millisecond},
		ReadBufferEachConn: 128 << 10, WriteBufferEachConn: 64 << 10,
	}); err != nil {
		return nil, err
	}
	kinds := []jackcache.AnyKind{rawKind, zstdKind, decodedKind}
	options := func(name string) jackcache.Options {
		return jackcache.Options{
			DataDir: filepath.Join(dir, name), Kinds: kinds, Logger: slog.New(slog.DiscardHandler),
			Budget: 10 * time.Second, Embedded: jackcache.EmbeddedOptions{Budget: 10 * time.Second},
			Conversation: jackcache.ConversationOptions{Window: 10_000, WindowBytes: 64 << 20},
		}
	}
	o := options("shared")
	o.Redis = &jackcache.RedisOptions{Addrs: []string{e.redis.Addr()}}
	ctx := context.Background()
	if e.shared, err = assistant.Open(ctx, o, assistant.TTLs{}); err != nil {
		return nil, err
	}
	if e.embedded, err = assistant.Open(ctx, options("embedded"), assistant.TTLs{}); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *environment) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := errors.Join(e.shared.Close(ctx), e.embedded.Close(ctx)); err != nil {
		fmt.Fprintln(os.Stderr, "bench: close:", err)
	}
	e.plain.Close()
	e.tuned.Close()
	for _, c := range e.closers {
		c()
	}
}

var words = strings.Fields(`the car is available on Saturday morning and we can hold it for you until noon
	would you like to see the blue one or should I look for another colour in your price range today`)

// conversation makes n messages of about 150 characters of prose.
func conversation(n int, seed uint64) []benchMessage {
	r := rand.New(rand.NewPCG(seed, 1))
	msgs := make([]benchMessage, n)
	for i := range msgs {
		var b strings.Builder
		for b.Len() < 145 {
			b.WriteString(words[r.IntN(len(words))])
			b.WriteByte(' ')
		}
		msgs[i] = benchMessage{
			ID: fmt.Sprintf("SM%08x-%d", r.Uint32(), i), Role: []string{"user", "assistant"}[i%2],
			Content: b.String(), Timestamp: 1_757_000_000_000 + int64(i)*9_000,
		}
	}
	return msgs
}

func value5k() []byte {
	b, err := json.Marshal(conversation(20, 7))
	if err != nil {
		panic(err) // a value of ours
	}
	return b
}
