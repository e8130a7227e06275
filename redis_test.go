package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/openloop"
	"github.com/jackcache/jackcache/internal/redistest"
)

// instance opens an instance of the product over a Redis server.
func instance(t testing.TB, server *redistest.Server, change ...func(*jackcache.Options)) *assistant.Assistant {
	t.Helper()
	return instanceOf(t, jackcache.RedisOptions{Addrs: []string{server.Addr()}}, change...)
}

// instanceOf opens an instance of the product over a deployment of Redis.
func instanceOf(t testing.TB, redis jackcache.RedisOptions, change ...func(*jackcache.Options)) *assistant.Assistant {
	t.Helper()
	o := jackcache.Options{DataDir: t.TempDir(), Redis: &redis, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	a, err := assistant.Open(t.Context(), o, assistant.TTLs{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return a
}

// slow gives operations time: tests of what is stored do not test P2.
func slow(o *jackcache.Options) { o.Budget = 10 * time.Second }

// eventually polls until ok, and fails the test when that takes longer than
// limit. It returns how long it took.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(start)
}

func message(id, content string) jackcache.Message {
	return jackcache.Message{ID: id, Role: "user", Content: content}
}

// typed reports whether err is one that callers are told to expect while Redis
// is away.
func typed(err error) bool {
	return errors.Is(err, jackcache.ErrUnavailable) || errors.Is(err, jackcache.ErrUnknown)
}

// P2: with Redis frozen, calls on a fixed schedule answer within the budget,
// each with a typed error; after it goes on, all succeed again. How soon is told
// in the log: tests run beside others.
func TestFrozenRedisAnswersInTime(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server)
	ctx := t.Context()
	org := a.Cache.Org("org-1")
	for i := range 64 {
		eventually(t, 10*time.Second, "the first append", func() bool {
			_, err := org.Conversation(phone(i)).Append(ctx, message("m", "hi"))
			return err == nil
		})
	}
	var untyped atomic.Pointer[error]
	server.Freeze()
	frozen := openloop.Run(openloop.Schedule{Callers: 64, Rate: 50, For: 3 * time.Second}, func(caller, n int) error {
		err := readOrWrite(ctx, org, caller, n)
		if err != nil && !typed(err) {
			untyped.Store(&err)
		}
		return err
	})
	server.Thaw()
	recovered := eventually(t, 20*time.Second, "the calls of all callers succeed after SIGCONT", func() bool {
		for caller := range 64 {
			if readOrWrite(ctx, org, caller, caller) != nil {
				return false
			}
		}
		return true
	})

	p999, control := frozen.Latency.ValueAtQuantile(99.9), frozen.Control.ValueAtQuantile(99.9)
	t.Logf("frozen: %d calls, %d errors, p50 %d µs, p99.9 %d µs, max %d µs; control p99.9 %d µs; all well %v after SIGCONT",
		frozen.Calls, frozen.Errors, frozen.Latency.ValueAtQuantile(50), p999, frozen.Latency.Max(), control, recovered)
	if err := untyped.Load(); err != nil {
		t.Errorf("a call returned %v", *err)
	}
	if frozen.Errors < frozen.Calls*9/10 {
		t.Errorf("only %d of %d calls failed: was Redis frozen?", frozen.Errors, frozen.Calls)
	}
	// Coarse, because tests run beside others: a call that waited for Redis would
	// take until the client gives up on the connection, or until SIGCONT. The
	// bench measures this against the budget.
	if limit := (500 * time.Millisecond).Microseconds() + 4*control; p999 > limit {
		t.Errorf("p99.9 from the intended start is %d µs, the limit %d µs", p999, limit)
	}
}

func phone(i int) string { return fmt.Sprintf("+1604908%04d", i) }

func readOrWrite(ctx context.Context, org jackcache.Org, caller, n int) error {
	c := org.Conversation(phone(caller))
	if n%2 == 0 {
		_, err := c.Raw(ctx, jackcache.ReadOptions{})
		return err
	}
	_, err := c.Append(ctx, message(fmt.Sprintf("%d-%d", caller, n), "hi"))
	return err
}

// An instance starts without Redis, and serves when it comes, goes, and comes
// back empty, without being restarted.
func TestRedisComesAndGoes(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	a := instance(t, server)
	ctx := t.Context()
	conv := a.Cache.Org("org-1").Conversation("+16049085474")
	if _, err := conv.Append(ctx, message("m1", "hi")); !errors.Is(err, jackcache.ErrUnavailable) {
		t.Fatalf("append without Redis: %v, want ErrUnavailable", err)
	}
	if h := a.Cache.Health(); h.Status != jackcache.Degraded || len(h.Problems) == 0 {
		t.Errorf("health without Redis: %+v, want degraded with a problem", h)
	}
	for round := range 3 {
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("m%d", round)
		took := eventually(t, 20*time.Second, "append after a restart", func() bool {
			_, err := conv.Append(ctx, message(id, "hi"))
			if err != nil && !typed(err) {
				t.Fatal(err)
			}
			return err == nil
		})
		t.Logf("round %d: served %v after the restart", round, took)
		got, err := conv.Messages(ctx, jackcache.ReadOptions{})
		if err != nil || len(got.Messages) != 1 || got.Messages[0].ID != id {
			t.Errorf("after an empty restart: %+v, %v; want only %s", got.Messages, err, id)
		}
		if h := a.Cache.Health(); h.Store.State != "up" {
			t.Errorf("health: %+v, want up", h.Store)
		}
		server.Kill()
	}
}

// Restarted, emptied and frozen under load: calls fail only with typed errors,
// and everything that was acknowledged after the last restart is there once.
func TestTwoInstancesUnderFaults(t *testing.T) {
	server := redistest.Start(t)
	patient := func(o *jackcache.Options) { o.Budget = 250 * time.Millisecond }
	instances := []*assistant.Assistant{instance(t, server, patient), instance(t, server, patient)}
	ctx := t.Context()
	var (
		mu      sync.Mutex
		acked   = map[string]time.Time{} // guarded by mu: when the call began
		stopped atomic.Bool
		wg      sync.WaitGroup
	)
	defer wg.Wait()
	defer stopped.Store(true)
	for w := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			pause := time.NewTicker(2 * time.Millisecond)
			defer pause.Stop()
			conv := instances[w%2].Cache.Org("org-1").Conversation(phone(w / 2))
			for n := 0; !stopped.Load(); n++ {
				id, start := fmt.Sprintf("%d-%d", w, n), time.Now()
				_, err := conv.Append(ctx, message(id, "hi"))
				switch {
				case err == nil:
					mu.Lock()
					acked[id] = start
					mu.Unlock()
				case !typed(err):
					t.Errorf("append: %v", err)
					return
				default:
					<-pause.C // refused at once: leave the machine to others
				}
			}
		}()
	}
	progress := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
	further := func() {
		t.Helper()
		before := progress()
		eventually(t, 30*time.Second, "appends go on", func() bool { return progress() > before+200 })
	}
	further()
	server.Freeze()
	eventually(t, 30*time.Second, "the instances notice", func() bool { return instances[0].Cache.Health().Store.State != "up" })
	server.Thaw()
	further()
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	further()
	server.Kill()
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	restarted := time.Now()
	further()
	stopped.Store(true)
	wg.Wait()

	stored := map[string]int{}
	ids := func(a *assistant.Assistant, p int) (ids []string) {
		got, err := a.Cache.Org("org-1").Conversation(phone(p)).Messages(ctx, jackcache.ReadOptions{})
		if err != nil && !typed(err) {
			t.Fatal(err)
		}
		for _, m := range got.Messages {
			ids = append(ids, m.ID)
		}
		return ids
	}
	for p := range 8 {
		// A write whose outcome was unknown may still be on its way.
		eventually(t, 30*time.Second, "the instances read one conversation", func() bool {
			return slices.Equal(ids(instances[0], p), ids(instances[1], p))
		})
		all := ids(instances[0], p)
		for _, id := range all {
			stored[id]++
		}
		if len(all) > jackcache.DefaultWindow {
			t.Errorf("a window of %d messages", len(all))
		}
	}
	lost, full := 0, len(stored) == 8*jackcache.DefaultWindow
	for id, at := range acked {
		if at.After(restarted) && stored[id] == 0 {
			lost++
		}
		if stored[id] > 1 {
			t.Errorf("%s is stored %d times", id, stored[id])
		}
	}
	if lost > 0 && !full {
		t.Errorf("%d acknowledged appends are missing", lost)
	}
}

