package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackcache/jackcache"
)

// agent is the configuration of an agent, a kind of the examples.
type agent struct {
	Voice string `json:"voice"`
}

var agents = jackcache.NewKind[agent](jackcache.KindOptions{Name: "agent", TTL: time.Hour})

// openExample opens a cache on the embedded store in a directory of its own.
func openExample(kinds ...jackcache.AnyKind) (cache *jackcache.Cache, done func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	cache, err = jackcache.Open(context.Background(), jackcache.Options{DataDir: dir, Kinds: kinds})
	if err != nil {
		panic(err)
	}
	return cache, func() {
		if err := errors.Join(cache.Close(context.Background()), os.RemoveAll(dir)); err != nil {
			panic(err)
		}
	}
}

func Example() {
	ctx := context.Background()
	cache, done := openExample()
	defer done()

	conv := cache.Org("org-123").Conversation("+1 604 908 5474")
	msg := jackcache.Message{ID: "SM1", Role: "user", Content: "Is the blue one still there?"}
	for range 2 { // a webhook that is delivered twice
		res, err := conv.Append(ctx, msg)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("appended", res.Appended, "duplicates", res.Duplicates)
	}
	t, err := cache.Org("org-123").Conversation("(604) 908-5474").Messages(ctx, jackcache.ReadOptions{Last: 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range t.Messages {
		fmt.Println(m.Role+":", m.Content)
	}
	// Output:
	// appended 1 duplicates 0
	// appended 0 duplicates 1
	// user: Is the blue one still there?
}

func ExampleKind_GetOrLoad() {
	ctx := context.Background()
	cache, done := openExample(agents)
	defer done()

	load := func(context.Context) (agent, error) {
		fmt.Println("loading")
		return agent{Voice: "calm"}, nil
	}
	for range 2 {
		a, err := agents.GetOrLoad(ctx, cache.Org("org-123"), "sales", load)
		fmt.Println(a.Voice, err)
	}
	// Output:
	// loading
	// calm <nil>
	// calm <nil>
}

func ExampleKind_GetOrLoadMany() {
	ctx := context.Background()
	cache, done := openExample(agents)
	defer done()
	org := cache.Org("org-123")

	if _, err := agents.Set(ctx, org, "sales", agent{Voice: "calm"}); err != nil {
		fmt.Println(err)
		return
	}
	load := func(_ context.Context, missing []string) (map[string]agent, error) {
		fmt.Println("loading", missing)
		return map[string]agent{"service": {Voice: "warm"}}, nil
	}
	all, err := agents.GetOrLoadMany(ctx, org, []string{"sales", "service", "nobody"}, load)
	for _, e := range all {
		fmt.Printf("%q\n", e.Value.Voice)
	}
	fmt.Println(err)
	// Output:
	// loading [service nobody]
	// "calm"
	// "warm"
	// ""
	// <nil>
}

// A kind whose callers get a value that has expired when the loader is slow or fails.
func ExampleKind_LoadEntry() {
	ctx := context.Background()
	patient := jackcache.NewKind[agent](jackcache.KindOptions{
		Name: "agent", TTL: time.Hour, ServeStale: true, StaleFor: 6 * time.Hour,
		SoftTimeout: 50 * time.Millisecond, HardTimeout: time.Second, NegativeTTL: time.Minute, TTLJitter: 0.1,
	})
	cache, done := openExample(patient)
	defer done()

	e, err := patient.LoadEntry(ctx, cache.Org("org-123"), "sales", func(context.Context) (agent, error) {
		return agent{Voice: "calm"}, nil
	})
	fmt.Println(e.Value.Voice, e.Source, err)
	_, err = patient.GetOrLoad(ctx, cache.Org("org-123"), "nobody", func(context.Context) (agent, error) {
		return agent{}, fmt.Errorf("no such agent: %w", jackcache.ErrNotFound)
	})
	fmt.Println(err)
	// Output:
	// calm loader <nil>
	// no such agent: jackcache: not found
}

func ExampleKind_Set_condition() {
	ctx := context.Background()
	cache, done := openExample(agents)
	defer done()
	org := cache.Org("org-123")

	seen, err := agents.Set(ctx, org, "sales", agent{Voice: "calm"}, jackcache.IfAbsent())
	fmt.Println(err)
	_, err = agents.Set(ctx, org, "sales", agent{Voice: "loud"}) // somebody else
	fmt.Println(err)
	_, err = agents.Set(ctx, org, "sales", agent{Voice: "soft"}, jackcache.IfVersion(seen))
	fmt.Println(errors.Is(err, jackcache.ErrPrecondition))
	// Output:
	// <nil>
	// <nil>
	// true
}

func ExampleOrg_Forget() {
	ctx := context.Background()
	cache, done := openExample()
	defer done()
	org := cache.Org("org-123")

	if _, err := org.Conversation("+16049085474").Append(ctx, jackcache.Message{Role: "user", Content: "hi"}); err != nil {
		fmt.Println(err)
		return
	}
	f, err := org.Forget(ctx, "604-908-5474")
	fmt.Println(f.Phone, f.Kinds, err)
	t, err := org.Conversation("+16049085474").Messages(ctx, jackcache.ReadOptions{})
	fmt.Println(len(t.Messages), err)
	// Output:
	// +16049085474 [conversation] <nil>
	// 0 <nil>
}
