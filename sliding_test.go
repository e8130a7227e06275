package jackcache_test

import (
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/openloop"
	"github.com/jackcache/jackcache/internal/redistest"
)

// session is a kind whose values live while they are read.
func session(ttl, maxLife time.Duration) *jackcache.Kind[string] {
	return jackcache.NewKind[string](jackcache.KindOptions{
		Name: "session", TTL: ttl, Sliding: true, MaxLife: maxLife, ServeStale: true, Immutable: true,
	})
}

func with(k jackcache.AnyKind) func(*jackcache.Options) {
	return func(o *jackcache.Options) { o.Kinds = append(o.Kinds, k) }
}

// calls is how often a server was sent a command, in scripts and outside.
func calls(t testing.TB, server *redistest.Server, command string) int {
	t.Helper()
	return callsIn(t, do(t, server, "INFO", "commandstats"), command)
}

// callsIn is calls by what a server told.
func callsIn(t testing.TB, stats, command string) int {
	t.Helper()
	_, rest, found := strings.Cut(stats, "cmdstat_"+command+":calls=")
	if !found {
		return 0
	}
	digits, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A value that three instances read a thousand times a second, nearly always from
// their copies, does not expire, and costs a handful of commands for each TTL. Once
// nobody reads it, it goes.
func TestSliding(t *testing.T) {
	t.Parallel() // most of it is waiting
	const (
		ttl  = 4 * time.Second
		ttls = 3
		rate = 1000
	)
	server := redistest.Start(t)
	kind := session(ttl, 0)
	var as []*assistant.Assistant
	for range 3 {
		as = append(as, instance(t, server, copies, patient, with(kind)))
	}
	ctx, org := t.Context(), as[0].Cache.Org("org-1")
	if _, err := kind.Set(ctx, org, "x", "here"); err != nil {
		t.Fatal(err)
	}
	for _, a := range as {
		warm(t, "the value", func() jackcache.Source { e, _ := kind.Entry(ctx, a.Cache.Org("org-1"), "x"); return e.Source })
	}
	// The list of those who give copies is prolonged by an HSET and a PEXPIREAT.
	prolonged := func() int {
		stats := do(t, server, "INFO", "commandstats")
		return callsIn(t, stats, "pexpireat") - callsIn(t, stats, "hset")
	}
	refreshes, reads := prolonged(), calls(t, server, "mget")
	var near, other, gone atomic.Int64
	var refs []jackcache.Ref[string]
	for _, a := range as {
		refs = append(refs, kind.Ref(a.Cache.Org("org-1"), "x"))
	}
	began := time.Now()
	openloop.Run(openloop.Schedule{Callers: len(as), Rate: rate, For: ttls * ttl}, func(caller, _ int) error {
		switch e, err := refs[caller].Entry(ctx); {
		case err != nil:
			gone.Add(1)
			return err
		case e.Source == jackcache.SourceNear:
			near.Add(1)
		default:
			other.Add(1)
		}
		return nil
	})
	refreshes, reads = prolonged()-refreshes, calls(t, server, "mget")-reads
	most := int(4*time.Since(began)/ttl) + 1
	t.Logf("%d reads of copies, %d others; in %d TTLs %d lives prolonged, %d times read of redis", near.Load(), other.Load(), ttls, refreshes, reads)
	if gone.Load() > 0 {
		t.Errorf("%d of %d reads found nothing", gone.Load(), near.Load()+other.Load()+gone.Load())
	}
	if near.Load() < 9*other.Load() {
		t.Errorf("%d reads of copies, %d others", near.Load(), other.Load())
	}
	if refreshes < ttls-1 || refreshes > most {
		t.Errorf("%d lives prolonged in %d TTLs", refreshes, ttls)
	}
	eventually(t, 5*ttl, "the value goes", func() bool { return do(t, server, "EXISTS", as[0].Cache.KeyPrefix()+"session:org-1:x") == "0" })
	if _, err := kind.Get(ctx, org, "x"); !errors.Is(err, jackcache.ErrNotFound) {
		t.Errorf("after its life: %v", err)
	}
}

// A read of a copy counts: it prolongs the life in Redis, once for all that read it.
func TestSlidingCopy(t *testing.T) {
	const ttl = 20 * time.Second
	server := redistest.Start(t)
	kind := session(ttl, 0)
	// A pause of the process ends no copy by itself.
	a := instance(t, server, copies, patient, with(kind), func(o *jackcache.Options) { o.Near.Freshness = time.Minute })
	ctx, ref := t.Context(), kind.Ref(a.Cache.Org("org-1"), "x")
	if _, err := kind.Set(ctx, a.Cache.Org("org-1"), "x", "here"); err != nil {
		t.Fatal(err)
	}
	read := func() jackcache.Source {
		t.Helper()
		e, err := ref.Entry(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return e.Source
	}
	warm(t, "the value", read)
	end := endOf(t, server, a.Cache.KeyPrefix()+"session:org-1:x")
	eventually(t, ttl, "a quarter of the life has passed", func() bool { return time.Until(end) < ttl*7/10 })
	if n := a.Cache.Stats().Refreshes.Done; n != 0 {
		t.Fatalf("%d longer lives before anybody read", n)
	}
	for range 100 {
		if source := read(); source != jackcache.SourceNear && a.Cache.Stats().Refreshes.Done == 0 {
			t.Fatalf("it came from %v", source)
		}
	}
	eventually(t, ttl/4, "the life is longer", func() bool { return endOf(t, server, a.Cache.KeyPrefix()+"session:org-1:x").After(end) })
	eventually(t, ttl/4, "one longer life was asked for", func() bool { return a.Cache.Stats().Refreshes.Done == 1 })
	if reading := allocations(1000, func() { read() }); reading > 0 {
		t.Errorf("a read of a copy allocates %v times", reading)
	}
}

// unswept is a server that removes what has expired only when somebody asks for it:
// nobody is told that a life has ended.
func unswept(t *testing.T) *redistest.Server {
	t.Helper()
	server := redistest.Start(t, "--enable-debug-command", "yes")
	do(t, server, "DEBUG", "SET-ACTIVE-EXPIRE", "0")
	return server
}

// endOf is the time at which a key of a server expires, by the server's clock.
func endOf(t *testing.T, server *redistest.Server, key string) time.Time {
	t.Helper()
	ms, err := strconv.ParseInt(do(t, server, "PEXPIRETIME", key), 10, 64)
	if err != nil || ms <= 0 {
		t.Fatalf("%s expires at %d, %v", key, ms, err)
	}
	return time.UnixMilli(ms)
}

// However often a value is read, from a copy or from Redis, it does not outlive its
// MaxLife, and it reaches it.
func TestSlidingMaxLife(t *testing.T) {
	server := unswept(t)
	kind := session(slidingTTL, slidingMost)
	a := instance(t, server, copies, patient, with(kind))
	// Redis may get no turn for as long as a life takes that is to be prolonged; not
	// each time.
	for i := range 3 {
		if reachesMaxLife(t, a, kind, strconv.Itoa(i)) {
			return
		}
	}
	t.Error("gone before its longest life, each time")
}

const slidingTTL, slidingMost = time.Second, 2500 * time.Millisecond

// reachesMaxLife reads a value until it is gone, and reports whether that was at the
// end of its longest life. It fails the test if it was later.
func reachesMaxLife(t *testing.T, a *assistant.Assistant, kind *jackcache.Kind[string], id string) bool {
	t.Helper()
	ctx, ref := t.Context(), kind.Ref(a.Cache.Org("org-1"), id)
	v, err := kind.Set(ctx, a.Cache.Org("org-1"), id, "here")
	if err != nil {
		t.Fatal(err)
	}
	end := v.WrittenAt().Add(slidingMost)
	near, last, gap := 0, time.Now(), time.Duration(0)
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		began := time.Now()
		gap, last = max(gap, began.Sub(last)), began
		e, err := ref.Entry(ctx)
		if errors.Is(err, jackcache.ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Source == jackcache.SourceNear {
			near++
		}
		if began.After(end.Add(20 * time.Millisecond)) { // the clocks differ by milliseconds
			t.Fatalf("%v after its longest life it is there, from %v", began.Sub(end), e.Source)
		}
	}
	early := time.Until(end)
	t.Logf("gone %v before its longest life, read every %v at least, %d times from a copy", early, gap, near)
	return early <= 20*time.Millisecond && near > 0
}

// A copy of a conversation does not outlive what Redis has: its life is bounded from
// the first message, whatever was appended later.
func TestConversationCopyEndsWithIt(t *testing.T) {
	const most = 2 * time.Second
	server := unswept(t)
	a := instance(t, server, copies, patient, func(o *jackcache.Options) {
		o.Conversation.TTL, o.Conversation.MaxLife = time.Hour, most
	})
	// This process may get no turn for what is left of the life; not each time.
	for i := range 5 {
		if copyEndsWithIt(t, server, a, phone(i), most) > 0 {
			return
		}
	}
	t.Error("no read was answered by a copy")
}

// copyEndsWithIt reads a conversation until it is gone, and returns how often a copy
// answered after its second message. It fails the test if it was there too long.
func copyEndsWithIt(t *testing.T, server *redistest.Server, a *assistant.Assistant, phone string, most time.Duration) (near int) {
	t.Helper()
	ctx, conv := t.Context(), a.Cache.Org("org-1").Conversation(phone)
	if _, err := conv.Append(ctx, message("first", "hi")); err != nil {
		t.Fatal(err)
	}
	key := a.Cache.KeyPrefix() + "conversationContexts:org-1:" + strings.TrimPrefix(phone, "+")
	end := endOf(t, server, key)
	eventually(t, time.Minute, "most of the life", func() bool { return time.Until(end) < most/4 })
	if _, err := conv.Append(ctx, message("second", "hi")); err != nil {
		t.Fatal(err)
	}
	if text, err := server.Do("LLEN", key); err != nil || text != "2" {
		t.Logf("it was gone before its second message: %s, %v", text, err)
		return 0
	}
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		began := time.Now()
		got, err := conv.Messages(ctx, jackcache.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Messages) == 0 {
			break
		}
		if got.Source == jackcache.SourceNear {
			near++
		}
		if began.After(end.Add(10 * time.Millisecond)) {
			t.Fatalf("%v after its end it is there, from %v", began.Sub(end), got.Source)
		}
	}
	return near
}

// While Redis does not answer, longer lives are dropped and counted, and what is read
// tells how old it is.
func TestSlidingOutage(t *testing.T) {
	const ttl = 10 * time.Second
	server := redistest.Start(t)
	kind := session(ttl, 0)
	a, writer := instance(t, server, copies, patient, with(kind)), instance(t, server, patient, with(kind))
	ctx := t.Context()
	written, err := kind.Set(ctx, writer.Cache.Org("org-1"), "x", "here")
	if err != nil {
		t.Fatal(err)
	}
	ref := kind.Ref(a.Cache.Org("org-1"), "x")
	entry := func() jackcache.Entry[string] {
		t.Helper()
		e, err := ref.Entry(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	warm(t, "the value", func() jackcache.Source { return entry().Source })
	if age := entry().Age; age != 0 {
		t.Errorf("what is current is %v old", age)
	}
	server.Freeze()
	defer server.Thaw()
	away(t, a)
	var before time.Duration
	eventually(t, ttl, "a longer life is dropped", func() bool {
		if e := entry(); e.Source == jackcache.SourceStale {
			if e.Age <= before || e.Age > time.Minute {
				t.Errorf("it is %v old, and was %v", e.Age, before)
			}
			before = e.Age
		}
		return a.Cache.Stats().Refreshes.Dropped > 0
	})
	if before < jackcache.DefaultFreshness {
		t.Errorf("what was not proven for %v is %v old", jackcache.DefaultFreshness, before)
	}
	// The writer has it from its journal, as old as the write.
	away(t, writer)
	least := time.Since(written.WrittenAt())
	e, err := kind.Entry(ctx, writer.Cache.Org("org-1"), "x")
	if since := time.Since(written.WrittenAt()); err != nil || e.Source != jackcache.SourceStale || e.Age > since || e.Age < least-time.Second {
		t.Errorf("%+v, %v; it was written %v ago", e, err, since)
	}
	if pending := a.Cache.Stats().Journal.Pending; pending != 0 {
		t.Errorf("%d writes wait: reads write nothing", pending)
	}
}

// The embedded store and values that stay in the process keep the same rules.
func TestSlidingWithoutRedis(t *testing.T) {
	t.Parallel() // most of it is waiting
	const ttl = time.Second
	shared := session(ttl, 0)
	local := jackcache.NewKind[string](jackcache.KindOptions{Name: "here", TTL: ttl, Sliding: true, LocalOnly: true})
	fixed := jackcache.NewKind[string](jackcache.KindOptions{Name: "fixed", TTL: ttl})
	c, err := jackcache.Open(t.Context(), jackcache.Options{DataDir: t.TempDir(), Kinds: []jackcache.AnyKind{shared, local, fixed}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	ctx, org := t.Context(), c.Org("org-1")
	kinds := []*jackcache.Kind[string]{shared, local, fixed}
	for _, k := range kinds {
		for _, id := range []string{"x", "many"} {
			if _, err := k.Set(ctx, org, id, "here"); err != nil {
				t.Fatal(err)
			}
		}
	}
	began, last, gap := time.Now(), time.Now(), time.Duration(0)
	for tick := time.NewTicker(ttl / 20); time.Since(began) < 3*ttl; <-tick.C {
		gap, last = max(gap, time.Since(last)), time.Now()
		for _, k := range kinds[:2] {
			many, err := k.GetMany(ctx, org, "many")
			if err != nil {
				t.Fatal(err)
			}
			_, err = k.Get(ctx, org, "x")
			gap = max(gap, time.Since(last))
			if (err != nil || many[0].Version == "") && gap < ttl/2 {
				t.Fatalf("%s: %v, %+v after %v", k.Info().Name, err, many, time.Since(began))
			}
		}
		after := time.Since(began)
		if _, err := fixed.Get(ctx, org, "x"); err == nil && after > 2*ttl {
			t.Fatal("a life that does not slide is not over")
		}
	}
	eventually(t, time.Minute, "what nobody reads goes", func() bool {
		select {
		case <-time.After(2 * ttl):
		case <-ctx.Done():
		}
		for _, k := range kinds {
			if _, err := k.Get(ctx, org, "x"); !errors.Is(err, jackcache.ErrNotFound) {
				return false
			}
		}
		return true
	})
}

func TestSlidingDeclaration(t *testing.T) {
	for _, c := range []struct {
		o    jackcache.KindOptions
		want string // of the error; empty: none
	}{
		{jackcache.KindOptions{TTL: time.Hour, Sliding: true}, ""},
		{jackcache.KindOptions{TTL: time.Hour, Sliding: true, MaxLife: time.Hour}, ""},
		{jackcache.KindOptions{TTL: time.Hour, Sliding: true, MaxLife: time.Minute}, "MaxLife is 1m0s: allowed are the TTL, 1h0m0s, to 720h0m0s"},
		{jackcache.KindOptions{TTL: time.Hour, Sliding: true, MaxLife: jackcache.MaxTTL + 1}, "MaxLife is"},
		{jackcache.KindOptions{TTL: time.Hour, MaxLife: time.Hour}, "MaxLife is 1h0m0s: allowed are 0 where Sliding is not set"},
	} {
		c.o.Name = "session"
		kind := jackcache.NewKind[string](c.o)
		cache, err := jackcache.Open(t.Context(), jackcache.Options{DataDir: t.TempDir(), Kinds: []jackcache.AnyKind{kind}})
		if err == nil {
			if err := cache.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if c.o.MaxLife == 0 && kind.Info().MaxLife != jackcache.MaxTTL {
				t.Errorf("MaxLife is %v", kind.Info().MaxLife)
			}
		}
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, jackcache.ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}
