package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

func (e *environment) contests() ([]contest, error) {
	var all []contest
	for _, build := range []func() ([]contest, error){e.values, e.mappings, e.conversations, e.synced, e.http, e.measured, e.journalCost, e.groupCommit} {
		c, err := build()
		if err != nil {
			return nil, err
		}
		all = append(all, c...)
	}
	return all, nil
}

func rawGet(c rueidis.Client, key func(n int) string) operation {
	return func(ctx context.Context, n int) error {
		_, err := c.Do(ctx, c.B().Get().Key(key(n)).Build()).AsBytes()
		return err
	}
}

func rawSet(c rueidis.Client, key func(n int) string, value string) operation {
	return func(ctx context.Context, n int) error {
		return c.Do(ctx, c.B().Set().Key(key(n)).Value(value).ExSeconds(3600).Build()).Error()
	}
}

func kindGet[T any](k *jackcache.Kind[T], o jackcache.Org) operation {
	return func(ctx context.Context, n int) error {
		_, err := k.Get(ctx, o, strconv.Itoa(n%valueKeys))
		return err
	}
}

func kindSet[T any](k *jackcache.Kind[T], o jackcache.Org, v T) operation {
	return func(ctx context.Context, n int) error {
		_, err := k.Set(ctx, o, strconv.Itoa(n%valueKeys), v)
		return err
	}
}

func rawKey(n int) string { return "jack:dev:rawValue:plain:" + strconv.Itoa(n%valueKeys) }

// values compares reads and writes of a value of 5 kB.
func (e *environment) values() ([]contest, error) {
	ctx, value := context.Background(), value5k()
	org := e.shared.Cache.Org("bench")
	var decoded []benchMessage
	if err := json.Unmarshal(value, &decoded); err != nil {
		return nil, err
	}
	set := kindSet(rawKind, org, json.RawMessage(value))
	for n := range valueKeys {
		for _, op := range []operation{
			rawSet(e.plain, rawKey, string(value)), set,
			kindSet(zstdKind, org, json.RawMessage(value)), kindSet(decodedKind, org, decoded),
		} {
			if err := op(ctx, n); err != nil {
				return nil, err
			}
		}
	}
	var all []contest
	for _, callers := range []int{1, 64} {
		all = append(all,
			contest{name: fmt.Sprintf("GET of %d B", len(value)), callers: callers, serverCPU: e.redis.CPU,
				goal: "≥ 0.7 bytes, ≥ 0.6 decoded", contenders: []contender{
					{name: "raw rueidis GET", run: rawGet(e.plain, rawKey)},
					{name: "raw rueidis GET, the product's options", run: rawGet(e.tuned, rawKey)},
					{name: "jackcache, bytes", run: kindGet(rawKind, org)},
					{name: "jackcache, bytes, stored as zstd", run: kindGet(zstdKind, org)},
					{name: "jackcache, decoded", run: kindGet(decodedKind, org)},
				}},
			contest{name: fmt.Sprintf("SET of %d B", len(value)), callers: callers, serverCPU: e.redis.CPU,
				goal: "≥ 0.35", contenders: []contender{
					{name: "raw rueidis SET", run: rawSet(e.plain, rawKey, string(value))},
					{name: "raw rueidis SET, the product's options", run: rawSet(e.tuned, rawKey, string(value))},
					{name: "jackcache, versioned", run: set},
					{name: "jackcache, versioned, zstd", run: kindSet(zstdKind, org, json.RawMessage(value))},
				}})
	}
	return all, nil
}

