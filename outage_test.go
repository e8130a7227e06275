package jackcache_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// patient has a budget that a busy machine keeps: the disk, too, may be slow for a
// while. Where Redis hangs a call takes no longer by it than until the connection is
// given up, which is what most tests wait for anyway.
func patient(o *jackcache.Options) { o.Budget = 5 * time.Second }

// away waits until an instance knows that Redis is away.
func away(t testing.TB, a *assistant.Assistant) {
	t.Helper()
	eventually(t, 20*time.Second, "the instance notices", func() bool { return a.Cache.Health().Store.State != "up" })
}

func back(t testing.TB, as ...*assistant.Assistant) {
	t.Helper()
	for _, a := range as {
		eventually(t, 30*time.Second, "redis has everything", func() bool { return settled(a) })
	}
}

// again opens an instance over a data directory that another one uses, as a crash
// of that one would leave it.
func again(t testing.TB, redis jackcache.RedisOptions, dir string) *assistant.Assistant {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return instanceOf(t, redis, patient, func(o *jackcache.Options) { o.DataDir = copied })
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// While Redis is away an instance goes on with what it knows: writes wait, own
// writes are read back, and of what it does not know it says so.
func TestOutage(t *testing.T) {
	server := redistest.Start(t)
	redis := jackcache.RedisOptions{Addrs: []string{server.Addr()}}
	a, other := instance(t, server, patient), instance(t, server, patient)
	ctx, org := t.Context(), a.Cache.Org("org-1")
	conv, config := org.Conversation("+16049085474"), a.Kinds.AgentConfig
	if _, err := conv.Append(ctx, message("m1", "hi"), message("m2", "hi")); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"before", "deleted"} {
		if _, err := config.Set(ctx, org, id, raw(`1`)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Kinds.AgentConfig.Set(ctx, other.Cache.Org("org-1"), "others", raw(`1`)); err != nil {
		t.Fatal(err)
	}
	server.Freeze()
	away(t, a)

	t.Run("writes wait", func(t *testing.T) {
		got, err := conv.Append(ctx, message("m3", "hi"))
		if err != nil || !got.Pending || got.Appended != 1 || got.Messages[0].Version == "" {
			t.Errorf("append: %+v, %v", got, err)
		}
		rctx, receipt := jackcache.WithReceipt(ctx)
		if _, err := config.Set(rctx, org, "during", raw(`2`)); err != nil || !receipt.Pending() {
			t.Errorf("set: %v, pending %v", err, receipt.Pending())
		}
		if err := config.Delete(ctx, org, "deleted"); err != nil {
			t.Errorf("delete: %v", err)
		}
		if got := a.Cache.Health(); got.Status != jackcache.Degraded || got.Journal.Pending != 3 {
			t.Errorf("health: %+v", got)
		}
	})
	t.Run("a repetition is one", func(t *testing.T) {
		got, err := conv.Append(ctx, message("m1", "hi"), message("m3", "hi"))
		if err != nil || got.Duplicates != 2 || got.Appended != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		var conflict *jackcache.ConflictError
		if _, err := conv.Append(ctx, message("m3", "something else")); !errors.As(err, &conflict) || conflict.ID != "m3" {
			t.Errorf("the id with another content: %v", err)
		}
	})
	t.Run("own writes are read", func(t *testing.T) {
		if got := idsOf(t, conv); !slices.Equal(got, []string{"m1", "m2", "m3"}) {
			t.Errorf("messages %v", got)
		}
		got, err := conv.Messages(ctx, jackcache.ReadOptions{Last: 1})
		if err != nil || len(got.Messages) != 1 || got.Complete || got.Source != jackcache.SourcePending {
			t.Errorf("the last message: %+v, %v", got, err)
		}
		for id, want := range map[string]jackcache.Source{"before": jackcache.SourceStale, "during": jackcache.SourcePending} {
			if e, err := config.Entry(ctx, org, id); err != nil || e.Source != want {
				t.Errorf("%s: %+v, %v; want it %v", id, e, err, want)
			}
		}
		if _, err := config.Get(ctx, org, "deleted"); !errors.Is(err, jackcache.ErrNotFound) {
			t.Errorf("what was deleted: %v", err)
		}
		if many, err := config.GetMany(ctx, org, "before", "during", "deleted"); err != nil || string(many[1].Value) != "2" || many[2].Version != "" {
			t.Errorf("get many: %+v, %v", many, err)
		}
		loaded, err := config.GetOrLoad(ctx, org, "during", func(context.Context) (json.RawMessage, error) { return raw(`3`), nil })
		if err != nil || string(loaded) != "2" {
			t.Errorf("get or load: %s, %v", loaded, err)
		}
	})
	t.Run("the rest is not known", func(t *testing.T) {
		for name, err := range map[string]error{
			"another's value": second(config.Get(ctx, org, "others")), "nobody's": second(config.Get(ctx, org, "nothing")),
			"a conversation": second(org.Conversation(phone(1)).Messages(ctx, jackcache.ReadOptions{})),
			"a condition":    second(config.Set(ctx, org, "before", raw(`4`), jackcache.IfAbsent())),
			"several":        second(config.GetMany(ctx, org, "before", "nothing")),
			"a listing":      second(a.Cache.List(ctx, jackcache.ListQuery{Kind: "agentConfig"})),
		} {
			if !errors.Is(err, jackcache.ErrUnavailable) {
				t.Errorf("%s: %v, want ErrUnavailable", name, err)
			}
		}
	})
	t.Run("a crash loses nothing", func(t *testing.T) {
		b := again(t, redis, a.Cache.DataDir())
		if got := idsOf(t, b.Cache.Org("org-1").Conversation("+16049085474")); !slices.Equal(got, []string{"m1", "m2", "m3"}) {
			t.Errorf("messages %v", got)
		}
		if e, err := b.Kinds.AgentConfig.Entry(ctx, b.Cache.Org("org-1"), "during"); err != nil || string(e.Value) != "2" {
			t.Errorf("%+v, %v", e, err)
		}
	})
	server.Thaw()
	back(t, a)
	if got := idsOf(t, other.Cache.Org("org-1").Conversation("+16049085474")); !slices.Equal(got, []string{"m1", "m2", "m3"}) {
		t.Errorf("the other instance reads %v", got)
	}
	if e, err := other.Kinds.AgentConfig.Entry(ctx, other.Cache.Org("org-1"), "during"); err != nil || string(e.Value) != "2" || e.Source != jackcache.SourceShared {
		t.Errorf("the other instance reads %+v, %v", e, err)
	}
	if _, err := other.Kinds.AgentConfig.Get(ctx, other.Cache.Org("org-1"), "deleted"); !errors.Is(err, jackcache.ErrNotFound) {
		t.Errorf("the other instance reads what was deleted: %v", err)
	}
}

// losses are ways in which Redis loses what it had.
var losses = map[string]func(t *testing.T, s *redistest.Server){
	"killed": func(t *testing.T, s *redistest.Server) {
		s.Kill()
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	},
	"flushed": func(t *testing.T, s *redistest.Server) { do(t, s, "FLUSHALL") },
}

// Redis comes back empty: what was acknowledged is there again, and what was
// removed on purpose is not.
func TestRedisLosesItsData(t *testing.T) {
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			a, b := instance(t, server, patient), instance(t, server, patient)
			ctx, config := t.Context(), a.Kinds.AgentConfig
			kept, cleared, gone, left := a.Cache.Org("kept"), a.Cache.Org("cleared"), a.Cache.Org("gone"), a.Cache.Org("left")
			var want []string
			for i := range 50 {
				id := fmt.Sprintf("m%d", i)
				for _, err := range []error{
					second(kept.Conversation(phone(1)).Append(ctx, message(id, "hi"))),
					second(kept.Conversation(phone(2)).Append(ctx, message(id, "hi"))),
					second(config.Set(ctx, kept, id, raw(fmt.Sprint(i)))),
					second(config.Set(ctx, gone, id, raw(fmt.Sprint(i)))),
					second(config.Set(ctx, cleared, id, raw(fmt.Sprint(i)))),
					a.Link(ctx, left, phone(i), fmt.Sprintf("lead-%d", i)),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				want = append(want, id)
			}
			bOrg := func(o jackcache.Org) jackcache.Org { return b.Cache.Org(o.String()) }
			for what, err := range map[string]error{
				"clear": kept.Conversation(phone(2)).Clear(ctx), "delete": config.Delete(ctx, kept, "m7"),
				"invalidate by another": bOrg(gone).Invalidate(ctx), "clear the organisation": second(cleared.Clear(ctx)),
				"forget by another": second(bOrg(left).Forget(ctx, phone(3))),
			} {
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			if _, err := config.Set(ctx, gone, "after", raw(`1`)); err != nil {
				t.Fatal(err)
			}
			lose(t, server)
			eventually(t, 30*time.Second, "the loss is noticed", func() bool {
				return a.Cache.Health().Journal.Confirmed > 0 && b.Cache.Health().Journal.Confirmed > 0
			})
			back(t, a, b)
			for name, x := range map[string]*assistant.Assistant{"a": a, "b": b} {
				org := func(o jackcache.Org) jackcache.Org { return x.Cache.Org(o.String()) }
				if got := idsOf(t, org(kept).Conversation(phone(1))); !slices.Equal(got, want) {
					t.Errorf("%s reads %d messages, want %d", name, len(got), len(want))
				}
				if got := idsOf(t, org(kept).Conversation(phone(2))); len(got) > 0 {
					t.Errorf("%s: %d cleared messages are back", name, len(got))
				}
				for i, id := range want {
					v, err := x.Kinds.AgentConfig.Get(ctx, org(kept), id)
					if id == "m7" && !errors.Is(err, jackcache.ErrNotFound) || id != "m7" && string(v) != fmt.Sprint(i) {
						t.Errorf("%s: %s is %s, %v", name, id, v, err)
					}
					for _, o := range []jackcache.Org{gone, cleared} {
						if _, err := x.Kinds.AgentConfig.Get(ctx, org(o), id); !errors.Is(err, jackcache.ErrNotFound) {
							t.Errorf("%s: %s of %s is back: %v", name, id, o, err)
						}
					}
					lead, err := x.LeadOf(ctx, org(left), phone(i))
					if i == 3 && !errors.Is(err, jackcache.ErrNotFound) || i != 3 && lead != fmt.Sprintf("lead-%d", i) {
						t.Errorf("%s: lead %d is %q, %v", name, i, lead, err)
					}
				}
				if v, err := x.Kinds.AgentConfig.Get(ctx, org(gone), "after"); err != nil {
					t.Errorf("%s: what was written after the invalidation: %s, %v", name, v, err)
				}
			}
		})
	}
}

// What one instance accepts after it has invalidated an organisation outlives
// the invalidation, and what it accepted before does not, though both wait.
func TestInvalidateDuringOutage(t *testing.T) {
	server := redistest.Start(t)
	redis := jackcache.RedisOptions{Addrs: []string{server.Addr()}}
	a, b := instance(t, server, patient), instance(t, server, patient)
	ctx, org, config := t.Context(), a.Cache.Org("org-1"), a.Kinds.AgentConfig
	if _, err := config.Set(ctx, org, "shared", raw(`1`)); err != nil {
		t.Fatal(err)
	}
	server.Freeze()
	away(t, a)
	if _, err := config.Set(ctx, org, "before", raw(`1`)); err != nil {
		t.Fatal(err)
	}
	rctx, receipt := jackcache.WithReceipt(ctx)
	if err := org.Invalidate(rctx); err != nil || !receipt.Pending() {
		t.Fatalf("invalidate: %v, pending %v", err, receipt.Pending())
	}
	if _, err := config.Set(ctx, org, "after", raw(`1`)); err != nil {
		t.Fatal(err)
	}
	check := func(x *assistant.Assistant, gone error) {
		t.Helper()
		o := x.Cache.Org("org-1")
		for _, id := range []string{"shared", "before"} {
			if _, err := x.Kinds.AgentConfig.Get(ctx, o, id); !errors.Is(err, gone) {
				t.Errorf("%s: %v, want %v", id, err, gone)
			}
		}
		if _, err := x.Kinds.AgentConfig.Get(ctx, o, "after"); err != nil {
			t.Errorf("after: %v", err)
		}
	}
	check(a, jackcache.ErrUnavailable)
	crashed := again(t, redis, a.Cache.DataDir())
	check(crashed, jackcache.ErrUnavailable)
	server.Thaw()
	back(t, a, crashed)
	// Both have applied the same invalidation, and the writes after it.
	for _, x := range []*assistant.Assistant{a, b, crashed} {
		check(x, jackcache.ErrNotFound)
	}
}

// The modes of the journal do what they say.
func TestJournalModes(t *testing.T) {
	server := redistest.Start(t)
	redis := jackcache.RedisOptions{Addrs: []string{server.Addr()}}
	mode := func(m jackcache.JournalMode) func(*jackcache.Options) {
		return func(o *jackcache.Options) { o.Journal.Mode = m }
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	nowhere := func(o *jackcache.Options) { o.DataDir = "/sys/jackcache" } // even root cannot
	o := jackcache.Options{Redis: &redis, Logger: slog.New(slog.DiscardHandler)}
	nowhere(&o)
	if _, err := assistant.Open(t.Context(), o, assistant.TTLs{}); err == nil {
		t.Error("a data directory that cannot be written was taken without being told so")
	}
	off := instance(t, server, patient, mode(jackcache.JournalOff))
	memory := instance(t, server, patient, mode(jackcache.JournalMemory), nowhere)
	disk := instance(t, server, patient)
	back(t, memory, disk)
	if got := disk.Cache.Health(); got.Status != jackcache.Healthy || !got.Journal.CrashSafe {
		t.Errorf("health with a journal: %+v", got)
	}
	if got := memory.Cache.Health(); got.Status != jackcache.Degraded || got.Journal.CrashSafe {
		t.Errorf("health with a journal in memory: %+v", got)
	}
	server.Freeze()
	for _, a := range []*assistant.Assistant{off, memory, disk} {
		away(t, a)
		_, err := a.Cache.Org("org-1").Conversation(phone(1)).Append(t.Context(), message("m", "hi"))
		if a == off && !errors.Is(err, jackcache.ErrUnavailable) || a != off && err != nil {
			t.Errorf("append: %v", err)
		}
	}
	server.Thaw()
	back(t, memory, disk)
}

// A full journal refuses what would have to wait, with an error that says so, and
// takes it again when Redis does.
func TestFullJournal(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, patient, func(o *jackcache.Options) { o.Journal.MaxBytes = 1 << 20 })
	ctx, org := t.Context(), a.Cache.Org("org-1")
	server.Freeze()
	away(t, a)
	text := make([]byte, 2000) // which cannot be compressed
	if _, err := rand.Read(text); err != nil {
		t.Fatal(err)
	}
	value := raw(`"` + hex.EncodeToString(text) + `"`)
	accepted := 0
	for ; accepted < 1000; accepted++ {
		_, err := a.Kinds.History.Set(ctx, org, phone(accepted), value)
		if errors.Is(err, jackcache.ErrJournalFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if accepted == 0 || accepted == 1000 {
		t.Fatalf("%d writes were accepted", accepted)
	}
	server.Thaw()
	back(t, a)
	for i := range accepted {
		if _, err := a.Kinds.History.Get(ctx, org, phone(i)); err != nil {
			t.Errorf("write %d of %d: %v", i, accepted, err)
		}
	}
	if _, err := a.Kinds.History.Set(ctx, org, phone(1), value); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// One record that the store refuses for good keeps neither others of its
// organisation nor other organisations waiting.
func TestPoisonedReplay(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, patient)
	ctx := t.Context()
	server.Freeze()
	away(t, a)
	for _, org := range []string{"org-1", "org-2"} {
		for i := range 20 {
			if _, err := a.Cache.Org(org).Conversation(phone(i)).Append(ctx, message("m", "hi")); err != nil {
				t.Fatal(err)
			}
		}
	}
	server.Thaw()
	// Somebody else's key of another type is in the way.
	do(t, server, "SET", "jack:dev:conversationContexts:org-1:16049080003", "not a list")
	eventually(t, 30*time.Second, "all but one are applied", func() bool { return a.Cache.Health().Journal.Pending == 1 })
	if h := a.Cache.Health(); h.Journal.Trouble == "" || h.Status != jackcache.Degraded {
		t.Errorf("health: %+v", h)
	}
	do(t, server, "DEL", "jack:dev:conversationContexts:org-1:16049080003")
	back(t, a)
}
