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

type car struct {
	Make  string
	Extra map[string]int
}

var cars = jackcache.NewKind[car](jackcache.KindOptions{Name: "car", TTL: time.Minute})

// everyStore runs a test of the contract on each store.
func everyStore(t *testing.T, test func(t *testing.T, a *assistant.Assistant)) {
	withCars := func(o *jackcache.Options) { o.Kinds = []jackcache.AnyKind{cars}; o.Directory = true }
	t.Run("embedded", func(t *testing.T) {
		o := jackcache.Options{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
		withCars(&o)
		a, err := assistant.Open(t.Context(), o, assistant.TTLs{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := a.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		test(t, a)
	})
	t.Run("redis", func(t *testing.T) {
		test(t, instance(t, redistest.Start(t), slow, withCars))
	})
}

func TestValues(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx, org := t.Context(), a.Cache.Org("org-1")
		if _, err := cars.Get(ctx, org, "1"); !errors.Is(err, jackcache.ErrNotFound) {
			t.Fatalf("get of nothing: %v", err)
		}
		in := car{Make: "Volvo", Extra: map[string]int{"doors": 5}}
		v1, err := cars.Set(ctx, org, "1", in)
		if err != nil {
			t.Fatal(err)
		}
		in.Extra["doors"] = 3 // the caller's copy
		out, err := cars.Get(ctx, org, "1")
		if err != nil || out.Extra["doors"] != 5 {
			t.Errorf("get: %+v, %v; what was set must not change with the caller's value", out, err)
		}
		if _, err := cars.Set(ctx, org, "1", in, jackcache.IfAbsent()); !errors.Is(err, jackcache.ErrPrecondition) {
			t.Errorf("set if absent: %v", err)
		}
		v2, err := cars.Set(ctx, org, "1", in, jackcache.IfVersion(v1))
		if err != nil || v2 <= v1 {
			t.Errorf("set if version: %q after %q, %v", v2, v1, err)
		}
		if err := cars.Delete(ctx, org, "1", jackcache.IfVersion(v1)); !errors.Is(err, jackcache.ErrPrecondition) {
			t.Errorf("delete of an old version: %v", err)
		}
		many, err := cars.GetMany(ctx, org, "0", "1", "2")
		if err != nil || many[0].Version != "" || many[1].Version != v2 || many[2].Version != "" {
			t.Errorf("get many: %+v, %v", many, err)
		}
		if err := cars.Delete(ctx, org, "1"); err != nil {
			t.Fatal(err)
		}
		if _, err := cars.Get(ctx, org, "1"); !errors.Is(err, jackcache.ErrNotFound) {
			t.Errorf("get after delete: %v", err)
		}
	})
}

func TestLimits(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx, org := t.Context(), a.Cache.Org("org-1")
		big := jackcache.Message{Role: "user", Content: strings.Repeat("x", jackcache.DefaultMessageBytes)}
		many := make([]jackcache.Message, jackcache.DefaultBatch+1)
		for i := range many {
			many[i] = message(fmt.Sprint(i), "hi")
		}
		conv := org.Conversation("+16049085474")
		for name, err := range map[string]error{
			"message": second(conv.Append(ctx, big)),
			"batch":   second(conv.Append(ctx, many...)),
			"value":   second(cars.Set(ctx, org, "1", car{Make: strings.Repeat("x", jackcache.DefaultValueBytes)})),
			"reads":   second(cars.GetMany(ctx, org, make([]string, jackcache.MaxReads+1)...)),
		} {
			if !errors.Is(err, jackcache.ErrTooLarge) {
				t.Errorf("%s: %v, want ErrTooLarge", name, err)
			}
		}
		other := jackcache.NewKind[car](jackcache.KindOptions{Name: "other", TTL: time.Minute})
		twice := []jackcache.Message{message("a", "x"), message("a", "x")}
		for name, err := range map[string]error{
			"no messages":       second(conv.Append(ctx)),
			"no role":           second(conv.Append(ctx, jackcache.Message{Content: "x"})),
			"id twice":          second(conv.Append(ctx, twice...)),
			"phone":             second(org.Conversation("hello").Append(ctx, message("a", "x"))),
			"organisation":      second(cars.Get(ctx, a.Cache.Org(""), "1")),
			"unregistered kind": second(other.Get(ctx, org, "1")),
			"id":                second(cars.Get(ctx, org, "a\x00b")),
			"JSON":              second(conv.Append(ctx, jackcache.Message{JSON: []byte("{")})),
			"version":           second(cars.Set(ctx, org, "1", car{}, jackcache.IfVersion("x"))),
			"directory":         a.Cache.Directory().Invalidate(ctx),
			"kind in directory": second(cars.Get(ctx, a.Cache.Directory(), "+16049085474")),
		} {
			if !errors.Is(err, jackcache.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", name, err)
			}
		}
		if l, err := a.Cache.List(ctx, jackcache.ListQuery{Kind: jackcache.ConversationKind}); err != nil || len(l.Entries) != 0 {
			t.Errorf("what was refused left %+v, %v", l, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestConversationIsOrderedAndOnce(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx := t.Context()
		conv := a.Cache.Org("org-1").Conversation("(604) 908-5474")
		raw := json.RawMessage(`{ "role":"user","content":"hi", "n":12345678901234567890,"x":{"b":[1, 2]} }`)
		res, err := conv.Append(ctx, jackcache.Message{JSON: raw}, message("m2", "there"))
		if err != nil || res.Appended != 2 || res.Messages[0].ID == "" {
			t.Fatalf("append: %+v, %v", res, err)
		}
		res2, err := conv.Append(ctx, message("m2", "there"), message("m3", "!"))
		if err != nil || res2.Appended != 1 || res2.Duplicates != 1 || res2.Messages[0].Version != res.Messages[1].Version {
			t.Errorf("append again: %+v, %v; want one duplicate with version %s", res2, err, res.Messages[1].Version)
		}
		var conflict *jackcache.ConflictError
		if _, err := conv.Append(ctx, message("m4", "x"), message("m2", "other")); !errors.As(err, &conflict) || conflict.ID != "m2" {
			t.Errorf("another content under m2: %v", err)
		}
		got, err := a.Cache.Org("org-1").Conversation("tel:+1-604-908-5474").Raw(ctx, jackcache.ReadOptions{})
		if err != nil || len(got.Messages) != 3 {
			t.Fatalf("messages: %s, %v", got.Messages, err)
		}
		want := `{"id":"` + res.Messages[0].ID + `","role":"user","content":"hi", "n":12345678901234567890,"x":{"b":[1, 2]} }`
		if string(got.Messages[0]) != want {
			t.Errorf("unknown fields changed:\n got %s\nwant %s", got.Messages[0], want)
		}
		for name, o := range map[string]jackcache.ReadOptions{
			"last": {Last: 2}, "bytes": {MaxBytes: 110}, "tokens": {MaxTokens: 11},
		} {
			if got, err := conv.Messages(ctx, o); err != nil || len(got.Messages) != 2 || got.Messages[1].ID != "m3" {
				t.Errorf("%s: %+v, %v; want the two newest", name, got.Messages, err)
			}
		}
		if _, err := conv.Replace(ctx, message("n1", "new")); err != nil {
			t.Fatal(err)
		}
		if got, err := conv.Messages(ctx, jackcache.ReadOptions{}); err != nil || len(got.Messages) != 1 || got.Messages[0].Content != "new" {
			t.Errorf("after replace: %+v, %v", got.Messages, err)
		}
		if err := conv.Clear(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := conv.Messages(ctx, jackcache.ReadOptions{}); err != nil || len(got.Messages) != 0 {
			t.Errorf("after clear: %+v, %v", got.Messages, err)
		}
	})
}

// P5 in the process: callers who miss together cause one load; a caller who
// gives up leaves the others theirs; a panic is an error.
func TestOneLoad(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		org := a.Cache.Org("org-1")
		var loads atomic.Int32
		release := make(chan struct{})
		load := func(context.Context) (car, error) {
			loads.Add(1)
			<-release
			return car{Make: "Saab"}, nil
		}
		first, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() { _, err := cars.GetOrLoad(first, org, "1", load); gaveUp <- err }()
		eventually(t, 5*time.Second, "the load begins", func() bool { return loads.Load() == 1 })
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				c, err := cars.GetOrLoad(t.Context(), org, "1", load)
				if err != nil || c.Make != "Saab" {
					t.Errorf("load: %+v, %v", c, err)
				}
			})
		}
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller who gave up got %v", err)
		}
		close(release)
		wg.Wait()
		if n := loads.Load(); n != 1 {
			t.Errorf("%d loads", n)
		}
		if c, err := cars.Get(t.Context(), org, "1"); err != nil || c.Make != "Saab" {
			t.Errorf("the load was not kept: %+v, %v", c, err)
		}
		_, err := cars.GetOrLoad(t.Context(), org, "2", func(context.Context) (car, error) { panic("oops") })
		if err == nil || !strings.Contains(err.Error(), "oops") {
			t.Errorf("panic in a loader: %v", err)
		}
		gone := errors.New("gone")
		if _, err := cars.GetOrLoad(t.Context(), org, "2", func(context.Context) (car, error) { return car{}, gone }); !errors.Is(err, gone) {
			t.Errorf("error of a loader: %v", err)
		}
	})
}

