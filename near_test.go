package jackcache_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// warm reads until it is answered by a copy.
func warm(t testing.TB, what string, source func() jackcache.Source) {
	t.Helper()
	eventually(t, 10*time.Second, what+" is answered by a copy", func() bool { return source() == jackcache.SourceNear })
}

// follows waits until an instance reads what has just been written elsewhere, and fails
// the test if it is given what was before by a read that begins later than the bound
// after the write. Read reports whether it was the new one, and otherwise whether that
// was given as current: see asCurrent.
func follows(t testing.TB, bound time.Duration, what string, read func() (follows, asCurrent bool)) {
	t.Helper()
	written := time.Now()
	eventually(t, 20*time.Second, what, func() bool {
		after := time.Since(written)
		follows, asCurrent := read()
		if !follows && asCurrent && after > bound {
			t.Fatalf("%s: what was before was given as current %v after the write", what, after)
		}
		return follows
	})
}

// asCurrent reports whether the answer of a read is given as current, from a copy or from
// Redis: also that nothing is there.
func asCurrent(s jackcache.Source, err error) bool {
	return errors.Is(err, jackcache.ErrNotFound) || err == nil && (s == jackcache.SourceNear || s == jackcache.SourceShared)
}

// A copy is given from this process until anybody changes the key: another
// instance, this one, or somebody with redis-cli.
func TestNear(t *testing.T) {
	server := redistest.Start(t)
	a, b := instance(t, server, copies, patient), instance(t, server, copies, patient)
	ctx, org := t.Context(), b.Cache.Org("org-1")
	set := func(v string) {
		t.Helper()
		if _, err := a.Kinds.AgentConfig.Set(ctx, a.Cache.Org("org-1"), "x", raw(v)); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (e jackcache.Entry[json.RawMessage]) {
		t.Helper()
		e, err := b.Kinds.AgentConfig.Entry(ctx, org, "x")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	set(`1`)
	warm(t, "a value", func() jackcache.Source { return read().Source })
	for i := range 200 {
		want := fmt.Sprint(i + 2)
		set(want)
		follows(t, jackcache.DefaultFreshness, "the new value", func() (follows, current bool) {
			e := read()
			return string(e.Value) == want, asCurrent(e.Source, nil)
		})
	}
	warm(t, "a value again", func() jackcache.Source { return read().Source })
	do(t, server, "DEL", b.Cache.KeyPrefix()+"agentConfig:org-1:x")
	follows(t, jackcache.DefaultFreshness, "the key is gone", func() (follows, current bool) {
		e, err := b.Kinds.AgentConfig.Entry(ctx, org, "x")
		return errors.Is(err, jackcache.ErrNotFound), asCurrent(e.Source, err)
	})
}

// What an instance has written it reads at once, whatever copies it had.
func TestNearOwnWrites(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, copies, patient)
	ctx, org := t.Context(), a.Cache.Org("org-1")
	conv := org.Conversation(phone(1))
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 2 { // readers keep copies all the time
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = a.Kinds.AgentConfig.Get(ctx, org, "x")
					_, _ = conv.Messages(ctx, jackcache.ReadOptions{})
				}
			}
		})
	}
	for i := range 300 {
		want := fmt.Sprint(i)
		if _, err := a.Kinds.AgentConfig.Set(ctx, org, "x", raw(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Kinds.AgentConfig.Get(ctx, org, "x"); err != nil || string(got) != want {
			t.Fatalf("value %s, %v; want %s", got, err, want)
		}
		if i%10 > 0 {
			continue
		}
		if _, err := conv.Append(ctx, message(want, "hi")); err != nil {
			t.Fatal(err)
		}
		got := idsOf(t, conv)
		if len(got) == 0 || got[len(got)-1] != want {
			t.Fatalf("messages %v; want %s at the end", got, want)
		}
	}
	close(stop)
	all.Wait()
	if s := a.Cache.Stats().Near; s.Fresh == 0 {
		t.Errorf("no read was answered by a copy: %+v", s)
	}
}

// Who gets a value may change it: nobody else sees that.
func TestNearIsCopied(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, copies, patient)
	ctx, org := t.Context(), a.Cache.Org("org-1")
	conv := org.Conversation(phone(1))
	if _, err := a.Kinds.AgentConfig.Set(ctx, org, "x", raw(`"value"`)); err != nil {
		t.Fatal(err)
	}
	if _, err := conv.Append(ctx, message("m", "hi")); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		v, err := a.Kinds.AgentConfig.Get(ctx, org, "x")
		if err != nil || string(v) != `"value"` {
			t.Fatalf("value %s, %v", v, err)
		}
		copy(v, "AAAA")
		for _, o := range []jackcache.ReadOptions{{}, {Last: 1}, {MaxBytes: 1000}} {
			got, err := conv.Messages(ctx, o)
			if err != nil || len(got.Messages) != 1 || !json.Valid(got.Messages[0].JSON) {
				t.Fatalf("messages %+v, %v", got, err)
			}
			copy(got.Messages[0].JSON, "AAAA")
			r, err := conv.Raw(ctx, o)
			if err != nil || len(r.Messages) != 1 || !json.Valid(r.Messages[0]) {
				t.Fatalf("raw %s, %v", r.Messages, err)
			}
			copy(r.Messages[0], "AAAA")
		}
	}
	warm(t, "the conversation", func() jackcache.Source {
		got, err := conv.Messages(ctx, jackcache.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return got.Source
	})
}