// mappings compares reads and writes of a lead mapping of about 60 bytes.
func (e *environment) mappings() ([]contest, error) {
	ctx, org := context.Background(), e.shared.Cache.Org("bench")
	lead := assistant.Lead{LeadID: "lead-0123456789abcdef-0123456789abcdef-0123456789"}
	value, err := json.Marshal(lead)
	if err != nil {
		return nil, err
	}
	phone := func(n int) string { return fmt.Sprintf("+1604555%04d", n%valueKeys) }
	key := func(n int) string { return "jack:dev:phoneToLead:plain:" + phone(n) }
	get := func(ctx context.Context, n int) error {
		_, err := e.shared.Kinds.PhoneToLead.Get(ctx, org, phone(n))
		return err
	}
	set := func(ctx context.Context, n int) error {
		_, err := e.shared.Kinds.PhoneToLead.Set(ctx, org, phone(n), lead)
		return err
	}
	for n := range valueKeys {
		for _, op := range []operation{rawSet(e.plain, key, string(value)), set} {
			if err := op(ctx, n); err != nil {
				return nil, err
			}
		}
	}
	var all []contest
	for _, callers := range []int{1, 64} {
		all = append(all,
			contest{name: fmt.Sprintf("GET of a mapping, %d B", len(value)), callers: callers, serverCPU: e.redis.CPU,
				goal: "≥ 0.6 decoded", contenders: []contender{
					{name: "raw rueidis GET", run: rawGet(e.plain, key)},
					{name: "raw rueidis GET, the product's options", run: rawGet(e.tuned, key)},
					{name: "jackcache, decoded", run: get},
				}},
			contest{name: fmt.Sprintf("SET of a mapping, %d B", len(value)), callers: callers, serverCPU: e.redis.CPU,
				goal: "≥ 0.35", contenders: []contender{
					{name: "raw rueidis SET", run: rawSet(e.plain, key, string(value))},
					{name: "raw rueidis SET, the product's options", run: rawSet(e.tuned, key, string(value))},
					{name: "jackcache, versioned", run: set},
				}})
	}
	return all, nil
}

// conversations compares reading the newest 20 messages with LRANGE of the same
// elements.
func (e *environment) conversations() ([]contest, error) {
	ctx := context.Background()
	const conversations = 200
	phone := func(n int) string { return fmt.Sprintf("+1604555%04d", n%conversations) }
	org := e.shared.Cache.Org("bench")
	for n := range conversations {
		var msgs []jackcache.Message
		for _, m := range conversation(20, uint64(n)) {
			b, err := json.Marshal(m)
			if err != nil {
				return nil, err
			}
			msgs = append(msgs, jackcache.Message{JSON: b})
		}
		if _, err := org.Conversation(phone(n)).Append(ctx, msgs...); err != nil {
			return nil, err
		}
	}
	lrange := func(c rueidis.Client) operation {
		return func(ctx context.Context, n int) error {
			key := "jack:dev:conversationContexts:bench:" + phone(n)[1:]
			_, err := c.Do(ctx, c.B().Lrange().Key(key).Start(-20).Stop(-1).Build()).AsStrSlice()
			return err
		}
	}
	raw := func(ctx context.Context, n int) error {
		t, err := org.Conversation(phone(n)).Raw(ctx, jackcache.ReadOptions{Last: 20})
		if err == nil && len(t.Messages) != 20 {
			err = fmt.Errorf("%d messages", len(t.Messages))
		}
		return err
	}
	var all []contest
	for _, callers := range []int{1, 64} {
		all = append(all, contest{name: "read 20 messages", callers: callers, serverCPU: e.redis.CPU, goal: "≥ 0.8",
			contenders: []contender{
				{name: "raw rueidis LRANGE", run: lrange(e.plain)},
				{name: "raw rueidis LRANGE, the product's options", run: lrange(e.tuned)},
				{name: "jackcache, bytes", run: raw},
			}})
	}
	return all, nil
}

// synced measures appends to the embedded store, each on disk when it returns.
func (e *environment) synced() ([]contest, error) {
	org := e.embedded.Cache.Org("bench")
	body := conversation(1, 3)[0].Content
	appendOne := func(ctx context.Context, n int) error {
		c := org.Conversation(fmt.Sprintf("+1604555%04d", n%500))
		_, err := c.Append(ctx, jackcache.Message{ID: "m" + strconv.Itoa(n), Role: "user", Content: body})
		return err
	}
	var all []contest
	for _, callers := range []int{1, 16, 64} {
		sync, err := e.syncLoop()
		if err != nil {
			return nil, err
		}
		all = append(all, contest{name: "synced append, embedded store", callers: callers, contenders: []contender{
			{name: "write and fsync of the same bytes, each alone", run: sync},
			{name: "jackcache", run: appendOne},
		}})
	}
	return all, nil
}