// A load that began before a Set, a Delete or an Invalidate does not bring the
// old value back.
func TestLateLoad(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx, org := t.Context(), a.Cache.Org("org-1")
		for name, c := range map[string]struct {
			meanwhile func() error
			want      string
		}{
			"set":        {func() error { return second(cars.Set(ctx, org, "set", car{Make: "new"})) }, "new"},
			"delete":     {func() error { return cars.Delete(ctx, org, "delete") }, ""},
			"invalidate": {func() error { return org.Invalidate(ctx) }, ""},
		} {
			_, err := cars.GetOrLoad(ctx, org, name, func(context.Context) (car, error) {
				return car{Make: "old"}, c.meanwhile()
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := cars.Get(ctx, org, name)
			if c.want == "" && !errors.Is(err, jackcache.ErrNotFound) || got.Make != c.want {
				t.Errorf("%s during a load: then there is %+v, %v; want %q", name, got, err, c.want)
			}
		}
	})
}

func TestInvalidateAndForget(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx, phone := t.Context(), "+16049085474"
		org, other := a.Cache.Org("org-1"), a.Cache.Org("org-2")
		fill := func(o jackcache.Org) {
			t.Helper()
			_, err1 := o.Conversation(phone).Append(ctx, message("m1", "hi"))
			_, err2 := a.Kinds.Summary.Set(ctx, o, phone, assistant.Summary{Text: "s"})
			err3 := a.Link(ctx, o, phone, "lead-1")
			_, err4 := a.Kinds.LeadData.Set(ctx, o, "lead-1", json.RawMessage(`{"name":"Jo"}`))
			if err := errors.Join(err1, err2, err3, err4); err != nil {
				t.Fatal(err)
			}
		}
		there := func(o jackcache.Org) string {
			turn, err := a.Turn(ctx, o, phone, jackcache.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			data, err := a.Kinds.LeadData.Get(ctx, o, "lead-1")
			if err != nil && !errors.Is(err, jackcache.ErrNotFound) {
				t.Fatal(err)
			}
			p, err := a.PhoneOf(ctx, o, "lead-1")
			if err != nil && !errors.Is(err, jackcache.ErrNotFound) {
				t.Fatal(err)
			}
			return fmt.Sprint(len(turn.Messages), turn.Summary, turn.Lead, string(data), p)
		}
		const all, none = `1slead-1{"name":"Jo"}+16049085474`, "0"
		fill(org)
		fill(other)
		if err := org.Invalidate(ctx); err != nil {
			t.Fatal(err)
		}
		if got := there(org); got != none {
			t.Errorf("after invalidate: %s", got)
		}
		fill(org) // the same ids again: they count as new
		if got := there(org); got != all {
			t.Errorf("written after invalidate: %s", got)
		}
		if f, err := org.Forget(ctx, phone); err != nil || f.Lead != "lead-1" {
			t.Fatalf("forget: %+v, %v", f, err)
		}
		if got := there(org); got != none {
			t.Errorf("after forget: %s", got)
		}
		old := jackcache.Message{JSON: []byte(`{"role":"user","content":"hi","timestamp":1757000010845}`)}
		if o, err := org.Conversation(phone).Import(ctx, old); err != nil || o != jackcache.SetAside {
			t.Errorf("import after forget: %v, %v; want set aside", o, err)
		}
		if got := there(org); got != none {
			t.Errorf("after forget and import: %s", got)
		}
		if got := there(other); got != all {
			t.Errorf("the other organisation has %s", got)
		}
	})
}