// Clocks that differ by 50 ms: no acknowledged write is invisible afterwards.
func TestClocksThatDiffer(t *testing.T) {
	clocksThatDiffer(t, jackcache.RedisOptions{Addrs: []string{redistest.Start(t).Addr()}})
}

func clocksThatDiffer(t *testing.T, redis jackcache.RedisOptions) {
	ahead := instanceOf(t, redis, slow)
	behind := instanceOf(t, redis, slow, func(o *jackcache.Options) {
		o.Now = func() time.Time { return time.Now().Add(-50 * time.Millisecond) }
	})
	ctx := t.Context()
	both := []*assistant.Assistant{ahead, behind}
	for round := range 60 {
		for i, writer := range both {
			org, p := writer.Cache.Org("org-1"), phone(1)
			id := fmt.Sprintf("r%d-%d", round, i)
			if round%10 == 9 {
				if err := org.Conversation(p).Clear(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := org.Conversation(p).Append(ctx, message(id, "hi")); err != nil {
				t.Fatal(err)
			}
			if _, err := writer.Kinds.Summary.Set(ctx, org, p, assistant.Summary{Text: id}); err != nil {
				t.Fatal(err)
			}
			for j, reader := range both {
				org := reader.Cache.Org("org-1")
				got, err := org.Conversation(p).Messages(ctx, jackcache.ReadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if !has(got, id) {
					t.Fatalf("round %d: instance %d does not see %s, which instance %d appended", round, j, id, i)
				}
				if round%10 == 9 && len(got.Messages) != 1 {
					t.Fatalf("round %d: %d messages after a clear and an append", round, len(got.Messages))
				}
				s, err := reader.Kinds.Summary.Get(ctx, org, p)
				if err != nil || s.Text != id {
					t.Fatalf("round %d: instance %d reads summary %q, %v; want %q", round, j, s.Text, err, id)
				}
			}
			if round%10 == 5 {
				if err := writer.Kinds.Summary.Delete(ctx, org, p); err != nil {
					t.Fatal(err)
				}
				if _, err := both[1-i].Kinds.Summary.Get(ctx, both[1-i].Cache.Org("org-1"), p); !errors.Is(err, jackcache.ErrNotFound) {
					t.Fatalf("round %d: after a delete: %v", round, err)
				}
			}
		}
	}
}

func has(t jackcache.Transcript, id string) bool {
	for _, m := range t.Messages {
		if m.ID == id {
			return true
		}
	}
	return false
}

// A server that refuses writes for lack of memory: a typed error, nothing kept.
func TestRedisOutOfMemory(t *testing.T) {
	server := redistest.Start(t)
	a := instance(t, server, slow)
	ctx := t.Context()
	org := a.Cache.Org("org-1")
	if _, err := server.Do("CONFIG", "SET", "maxmemory", "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := org.Conversation(phone(1)).Append(ctx, message("m", "hi")); !errors.Is(err, jackcache.ErrFull) {
		t.Errorf("append: %v, want ErrFull", err)
	}
	if _, err := a.Kinds.Summary.Set(ctx, org, phone(1), assistant.Summary{Text: "x"}); !errors.Is(err, jackcache.ErrFull) {
		t.Errorf("set: %v, want ErrFull", err)
	}
	if got, err := org.Conversation(phone(1)).Messages(ctx, jackcache.ReadOptions{}); err != nil || len(got.Messages) != 0 {
		t.Errorf("messages: %v, %v; want none", got, err)
	}
	if _, err := server.Do("CONFIG", "SET", "maxmemory", "0"); err != nil {
		t.Fatal(err)
	}
	if _, err := org.Conversation(phone(1)).Append(ctx, message("m", "hi")); err != nil {
		t.Errorf("append with memory again: %v", err)
	}
}

// An evicting server makes health degraded and names the setting.
func TestHealthNamesTheEvictionPolicy(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	a := instance(t, server, slow)
	h := a.Cache.Health()
	if h.Status != jackcache.Degraded || len(h.Problems) != 1 {
		t.Errorf("health: %+v, want degraded for maxmemory-policy", h)
	}
}

// An instance that does not know that an organisation was invalidated must not
// take what is gone for what is there.
func TestNewInstanceAfterInvalidate(t *testing.T) {
	newInstanceAfterInvalidate(t, jackcache.RedisOptions{Addrs: []string{redistest.Start(t).Addr()}})
}

func newInstanceAfterInvalidate(t *testing.T, redis jackcache.RedisOptions) {
	ctx, p := t.Context(), phone(1)
	old := instanceOf(t, redis, slow)
	org := old.Cache.Org("org-1")
	_, err1 := org.Conversation(p).Append(ctx, message("m1", "before"))
	_, err2 := old.Kinds.Summary.Set(ctx, org, p, assistant.Summary{Text: "before"})
	if err := errors.Join(err1, err2, org.Invalidate(ctx)); err != nil {
		t.Fatal(err)
	}
	org = instanceOf(t, redis, slow).Cache.Org("org-1")
	if res, err := org.Conversation(p).Append(ctx, message("m1", "after")); err != nil || res.Appended != 1 {
		t.Errorf("append of an id that was there before: %+v, %v", res, err)
	}
	if _, err := old.Kinds.Summary.Set(ctx, old.Cache.Org("org-1"), p, assistant.Summary{Text: "after"}, jackcache.IfAbsent()); err != nil {
		t.Errorf("set if absent: %v", err)
	}
	turn, err := old.Turn(ctx, old.Cache.Org("org-1"), p, jackcache.ReadOptions{})
	if err != nil || len(turn.Messages) != 1 || turn.Messages[0].Content != "after" || turn.Summary != "after" {
		t.Errorf("then there is %+v, %v", turn, err)
	}
}
