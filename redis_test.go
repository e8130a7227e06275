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

// instanceOf opens an instance of the product over a deployment of Redis. It keeps no
// copies unless copies asks for them: tests of what is stored look at once at what
// another instance has written.
func instanceOf(t testing.TB, redis jackcache.RedisOptions, change ...func(*jackcache.Options)) *assistant.Assistant {
	t.Helper()
	o := jackcache.Options{DataDir: t.TempDir(), Redis: &redis, Logger: slog.New(slog.DiscardHandler)}
	o.Near.MaxBytes = -1
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

// copies lets an instance keep copies of what is stored, as by default.
func copies(o *jackcache.Options) { o.Near.MaxBytes = 0 }

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
	return errors.Is(err, jackcache.ErrUnavailable) || errors.Is(err, jackcache.ErrUnknown) || errors.Is(err, jackcache.ErrJournal)
}

// settled reports whether Redis has everything that was acknowledged.
func settled(a *assistant.Assistant) bool {
	h := a.Cache.Health()
	return h.Store.State == "up" && h.Journal.Pending == 0 && h.Journal.Restoring == 0
}

// idsOf returns the ids of a conversation's messages.
func idsOf(t testing.TB, c jackcache.Conversation) (ids []string) {
	t.Helper()
	got, err := c.Messages(t.Context(), jackcache.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range got.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// P1 and P2: with Redis frozen, calls on a fixed schedule, on keys that were
// written before, are all answered, and in time; after it goes on, all is there.
// How soon is told in the log: tests run beside others.
func TestFrozenRedisAnswersInTime(t *testing.T) {
	server := redistest.Start(t)
	// The disk is busy with other tests; the bench has the real budget, and many calls.
	a := instance(t, server, func(o *jackcache.Options) { o.Budget = time.Second })
	ctx := t.Context()
	org := a.Cache.Org("org-1")
	for i := range 64 {
		eventually(t, 10*time.Second, "the first append", func() bool {
			_, err := org.Conversation(phone(i)).Append(ctx, message("m", "hi"))
			return err == nil
		})
	}
	var failed atomic.Pointer[error] // an untyped one, if there was one
	server.Freeze()
	frozen := openloop.Run(openloop.Schedule{Callers: 16, Rate: 10, For: 3 * time.Second}, func(caller, n int) error {
		err := readOrWrite(ctx, org, caller, n)
		if last := failed.Load(); err != nil && (last == nil || typed(*last)) {
			failed.Store(&err)
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
	if err := failed.Load(); err != nil && !typed(*err) {
		t.Errorf("a call returned %v", *err)
	}
	// A machine that has kept timers waiting for part of the budget may have kept the
	// disk or the call waiting for the rest of it.
	allowed := 0
	if control > 100_000 {
		allowed = frozen.Calls / 10
	}
	if frozen.Errors > allowed {
		t.Errorf("%d of %d calls failed, one with %v", frozen.Errors, frozen.Calls, *failed.Load())
	}
	if got := a.Cache.Stats().Journal.Accepted; got == 0 {
		t.Errorf("nothing was kept in the journal: was Redis frozen?")
	}
	// Coarse, because tests run beside others: a call that waited for Redis would
	// take until SIGCONT. The bench measures this against the budget.
	if limit := (1500 * time.Millisecond).Microseconds() + 4*control; p999 > limit {
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

// An instance starts without Redis, and goes on when it comes, goes, and comes
// back empty, without being restarted and without losing anything.
func TestRedisComesAndGoes(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	a := instance(t, server, patient)
	ctx := t.Context()
	conv := a.Cache.Org("org-1").Conversation("+16049085474")
	got, err := conv.Append(ctx, message("m", "hi"))
	if err != nil || !got.Pending || got.Appended != 1 {
		t.Fatalf("append without Redis: %+v, %v; want it kept", got, err)
	}
	want := []string{"m"}
	if h := a.Cache.Health(); h.Status != jackcache.Degraded || len(h.Problems) == 0 {
		t.Errorf("health without Redis: %+v, want degraded with a problem", h)
	}
	for round := range 3 {
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("m%d", round)
		want = append(want, id)
		took := eventually(t, 20*time.Second, "append after a restart", func() bool {
			a, err := conv.Append(ctx, message(id, "hi"))
			if err != nil && !typed(err) {
				t.Fatal(err)
			}
			return err == nil && !a.Pending
		})
		t.Logf("round %d: served %v after the restart", round, took)
		if got := idsOf(t, conv); !slices.Equal(got, want) {
			t.Errorf("after an empty restart: %v, want %v", got, want)
		}
		eventually(t, 20*time.Second, "redis has all of it", func() bool { return settled(a) })
		if h := a.Cache.Health(); h.Store.State != "up" {
			t.Errorf("health: %+v, want up", h.Store)
		}
		server.Kill()
	}
}

// Restarted, emptied and frozen under load: calls fail only with typed errors,
// and everything that was acknowledged is there once.
func TestTwoInstancesUnderFaults(t *testing.T) {
	server := redistest.Start(t)
	patient := func(o *jackcache.Options) {
		o.Budget = 250 * time.Millisecond
		o.Conversation.Window = jackcache.MaxWindow
	}
	instances := []*assistant.Assistant{instance(t, server, patient), instance(t, server, patient)}
	ctx := t.Context()
	var (
		mu      sync.Mutex
		acked   = map[string]bool{} // guarded by mu
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
				id := fmt.Sprintf("%d-%d", w, n)
				_, err := conv.Append(ctx, message(id, "hi"))
				switch {
				case err == nil:
					mu.Lock()
					acked[id] = true
					mu.Unlock()
				case !typed(err):
					t.Errorf("append: %v", err)
					return
				}
				<-pause.C
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
	further()
	stopped.Store(true)
	wg.Wait()
	for _, a := range instances {
		eventually(t, 30*time.Second, "redis has all of it", func() bool { return settled(a) })
	}

	stored := map[string]int{}
	// A busy machine makes Redis late: then an instance knows what it has written itself.
	ids := func(a *assistant.Assistant, p int) (ids []string, all bool) {
		got, err := a.Cache.Org("org-1").Conversation(phone(p)).Messages(ctx, jackcache.ReadOptions{})
		if err != nil && !typed(err) {
			t.Fatal(err)
		}
		for _, m := range got.Messages {
			ids = append(ids, m.ID)
		}
		return ids, err == nil && got.Complete
	}
	for p := range 8 {
		// A write whose outcome was unknown may still be on its way.
		var read []string
		eventually(t, 30*time.Second, "the instances read one conversation", func() bool {
			a, whole := ids(instances[0], p)
			b, too := ids(instances[1], p)
			read = a
			return whole && too && slices.Equal(a, b)
		})
		for _, id := range read {
			stored[id]++
		}
	}
	lost := 0
	for id := range acked {
		if stored[id] == 0 {
			lost++
		}
		if stored[id] > 1 {
			t.Errorf("%s is stored %d times", id, stored[id])
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged appends are missing", lost, len(acked))
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
	both := []*assistant.Assistant{ahead, behind}
	for round := range 60 {
		for i, writer := range both {
			ctx, receipt := jackcache.WithReceipt(t.Context())
			// A busy machine may keep Redis from answering: what waits is not seen.
			arrived := func() {
				t.Helper()
				if receipt.Pending() {
					back(t, writer)
				}
			}
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
			arrived()
			for j, reader := range both {
				org := reader.Cache.Org("org-1")
				var got jackcache.Transcript
				eventually(t, 30*time.Second, "the instance reads what redis has", func() bool {
					var err error
					if got, err = org.Conversation(p).Messages(ctx, jackcache.ReadOptions{}); err != nil {
						t.Fatal(err)
					}
					return got.Complete
				})
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
				arrived()
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
	back(t, a)
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
