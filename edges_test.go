package jackcache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

func do(t testing.TB, server *redistest.Server, args ...string) string {
	t.Helper()
	reply, err := server.Do(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return reply
}

// The host's clock goes back by minutes, while the process runs and over a
// restart: what is acknowledged is what is read.
func TestClockGoesBack(t *testing.T) {
	var offset atomic.Int64
	o := jackcache.Options{
		DataDir: t.TempDir(), Kinds: []jackcache.AnyKind{cars}, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) },
	}
	ctx := t.Context()
	for round, step := range []time.Duration{0, -2 * time.Minute, -10 * time.Minute, time.Hour} {
		offset.Store(int64(step))
		cache, err := jackcache.Open(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		offset.Add(-int64(3 * time.Minute)) // while it runs
		org, want := cache.Org("a"), fmt.Sprint("round ", round)
		_, err1 := cars.Set(ctx, org, "1", car{Make: want})
		_, err2 := org.Conversation("+16049085474").Append(ctx, message(want, "x"))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if got, err := cars.Get(ctx, org, "1"); err != nil || got.Make != want {
			t.Errorf("%s: read %+v, %v", want, got, err)
		}
		msgs, err := org.Conversation("+16049085474").Messages(ctx, jackcache.ReadOptions{})
		if err != nil || len(msgs.Messages) == 0 || msgs.Messages[len(msgs.Messages)-1].ID != want {
			t.Errorf("%s: messages %+v, %v; want it last", want, msgs.Messages, err)
		}
		err1 = cars.Delete(ctx, org, "1")
		err2 = org.Conversation("+16049085474").Clear(ctx)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if _, err := cars.Get(ctx, org, "1"); !errors.Is(err, jackcache.ErrNotFound) {
			t.Errorf("%s: after delete: %v", want, err)
		}
		if err := cache.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// Instances whose hosts' clocks differ by nearly a second answer each other:
// each reads what the other appended, and its own message comes after it.
func TestTurnsAreInOrder(t *testing.T) {
	server := redistest.Start(t)
	user := instance(t, server, slow, func(o *jackcache.Options) {
		o.Now = func() time.Time { return time.Now().Add(-900 * time.Millisecond) }
	})
	bot := instance(t, server, slow)
	want := ""
	for i := range 20 {
		for _, who := range []*assistant.Assistant{user, bot} {
			id := fmt.Sprintf("%d-%v", i, who == bot)
			want += id + " "
			conv := who.Cache.Org("a").Conversation(phone(1))
			_, err1 := conv.Messages(t.Context(), jackcache.ReadOptions{Last: 1})
			_, err2 := conv.Append(t.Context(), message(id, "x"))
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := bot.Cache.Org("a").Conversation(phone(1)).Messages(t.Context(), jackcache.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	order := ""
	for _, m := range got.Messages {
		order += m.ID + " "
	}
	if order != want {
		t.Errorf("order %s\n want %s", order, want)
	}
}

// P7: forgotten values are not imported again, whatever was written, loaded or
// invalidated since.
func TestForgottenIsNotImported(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx, org, p := t.Context(), a.Cache.Org("org-1"), "+16049085474"
		kind, err := a.Cache.RawKind(assistant.SummaryKind)
		if err != nil {
			t.Fatal(err)
		}
		old := []byte(`{"text":"old"}`)
		if o, err := org.ImportValue(ctx, kind, p, old); err != nil || o != jackcache.Imported {
			t.Fatalf("import: %v, %v", o, err)
		}
		if _, err := org.Forget(ctx, p); err != nil {
			t.Fatal(err)
		}
		for name, since := range map[string]func() error{
			"at once":          func() error { return nil },
			"after invalidate": func() error { return org.Invalidate(ctx) },
			"after set and delete": func() error {
				_, err := a.Kinds.Summary.Set(ctx, org, p, assistant.Summary{Text: "new"})
				return errors.Join(err, a.Kinds.Summary.Delete(ctx, org, p), org.Invalidate(ctx))
			},
		} {
			if err := since(); err != nil {
				t.Fatal(err)
			}
			if o, err := org.ImportValue(ctx, kind, p, old); err != nil || o != jackcache.SetAside {
				t.Errorf("%s: %v, %v; want set aside", name, o, err)
			}
		}
		if o, err := org.ImportValue(ctx, kind, "+16049085475", old); err != nil || o != jackcache.Imported {
			t.Errorf("another person: %v, %v", o, err)
		}
	})
}

// A load that began before a write, a deletion or an invalidation is not given
// to those who ask after it, also for kinds that stay in the process.
func TestLaterCallersDoNotJoinAnOlderLoad(t *testing.T) {
	local := jackcache.NewKind[car](jackcache.KindOptions{Name: "localCar", TTL: time.Minute, LocalOnly: true})
	a := instance(t, redistest.Start(t), slow, func(o *jackcache.Options) { o.Kinds = []jackcache.AnyKind{cars, local} })
	ctx, org := t.Context(), a.Cache.Org("org-1")
	for name, kind := range map[string]*jackcache.Kind[car]{"shared": cars, "local": local} {
		for what, meanwhile := range map[string]func(id string) error{
			"delete":     func(id string) error { return kind.Delete(ctx, org, id) },
			"invalidate": func(string) error { return org.Invalidate(ctx) },
		} {
			id := name + what
			began, release := make(chan struct{}), make(chan struct{})
			done := make(chan error, 1)
			go func() {
				_, err := kind.GetOrLoad(ctx, org, id, func(context.Context) (car, error) {
					close(began)
					<-release
					return car{Make: "old"}, nil
				})
				done <- err
			}()
			<-began
			if err := meanwhile(id); err != nil {
				t.Fatal(err)
			}
			got, err := kind.GetOrLoad(ctx, org, id, func(context.Context) (car, error) { return car{Make: "new"}, nil })
			if err != nil || got.Make != "new" {
				t.Errorf("%s: asked after it: %+v, %v", id, got, err)
			}
			close(release)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if got, err := kind.Get(ctx, org, id); err != nil || got.Make != "new" {
				t.Errorf("%s: then there is %+v, %v", id, got, err)
			}
		}
	}
}

// Redis lost an organisation's generation: what is written under the old one
// is still ended by the next invalidation, also by one who does not know it.
func TestLostGeneration(t *testing.T) {
	server := redistest.Start(t)
	knows := instance(t, server, slow)
	ctx, org := t.Context(), knows.Cache.Org("a")
	for range 3 {
		if err := org.Invalidate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	do(t, server, "FLUSHALL")
	if _, err := org.Conversation(phone(1)).Append(ctx, message("m", "secret")); err != nil {
		t.Fatal(err)
	}
	other := instance(t, server, slow).Cache.Org("a")
	if err := other.Invalidate(ctx); err != nil {
		t.Fatal(err)
	}
	for _, o := range []jackcache.Org{org, other} {
		if got, err := o.Conversation(phone(1)).Messages(ctx, jackcache.ReadOptions{}); err != nil || len(got.Messages) != 0 {
			t.Errorf("after invalidate: %+v, %v", got.Messages, err)
		}
	}
}

// A clear succeeds while others append, and what they append later stays.
func TestClearAmongAppends(t *testing.T) {
	server := redistest.Start(t)
	writer, clearer := instance(t, server, slow), instance(t, server, slow)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if _, err := writer.Cache.Org("a").Conversation(phone(1)).Append(t.Context(), message(fmt.Sprintf("%d-%d", w, n), "x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		if err := clearer.Cache.Org("a").Conversation(phone(1)).Clear(t.Context()); err != nil {
			t.Errorf("clear: %v", err)
		}
	}
	stop.Store(true)
	wg.Wait()
}

// Keys that somebody else wrote or deleted do not lock a key, and a list that
// is gone does not make a conversation forget what comes after.
func TestForeignHands(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, slow, func(o *jackcache.Options) { o.Conversation.WindowBytes = 10 << 10 })
	ctx, org := t.Context(), a.Cache.Org("a")
	do(t, server, "SET", "jack:dev:conversationSummaries:a:"+phone(1)[1:], `{"text":"of the system before this one"}`)
	if _, err := a.Kinds.Summary.Get(ctx, org, phone(1)); !errors.Is(err, jackcache.ErrNotFound) {
		t.Errorf("a foreign value: %v", err)
	}
	if l, err := org.List(ctx, jackcache.ListQuery{Kind: assistant.SummaryKind}); err != nil || len(l.Entries) != 0 {
		t.Errorf("list with a foreign value: %+v, %v", l, err)
	}
	if _, err := a.Kinds.Summary.Set(ctx, org, phone(1), assistant.Summary{Text: "ours"}); err != nil {
		t.Errorf("set over a foreign value: %v", err)
	}
	if got, err := a.Kinds.Summary.Get(ctx, org, phone(1)); err != nil || got.Text != "ours" {
		t.Errorf("then there is %+v, %v", got, err)
	}
	conv := org.Conversation(phone(1))
	big := strings.Repeat("x", 900)
	for i := range 10 {
		if _, err := conv.Append(ctx, message(fmt.Sprint("before", i), big)); err != nil {
			t.Fatal(err)
		}
	}
	do(t, server, "DEL", "jack:dev:conversationContexts:a:"+phone(1)[1:])
	for i := range 8 {
		if _, err := conv.Append(ctx, message(fmt.Sprint("after", i), big)); err != nil {
			t.Fatal(err)
		}
	}
	// At first what is missing is taken for lost; then redis turns out to have all else.
	eventually(t, 10*time.Second, "the 8 messages after the list was deleted", func() bool {
		got, err := conv.Messages(ctx, jackcache.ReadOptions{})
		return err == nil && len(got.Messages) == 8
	})
	do(t, server, "SCRIPT", "FLUSH")
	if _, err := conv.Append(ctx, message("flushed", "x")); err != nil {
		t.Errorf("append after SCRIPT FLUSH: %v", err)
	}
	do(t, server, "DEL", "jack:dev:__gen:a")
	do(t, server, "RPUSH", "jack:dev:__gen:a", "x")
	if _, err := conv.Append(ctx, message("late", "x")); !errors.Is(err, jackcache.ErrRejected) {
		t.Errorf("append with a broken generation: %v", err)
	}
	do(t, server, "DEL", "jack:dev:__gen:a")
	if got, err := conv.Messages(ctx, jackcache.ReadOptions{}); err != nil || has(got, "late") {
		t.Errorf("what was rejected is stored: %v", err)
	}
}

// What is deleted is deleted, also where there is no memory for a write.
func TestForgetWithoutMemory(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, slow)
	ctx, org := t.Context(), a.Cache.Org("a")
	if _, err := a.Kinds.LeadData.Set(ctx, org, "1", json.RawMessage(`{"name":"Jo"}`)); err != nil {
		t.Fatal(err)
	}
	do(t, server, "CONFIG", "SET", "maxmemory", "1")
	if err := a.Kinds.LeadData.Delete(ctx, org, "1"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := org.Invalidate(ctx); err != nil {
		t.Errorf("invalidate: %v", err)
	}
	if _, err := a.Kinds.LeadData.Get(ctx, org, "1"); !errors.Is(err, jackcache.ErrNotFound) {
		t.Errorf("then there is %v", err)
	}
}

func TestImportPlaces(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx := t.Context()
		conv := a.Cache.Org("a").Conversation("+16049085474")
		raw := func(s string) jackcache.Message { return jackcache.Message{JSON: json.RawMessage(s)} }
		batch := []jackcache.Message{
			raw(`{"role":"user","content":"one"}`),
			raw(`{"role":"user","content":"two","timestamp":"1960-01-01T00:00:00Z"}`),
			raw(`{"id":"three","role":"user","content":"three","timestamp":1757000010845}`),
			raw(`{"role":"user","content":"four","timestamp":1757000010845}`),
			{Role: "user", Content: "five"},
			raw(`{"role":"user","content":"six","timestamp":99999999999999}`),
			raw(`{"role":"user","content":"six","timestamp":99999999999999}`), // said twice
		}
		if _, err := conv.Append(ctx, message("live", "live")); err != nil {
			t.Fatal(err)
		}
		for round, want := range []jackcache.ImportOutcome{jackcache.Imported, jackcache.Unchanged} {
			if o, err := conv.Import(ctx, batch...); err != nil || o != want {
				t.Fatalf("import %d: %v, %v; want %v", round, o, err, want)
			}
			got, err := conv.Messages(ctx, jackcache.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			contents := ""
			for _, m := range got.Messages {
				contents += m.Content + " "
				if strings.Count(string(m.JSON), `"id"`) != 1 || m.ID == "" {
					t.Errorf("ids of %s", m.JSON)
				}
			}
			if contents != "one two three four five six six live " {
				t.Errorf("import %d: %s", round, contents)
			}
		}
	})
}

// What a loader returns is returned as it is, and one that does not heed its
// context does not keep callers waiting.
func TestLoaderErrors(t *testing.T) {
	a := instance(t, redistest.Start(t), slow, func(o *jackcache.Options) {
		o.Kinds, o.LoadTimeout = []jackcache.AnyKind{cars}, 20*time.Millisecond
	})
	ctx, org := t.Context(), a.Cache.Org("a")
	mine := fmt.Errorf("my database: %w", context.DeadlineExceeded)
	if _, err := cars.GetOrLoad(ctx, org, "1", func(context.Context) (car, error) { return car{}, mine }); err != mine {
		t.Errorf("got %v, want the loader's error", err)
	}
	release := make(chan struct{})
	defer close(release)
	_, err := cars.GetOrLoad(ctx, org, "2", func(context.Context) (car, error) { <-release; return car{}, nil })
	if !errors.Is(err, jackcache.ErrUnavailable) {
		t.Errorf("a loader that hangs: %v", err)
	}
	if c, err := cars.GetOrLoad(ctx, org, "2", func(context.Context) (car, error) { return car{Make: "x"}, nil }); err != nil || c.Make != "x" {
		t.Errorf("the next one: %+v, %v", c, err)
	}
}

func TestZeroOrg(t *testing.T) {
	var o jackcache.Org
	_, err1 := o.Conversation("+16049085474").Append(t.Context(), message("a", "x"))
	_, err2 := cars.Get(t.Context(), o, "1")
	_, err3 := o.Forget(t.Context(), "+16049085474")
	for _, err := range []error{err1, err2, err3, o.Invalidate(t.Context())} {
		if !errors.Is(err, jackcache.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	}
}

func TestReadOfNoKind(t *testing.T) {
	cache, err := jackcache.Open(t.Context(), jackcache.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cache.Close(context.Background()) }()
	if _, err := cache.Org("org-1").ReadMany(t.Context(), jackcache.KindID{}); !errors.Is(err, jackcache.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
}

func TestZeroHandles(t *testing.T) {
	var (
		c   jackcache.Conversation
		r   jackcache.Ref[car]
		ctx = t.Context()
	)
	if p := c.Phone(); p != "" {
		t.Errorf("phone %q", p)
	}
	for name, call := range map[string]func() error{
		"append":   func() error { return second(c.Append(ctx, message("a", "x"))) },
		"nothing":  func() error { return second(c.Append(ctx)) },
		"replace":  func() error { return second(c.Replace(ctx)) },
		"clear":    func() error { return c.Clear(ctx) },
		"messages": func() error { return second(c.Messages(ctx, jackcache.ReadOptions{})) },
		"raw":      func() error { return second(c.Raw(ctx, jackcache.ReadOptions{})) },
		"import":   func() error { return second(c.Import(ctx)) },
		"get":      func() error { return second(r.Get(ctx)) },
		"entry":    func() error { return second(r.Entry(ctx)) },
	} {
		if err := call(); !errors.Is(err, jackcache.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}
