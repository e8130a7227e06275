package jackcache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// ownWrite is a write of which its instance must know at once.
type ownWrite struct {
	name  string
	write func(ctx context.Context, a *assistant.Assistant, org jackcache.Org, n int) error
	want  func(n int) string // of what ownState gives
}

// ownState is what an instance reads of what ownWrites write.
func ownState(ctx context.Context, a *assistant.Assistant, org jackcache.Org) (text string, near bool, err error) {
	e, err := a.Kinds.AgentConfig.Entry(ctx, org, "x")
	if err != nil && !errors.Is(err, jackcache.ErrNotFound) {
		return "", false, err
	}
	got, err := org.Conversation(phone(1)).Messages(ctx, jackcache.ReadOptions{})
	text = string(e.Value) + " "
	for _, m := range got.Messages {
		text += m.ID
	}
	return text, e.Source == jackcache.SourceNear && got.Source == jackcache.SourceNear, err
}

var ownWrites = []ownWrite{
	{"set", func(ctx context.Context, a *assistant.Assistant, org jackcache.Org, n int) error {
		return second(a.Kinds.AgentConfig.Set(ctx, org, "x", raw(strconv.Itoa(n))))
	}, func(n int) string { return fmt.Sprint(n, " before") }},
	{"delete", func(ctx context.Context, a *assistant.Assistant, org jackcache.Org, _ int) error {
		return a.Kinds.AgentConfig.Delete(ctx, org, "x")
	}, func(int) string { return " before" }},
	{"append", func(ctx context.Context, _ *assistant.Assistant, org jackcache.Org, n int) error {
		return second(org.Conversation(phone(1)).Append(ctx, message("m"+strconv.Itoa(n), "hi")))
	}, func(n int) string { return fmt.Sprint("0 beforem", n) }},
	{"clear", func(ctx context.Context, _ *assistant.Assistant, org jackcache.Org, _ int) error {
		return org.Conversation(phone(1)).Clear(ctx)
	}, func(int) string { return "0 " }},
	{"replace", func(ctx context.Context, _ *assistant.Assistant, org jackcache.Org, n int) error {
		return second(org.Conversation(phone(1)).Replace(ctx, message("r"+strconv.Itoa(n), "hi")))
	}, func(n int) string { return fmt.Sprint("0 r", n) }},
	{"invalidate", func(ctx context.Context, _ *assistant.Assistant, org jackcache.Org, _ int) error {
		return org.Invalidate(ctx)
	}, func(int) string { return " " }},
}

// begin writes what is there before an own write, and reads it until copies answer.
func (w ownWrite) begin(t *testing.T, a *assistant.Assistant, org jackcache.Org) {
	t.Helper()
	if _, err := a.Kinds.AgentConfig.Set(t.Context(), org, "x", raw(`0`)); err != nil {
		t.Fatal(err)
	}
	if _, err := org.Conversation(phone(1)).Append(t.Context(), message("before", "hi")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "copies answer", func() bool {
		_, near, err := ownState(t.Context(), a, org)
		return near && err == nil
	})
}

// An instance knows at once what it has written, though nobody has told it of the
// change yet and the copies that it had are proven still.
func TestOwnWritesUntold(t *testing.T) {
	server := redistest.Start(t)
	for _, w := range ownWrites {
		t.Run(w.name, func(t *testing.T) {
			as, fs := faulty(t, standalone(server), 1, func(o *jackcache.Options) { o.Near.Freshness = time.Minute })
			a, ctx := as[0], t.Context()
			tested := 0
			for n := 1; tested < 20 && n < 200; n++ {
				org := a.Cache.Org(fmt.Sprint(w.name, n))
				w.begin(t, a, org)
				fs[0].hold()
				_, near, err := ownState(ctx, a, org)
				if err != nil {
					t.Fatal(err)
				}
				if err := w.write(ctx, a, org, n); err != nil {
					t.Fatal(err)
				}
				got, _, err := ownState(ctx, a, org)
				fs[0].resume()
				if err != nil || got != w.want(n) {
					t.Fatalf("reads %q, %v; want %q", got, err, w.want(n))
				}
				if near {
					tested++
				}
			}
			if tested < 20 {
				t.Errorf("%d of 20 were tested", tested)
			}
		})
	}
}