// P3: organisations whose ids look alike, or like separators, patterns or
// other keys, share nothing.
func TestOrganisationsAreApart(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx, phone := t.Context(), "+16045550000"
		ids := []string{"a", "A", "a:b", "a%3Ab", "*", "?", "[a]", "{x}", "x", "global", "+16045550000", "16045550000", "héé", "😀", " a", "a ", "__gen", "org/1", "org"}
		for _, id := range ids {
			org := a.Cache.Org(id)
			_, err1 := org.Conversation(phone).Append(ctx, message("m", id))
			_, err2 := a.Kinds.Organization.Set(ctx, org, "", json.RawMessage(fmt.Sprintf("%q", id)))
			if err := errors.Join(err1, err2, a.Link(ctx, org, phone, "lead of "+id)); err != nil {
				t.Fatalf("%q: %v", id, err)
			}
		}
		if err := a.Link(ctx, a.Cache.Directory(), phone, "the directory's"); err != nil {
			t.Fatal(err)
		}
		gone := "a:b"
		if err := a.Cache.Org(gone).Invalidate(ctx); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			org, want := a.Cache.Org(id), 1
			if id == gone {
				want = 0
			}
			got, err := org.Conversation(phone).Messages(ctx, jackcache.ReadOptions{})
			if err != nil || len(got.Messages) != want || want == 1 && got.Messages[0].Content != id {
				t.Errorf("%q reads %+v, %v", id, got.Messages, err)
			}
			lead, err := a.LeadOf(ctx, org, phone)
			if want == 1 && lead != "lead of "+id || want == 0 && !errors.Is(err, jackcache.ErrNotFound) {
				t.Errorf("%q has lead %q, %v", id, lead, err)
			}
			l, err := org.List(ctx, jackcache.ListQuery{Kind: jackcache.ConversationKind})
			if err != nil || len(l.Entries) != want || want == 1 && (l.Entries[0].Org != id || l.Entries[0].ID != phone) {
				t.Errorf("%q lists %+v, %v", id, l.Entries, err)
			}
			l, err = org.List(ctx, jackcache.ListQuery{Kind: "organizationData"})
			if err != nil || len(l.Entries) != want {
				t.Errorf("%q lists organisation data %+v, %v", id, l.Entries, err)
			}
		}
		if lead, err := a.LeadOf(ctx, a.Cache.Directory(), phone); err != nil || lead != "the directory's" {
			t.Errorf("the directory has %q, %v", lead, err)
		}
		for _, id := range []string{"", ".", "..", "a\x00", "a\nb", "\xff", strings.Repeat("x", 129)} {
			if _, err := a.Cache.Org(id).Conversation(phone).Append(ctx, message("m", "x")); !errors.Is(err, jackcache.ErrInvalid) {
				t.Errorf("organisation %.20q: %v, want ErrInvalid", id, err)
			}
		}
	})
}