// A copy of the newest messages does not stand for more of them.
func TestNearPart(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, copies, patient)
	ctx, conv := t.Context(), a.Cache.Org("org-1").Conversation(phone(1))
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint("m-", i))
		if _, err := conv.Append(ctx, message(want[i], "hi")); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 20 {
		for _, n := range []int{5, 3, 10, 40, 0, 7} {
			got, err := conv.Messages(ctx, jackcache.ReadOptions{Last: n})
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, m := range got.Messages {
				ids = append(ids, m.ID)
			}
			expect := want
			if n > 0 && n < len(want) {
				expect = want[len(want)-n:]
			}
			if !slices.Equal(ids, expect) {
				t.Fatalf("round %d, last %d (%v): %v", round, n, got.Source, ids)
			}
		}
	}
}

// An invalidation ends the copies of its organisation, and no others.
func TestNearInvalidate(t *testing.T) {
	server := redistest.Start(t)
	// A pause of the process ends no copy by itself.
	long := func(o *jackcache.Options) { o.Near.Freshness = time.Minute }
	a, b := instance(t, server, copies, patient, long), instance(t, server, copies, patient, long)
	ctx := t.Context()
	source := func(org string) jackcache.Source {
		e, err := b.Kinds.AgentConfig.Entry(ctx, b.Cache.Org(org), "x")
		if err != nil {
			t.Fatal(err)
		}
		return e.Source
	}
	for _, org := range []string{"org-1", "org-2"} {
		if _, err := a.Kinds.AgentConfig.Set(ctx, a.Cache.Org(org), "x", raw(`1`)); err != nil {
			t.Fatal(err)
		}
		warm(t, org, func() jackcache.Source { return source(org) })
	}
	if err := a.Cache.Org("org-1").Invalidate(ctx); err != nil {
		t.Fatal(err)
	}
	if e, err := b.Kinds.AgentConfig.Entry(ctx, b.Cache.Org("org-1"), "x"); !errors.Is(err, jackcache.ErrNotFound) {
		t.Errorf("what was invalidated: %s from %v, %v", e.Value, e.Source, err)
	}
	if got := source("org-2"); got != jackcache.SourceNear {
		t.Errorf("the other organisation is answered by %v", got)
	}
}

// While Redis hangs a kind that allows it is served from copies, and says so.
func TestNearFrozen(t *testing.T) {
	server := redistest.Start(t)
	a, b := instance(t, server, copies, patient), instance(t, server, copies, patient)
	ctx := t.Context()
	if _, err := a.Kinds.AgentConfig.Set(ctx, a.Cache.Org("org-1"), "x", raw(`1`)); err != nil {
		t.Fatal(err)
	}
	read := func() jackcache.Source {
		e, err := b.Kinds.AgentConfig.Entry(ctx, b.Cache.Org("org-1"), "x")
		if err != nil {
			t.Fatal(err)
		}
		return e.Source
	}
	warm(t, "a value", read)
	server.Freeze()
	eventually(t, 20*time.Second, "the copy is not taken for current", func() bool { return read() == jackcache.SourceStale })
	server.Thaw()
	warm(t, "a value after it", read)
}

// allocations is how often a call allocates: the least of some measurements, because
// what the process does meanwhile counts, too.
func allocations(runs int, f func()) float64 {
	least := math.Inf(1)
	for range 5 {
		least = min(least, testing.AllocsPerRun(runs, f))
	}
	return least
}

// Reads of a copy through what the caller keeps allocate nothing, in no deployment.
func TestNearHitsDoNotAllocate(t *testing.T) {
	t.Run("standalone", func(t *testing.T) {
		nearHitsDoNotAllocate(t, jackcache.RedisOptions{Addrs: []string{redistest.Start(t).Addr()}})
	})
	t.Run("cluster", func(t *testing.T) {
		nearHitsDoNotAllocate(t, clusterOptions(redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})))
	})
}

func nearHitsDoNotAllocate(t *testing.T, redis jackcache.RedisOptions) {
	kind := jackcache.NewKind[dialogue](jackcache.KindOptions{Name: "talk", TTL: time.Hour, Immutable: true})
	a := instanceOf(t, redis, copies, patient, func(o *jackcache.Options) { o.Kinds = append(o.Kinds, kind) })
	back(t, a)
	ctx, org := t.Context(), a.Cache.Org("an organisation with a name that is long")
	conv, ref := org.Conversation(phone(1)), kind.Ref(org, "x")
	if _, err := conv.Append(ctx, message("m1", "hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := kind.Set(ctx, org, "x", dialogue{}); err != nil {
		t.Fatal(err)
	}
	var source jackcache.Source
	for name, read := range map[string]func(){
		"a value": func() { e, _ := ref.Entry(ctx); source = e.Source },
		"a conversation": func() {
			log, _ := conv.Messages(ctx, jackcache.ReadOptions{Last: 20, Shared: true})
			source = log.Source
		},
	} {
		warm(t, name, func() jackcache.Source { read(); return source })
		if n := allocations(1000, read); n != 0 {
			t.Errorf("a hit of %s allocates %v times", name, n)
		}
	}
}