// What an instance has accepted while Redis was away it reads at once, and all the
// time while it is applied, though there are copies and nobody has told it of the change.
func TestOwnWritesWait(t *testing.T) {
	for _, w := range ownWrites {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			server := redistest.Start(t)
			as, fs := faulty(t, standalone(server), 1, func(o *jackcache.Options) { o.Near.Freshness = time.Minute })
			a, ctx := as[0], t.Context()
			pending := 0
			for n := range 3 {
				org := a.Cache.Org(fmt.Sprint(w.name, n))
				w.begin(t, a, org)
				server.Freeze()
				rctx, receipt := jackcache.WithReceipt(ctx)
				if err := w.write(rctx, a, org, n); err != nil {
					t.Fatal(err)
				}
				if receipt.Pending() {
					pending++
				}
				var readers sync.WaitGroup
				var stopped atomic.Bool
				for range 3 {
					readers.Go(func() {
						for !stopped.Load() {
							got, _, err := ownState(ctx, a, org)
							if err == nil && got != w.want(n) {
								t.Errorf("reads %q; want %q", got, w.want(n))
								return
							}
							if err != nil && !typed(err) {
								t.Error(err)
								return
							}
						}
					})
				}
				fs[0].hold()
				server.Thaw()
				eventually(t, 20*time.Second, "it is applied", func() bool { return settled(a) })
				fs[0].resume()
				eventually(t, 20*time.Second, "copies answer", func() bool {
					s := a.Cache.Stats().Near
					_, _, err := ownState(ctx, a, org)
					return err == nil && a.Cache.Stats().Near.Fresh > s.Fresh
				})
				stopped.Store(true)
				readers.Wait()
			}
			if pending == 0 {
				t.Error("nothing had to wait")
			}
		})
	}
}

// missing has an instance, the second, miss a change.
type missing struct {
	t    *testing.T
	a, b *assistant.Assistant
	f    *tapFaults
}

func startMissing(t *testing.T) missing {
	server := redistest.Start(t)
	as, fs := faulty(t, standalone(server), 2)
	return missing{t: t, a: as[0], b: as[1], f: fs[1]}
}

func (m missing) set(id string, n int) {
	m.t.Helper()
	if _, err := m.a.Kinds.AgentConfig.Set(m.t.Context(), m.a.Cache.Org("org-1"), id, raw(strconv.Itoa(n))); err != nil {
		m.t.Fatal(err)
	}
}

func (m missing) read(id string) jackcache.Entry[json.RawMessage] {
	m.t.Helper()
	e, err := m.b.Kinds.AgentConfig.Entry(m.t.Context(), m.b.Cache.Org("org-1"), id)
	if err != nil {
		m.t.Fatal(err)
	}
	return e
}

func (m missing) warm(id string) {
	m.t.Helper()
	warm(m.t, id, func() jackcache.Source { return m.read(id).Source })
}

// An instance whose connection for changes hangs, while that for calls works, gives
// no copy that is older than the bound.
func TestNothingFreshUntold(t *testing.T) {
	m := startMissing(t)
	var ages []time.Duration
	for n := range 5 {
		m.set("x", 2*n)
		m.warm("x")
		m.f.hold()
		m.set("x", 2*n+1)
		written := time.Now()
		var age time.Duration
		eventually(t, 20*time.Second, "the new value", func() bool {
			for range 100 {
				age = time.Since(written)
				if string(m.read("x").Value) == strconv.Itoa(2*n+1) {
					return true
				}
				if age > freshness {
					t.Errorf("the older value %v after the write", age)
					return true
				}
			}
			return false
		})
		ages = append(ages, age)
		m.f.resume()
	}
	t.Log("the new value after", ages)
	if slices.Max(ages) < 10*time.Millisecond {
		t.Error("nothing was held back")
	}
}