func TestOpenReportsEveryProblem(t *testing.T) {
	bad := jackcache.NewKind[int](jackcache.KindOptions{Name: "9lives"})
	_, err := jackcache.Open(t.Context(), jackcache.Options{
		DataDir: t.TempDir(), PhoneRegion: "XX", Budget: time.Hour, Kinds: []jackcache.AnyKind{bad, cars, cars},
		Conversation: jackcache.ConversationOptions{Window: 1 << 20},
	})
	if !errors.Is(err, jackcache.ErrInvalid) {
		t.Fatalf("open: %v", err)
	}
	for _, want := range []string{"PhoneRegion", "Budget", "9lives", "TTL", `two kinds are named "car"`, "Conversation.Window"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s:\n%v", want, err)
		}
	}
}

func TestDataDirIsLocked(t *testing.T) {
	dir := t.TempDir()
	c, err := jackcache.Open(t.Context(), jackcache.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jackcache.Open(t.Context(), jackcache.Options{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("a second open: %v", err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := cars.Get(t.Context(), c.Org("a"), "1"); !errors.Is(err, jackcache.ErrInvalid) && !errors.Is(err, jackcache.ErrClosed) {
		t.Errorf("get after close: %v", err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Errorf("a second close: %v", err)
	}
	c, err = jackcache.Open(t.Context(), jackcache.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
