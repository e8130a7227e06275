package jackcache_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// slowReplay leaves time between the return of Redis and the end of the replay.
func slowReplay(o *jackcache.Options) { o.Journal.ReplayRate = 100 }

// withBacklog opens an instance whose journal holds writes of org-1 for a Redis
// that has just come back, the last of them at the key "last".
func withBacklog(t *testing.T) (*redistest.Server, *assistant.Assistant) {
	t.Helper()
	const writes, writers = 300, 20
	server := redistest.Start(t)
	a := instance(t, server, patient, slowReplay)
	server.Freeze()
	away(t, a)
	org := a.Cache.Org("org-1")
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < writes; i += writers {
				if _, err := a.Kinds.AgentConfig.Set(t.Context(), org, fmt.Sprint(i), raw(`1`)); err != nil {
					t.Errorf("set: %v", err)
				}
			}
		})
	}
	all.Wait()
	if _, err := a.Kinds.AgentConfig.Set(t.Context(), org, "last", raw(`"first"`)); err != nil {
		t.Fatal(err)
	}
	server.Thaw()
	eventually(t, 30*time.Second, "redis is back", func() bool { return a.Cache.Health().Store.State == "up" })
	return server, a
}

// What waits is part of what an invalidation, or a clear, ends.
func TestInvalidateWithBacklog(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, a *assistant.Assistant) error{
		"invalidate": func(t *testing.T, a *assistant.Assistant) error { return a.Cache.Org("org-1").Invalidate(t.Context()) },
		"clear":      func(t *testing.T, a *assistant.Assistant) error { return second(a.Cache.Clear(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			server, a := withBacklog(t)
			other := instance(t, server, patient)
			ctx := t.Context()
			if err := end(t, a); err != nil {
				t.Fatal(err)
			}
			check := func(x *assistant.Assistant, when string) {
				t.Helper()
				if v, err := x.Kinds.AgentConfig.Get(ctx, x.Cache.Org("org-1"), "last"); !errors.Is(err, jackcache.ErrNotFound) {
					t.Errorf("%s: %s, %v; want it gone", when, v, err)
				}
			}
			check(a, "right after")
			if _, err := a.Kinds.AgentConfig.Set(ctx, a.Cache.Org("org-1"), "after", raw(`1`)); err != nil {
				t.Fatal(err)
			}
			back(t, a, other)
			check(a, "in the end")
			check(other, "on another instance")
			if _, err := other.Kinds.AgentConfig.Get(ctx, other.Cache.Org("org-1"), "after"); err != nil {
				t.Errorf("what was written after it: %v", err)
			}
		})
	}
}

// A write of the organisation after an invalidation that still waits is above it,
// and what it ends is not read meanwhile.
func TestWriteAfterWaitingInvalidate(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, patient)
	ctx, org, config := t.Context(), a.Cache.Org("org-1"), a.Kinds.AgentConfig
	for round := range 3 {
		id := fmt.Sprint("after ", round)
		if _, err := config.Set(ctx, org, "before", raw(`1`)); err != nil {
			t.Fatal(err)
		}
		server.Freeze()
		away(t, a)
		rctx, receipt := jackcache.WithReceipt(ctx)
		if err := org.Invalidate(rctx); err != nil || !receipt.Pending() {
			t.Fatalf("invalidate: %v, pending %v", err, receipt.Pending())
		}
		server.Thaw()
		eventually(t, 30*time.Second, "redis is back", func() bool { return a.Cache.Health().Store.State == "up" })
		if v, err := config.Get(ctx, org, "before"); err == nil {
			t.Errorf("what was invalidated is read: %s", v)
		}
		if _, err := config.Set(ctx, org, id, raw(`2`)); err != nil {
			t.Fatal(err)
		}
		back(t, a)
		if _, err := config.Get(ctx, org, id); err != nil {
			t.Errorf("round %d: what was acknowledged after the invalidation: %v", round, err)
		}
	}
}

// A condition does not hold or fail by what is only missing because it waits.
func TestConditionWithBacklog(t *testing.T) {
	_, a := withBacklog(t)
	ctx, org, config := t.Context(), a.Cache.Org("org-1"), a.Kinds.AgentConfig
	err := second(config.Set(ctx, org, "last", raw(`"second"`), jackcache.IfAbsent()))
	if !errors.Is(err, jackcache.ErrUnavailable) && !errors.Is(err, jackcache.ErrPrecondition) {
		t.Errorf("a condition on what waits: %v", err)
	}
	back(t, a)
	if v, err := config.Get(ctx, org, "last"); string(v) != `"first"` {
		t.Errorf("afterwards: %s, %v", v, err)
	}
}

// Redis is emptied without a word: what this instance has acknowledged is read
// all the same, at once.
func TestReadAfterFlush(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, patient)
	ctx, org, config := t.Context(), a.Cache.Org("org-1"), a.Kinds.AgentConfig
	conv, cleared := org.Conversation(phone(1)), org.Conversation(phone(2))
	for _, err := range []error{
		second(config.Set(ctx, org, "kept", raw(`1`))), second(config.Set(ctx, org, "deleted", raw(`1`))),
		second(conv.Append(ctx, message("m", "hi"))), second(cleared.Append(ctx, message("m", "hi"))),
		config.Delete(ctx, org, "deleted"), cleared.Clear(ctx),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	back(t, a)
	do(t, server, "FLUSHALL")
	for start := time.Now(); time.Since(start) < time.Second; {
		if _, err := config.Get(ctx, org, "kept"); err != nil {
			t.Fatalf("%v after FLUSHALL: %v", time.Since(start), err)
		}
		if _, err := config.Get(ctx, org, "deleted"); !errors.Is(err, jackcache.ErrNotFound) {
			t.Fatalf("%v after FLUSHALL: what was deleted: %v", time.Since(start), err)
		}
		if got := idsOf(t, conv); len(got) != 1 {
			t.Fatalf("%v after FLUSHALL: messages %v", time.Since(start), got)
		}
		if got := idsOf(t, cleared); len(got) != 0 {
			t.Fatalf("%v after FLUSHALL: cleared messages %v", time.Since(start), got)
		}
	}
	back(t, a)
}

// Redis is emptied, and somebody goes on with a conversation before that is
// noticed: what was there before is not missing from it for anybody who knows.
func TestAppendAfterFlush(t *testing.T) {
	server := redistest.Start(t)
	a, b := instance(t, server, patient), instance(t, server, patient)
	back(t, a)
	back(t, b)
	for round, writer := range []*assistant.Assistant{a, b} {
		own, other := a.Cache.Org("org-1").Conversation(phone(round)), writer.Cache.Org("org-1").Conversation(phone(round))
		for i := range 3 {
			if _, err := own.Append(t.Context(), message(fmt.Sprint("before-", i), "hi")); err != nil {
				t.Fatal(err)
			}
		}
		do(t, server, "FLUSHALL")
		if _, err := other.Append(t.Context(), message("after", "hi")); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); time.Since(start) < time.Second; {
			if got := idsOf(t, own); len(got) != 4 || got[3] != "after" {
				t.Fatalf("round %d, %v after FLUSHALL: messages %v", round, time.Since(start), got)
			}
		}
		back(t, a)
		back(t, b)
	}
}