// What changed while an instance was told of nothing it does not take for current
// when it is told again.
func TestNothingFreshAfterGap(t *testing.T) {
	m := startMissing(t)
	for n := range 5 {
		m.set("x", 2*n)
		m.set("y", n)
		m.warm("y")
		m.warm("x")
		m.f.refuse(true)
		eventually(t, 10*time.Second, "the end of the connection is noticed", func() bool { return m.read("y").Source != jackcache.SourceNear })
		m.set("x", 2*n+1)
		m.f.refuse(false)
		m.warm("y")
		if got := m.read("x"); string(got.Value) != strconv.Itoa(2*n+1) {
			t.Fatalf("%s from %v; want %d", got.Value, got.Source, 2*n+1)
		}
	}
}

// That nothing is there is a copy, too: it ends when somebody makes it, and it does
// not keep a loader from being called.
func TestNearAbsent(t *testing.T) {
	server := redistest.Start(t)
	as, _ := faulty(t, standalone(server), 2)
	a, b, ctx := as[0], as[1], t.Context()
	for n := range 20 {
		id, org, conv := strconv.Itoa(n), b.Cache.Org("org-1"), b.Cache.Org("org-1").Conversation(phone(n))
		eventually(t, 10*time.Second, "a copy says that nothing is there", func() bool {
			s := b.Cache.Stats().Near.Fresh
			if _, err := b.Kinds.AgentConfig.Get(ctx, org, id); !errors.Is(err, jackcache.ErrNotFound) {
				t.Fatalf("a value: %v", err)
			}
			got, err := conv.Messages(ctx, jackcache.ReadOptions{})
			if err != nil || len(got.Messages) > 0 {
				t.Fatalf("messages %+v, %v", got, err)
			}
			return got.Source == jackcache.SourceNear && b.Cache.Stats().Near.Fresh == s+2
		})
		if n%2 == 0 {
			loaded, err := b.Kinds.AgentConfig.GetOrLoad(ctx, org, id, func(context.Context) (json.RawMessage, error) { return raw(`"loaded"`), nil })
			if err != nil || string(loaded) != `"loaded"` {
				t.Errorf("loaded %s, %v", loaded, err)
			}
			continue
		}
		if _, err := a.Kinds.AgentConfig.Set(ctx, a.Cache.Org("org-1"), id, raw(`1`)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Cache.Org("org-1").Conversation(phone(n)).Append(ctx, message("m", "hi")); err != nil {
			t.Fatal(err)
		}
		follows(t, freshness, "the others see it", func() (follows, current bool) {
			e, err := b.Kinds.AgentConfig.Entry(ctx, org, id)
			got, err2 := conv.Messages(ctx, jackcache.ReadOptions{})
			followed, followed2 := err == nil, err2 == nil && len(got.Messages) == 1
			return followed && followed2, !followed && asCurrent(e.Source, err) || !followed2 && asCurrent(got.Source, err2)
		})
	}
}

// What an instance has loaded and stored it reads, though a copy said that nothing
// was there and nobody has told it of the change yet.
func TestOwnLoadUntold(t *testing.T) {
	server := redistest.Start(t)
	as, fs := faulty(t, standalone(server), 1, func(o *jackcache.Options) { o.Near.Freshness = time.Minute })
	a, ctx, org := as[0], t.Context(), as[0].Cache.Org("org-1")
	for n := range 20 {
		id := strconv.Itoa(n)
		eventually(t, 10*time.Second, "a copy says that nothing is there", func() bool {
			s := a.Cache.Stats().Near.Fresh
			_, err := a.Kinds.AgentConfig.Get(ctx, org, id)
			return errors.Is(err, jackcache.ErrNotFound) && a.Cache.Stats().Near.Fresh > s
		})
		fs[0].hold()
		_, err := a.Kinds.AgentConfig.GetOrLoad(ctx, org, id, func(context.Context) (json.RawMessage, error) { return raw(`1`), nil })
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Kinds.AgentConfig.Get(ctx, org, id)
		fs[0].resume()
		if err != nil {
			t.Fatal(err)
		}
	}
}
