package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// Every option of a kind that is not allowed is named, with what is.
func TestLoadingOptions(t *testing.T) {
	stale := jackcache.KindOptions{Name: "car", TTL: time.Hour, ServeStale: true}
	plain := jackcache.KindOptions{Name: "car", TTL: time.Hour}
	local := stale
	local.LocalOnly = true
	for name, c := range map[string]struct {
		of  jackcache.KindOptions
		set func(*jackcache.KindOptions)
		bad string // empty: it is allowed
	}{
		"all":           {stale, func(o *jackcache.KindOptions) { o.StaleFor, o.SoftTimeout, o.HardTimeout = jackcache.MaxTTL, 1, 1 }, ""},
		"others":        {plain, func(o *jackcache.KindOptions) { o.HardTimeout, o.NegativeTTL, o.TTLJitter = 1, o.TTL, 1 }, ""},
		"stale for":     {stale, func(o *jackcache.KindOptions) { o.StaleFor = jackcache.MaxTTL + 1 }, "StaleFor"},
		"less":          {stale, func(o *jackcache.KindOptions) { o.StaleFor = -1 }, "StaleFor"},
		"no stale":      {plain, func(o *jackcache.KindOptions) { o.StaleFor = 1 }, "StaleFor"},
		"no copies":     {local, func(o *jackcache.KindOptions) { o.StaleFor = 1 }, "StaleFor"},
		"soft":          {stale, func(o *jackcache.KindOptions) { o.SoftTimeout = -1 }, "SoftTimeout"},
		"soft, alone":   {plain, func(o *jackcache.KindOptions) { o.SoftTimeout = 1 }, "SoftTimeout"},
		"hard":          {plain, func(o *jackcache.KindOptions) { o.HardTimeout = -1 }, "HardTimeout"},
		"soft and hard": {stale, func(o *jackcache.KindOptions) { o.SoftTimeout, o.HardTimeout = 2, 1 }, "HardTimeout"},
		"negative":      {plain, func(o *jackcache.KindOptions) { o.NegativeTTL = o.TTL + 1 }, "NegativeTTL"},
		"short":         {plain, func(o *jackcache.KindOptions) { o.NegativeTTL = 1 }, "NegativeTTL"},
		"jitter":        {plain, func(o *jackcache.KindOptions) { o.TTLJitter = 1.01 }, "TTLJitter"},
		"no number":     {plain, func(o *jackcache.KindOptions) { o.TTLJitter = math.NaN() }, "TTLJitter"},
	} {
		o := c.of
		c.set(&o)
		cache, err := jackcache.Open(t.Context(), jackcache.Options{DataDir: t.TempDir(), Kinds: []jackcache.AnyKind{jackcache.NewKind[car](o)}})
		if err == nil {
			if err := cache.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case c.bad == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.bad != "" && (!errors.Is(err, jackcache.ErrInvalid) || !strings.Contains(err.Error(), c.bad) || strings.Count(err.Error(), "allowed") != 1):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withKind opens instances over one server that have a kind.
func withKind(t *testing.T, server *redistest.Server, n int, k jackcache.AnyKind) (all []*assistant.Assistant) {
	t.Helper()
	for range n {
		a := instanceOf(t, jackcache.RedisOptions{Addrs: []string{server.Addr()}}, copies, patient, func(o *jackcache.Options) {
			o.Kinds = []jackcache.AnyKind{k}
		})
		back(t, a)
		all = append(all, a)
	}
	return all
}

// What has expired in Redis is given while the loader is slow or fails, and not after
// it was deleted, invalidated or forgotten, by whichever instance.
func TestStaleAfterItsLife(t *testing.T) {
	t.Parallel() // most of it is waiting
	server := redistest.Start(t)
	k := jackcache.NewKind[car](jackcache.KindOptions{
		Name: "car", ID: jackcache.PhoneID, TTL: 500 * time.Millisecond, ServeStale: true, StaleFor: time.Minute, SoftTimeout: 50 * time.Millisecond,
	})
	all := withKind(t, server, 2, k)
	a, b := all[0].Cache, all[1].Cache
	org := b.Org("org-1")
	mine := errors.New("my database")
	fails := func(context.Context) (car, error) { return car{}, mine }
	expired := func(i int) (id string) {
		t.Helper()
		id = phone(i)
		if _, err := k.Set(t.Context(), a.Org("org-1"), id, car{Make: "old"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "the copy", func() bool {
			e, err := k.Entry(t.Context(), org, id)
			if err != nil { // it has expired before
				_, err = k.Set(t.Context(), a.Org("org-1"), id, car{Make: "old"})
			}
			return err == nil && e.Source == jackcache.SourceNear
		})
		eventually(t, 10*time.Second, "it expires", func() bool {
			_, err := k.Get(t.Context(), org, id)
			return errors.Is(err, jackcache.ErrNotFound)
		})
		e, err := k.LoadEntry(t.Context(), org, id, fails)
		if err != nil || e.Value.Make != "old" || e.Source != jackcache.SourceStale {
			t.Fatalf("over a loader that fails: %+v, %v", e, err)
		}
		return id
	}

	id := expired(1)
	load, called, finish := loading("new")
	e, err := k.LoadEntry(t.Context(), org, id, load)
	if err != nil || e.Value.Make != "old" || e.Source != jackcache.SourceStale {
		t.Errorf("over a slow loader: %+v, %v", e, err)
	}
	<-called
	finish()
	eventually(t, 10*time.Second, "what was loaded is kept", func() bool {
		v, err := k.Get(t.Context(), a.Org("org-1"), id)
		return err == nil && v.Make == "new"
	})

	for name, end := range map[string]func(o jackcache.Org, id string) error{
		"delete":     func(o jackcache.Org, id string) error { return k.Delete(t.Context(), o, id) },
		"forget":     func(o jackcache.Org, id string) error { return second(o.Forget(t.Context(), id)) },
		"invalidate": func(o jackcache.Org, _ string) error { return o.Invalidate(t.Context()) },
	} {
		for i, by := range []*jackcache.Cache{a, b} {
			id := expired(2)
			if err := end(by.Org("org-1"), id); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if e, err := k.LoadEntry(t.Context(), org, id, fails); err != mine {
					t.Fatalf("after %s by instance %d: %+v, %v", name, i, e, err)
				}
			}
		}
	}
	// A loader that fails is a slow one where this process gets no turn for the SoftTimeout.
	if s := b.Stats().Stale; s.Failed == 0 || s.Slow == 0 || s.Failed+s.Slow < 8 {
		t.Errorf("counted are %+v", s)
	}
}

// While Redis hangs a kind that allows it asks its loader, and is given its copy where
// that is slow.
func TestStaleOverAHungRedis(t *testing.T) {
	server := redistest.Start(t)
	k := jackcache.NewKind[car](jackcache.KindOptions{
		Name: "car", TTL: time.Minute, ServeStale: true, StaleFor: time.Hour, SoftTimeout: 20 * time.Millisecond, HardTimeout: time.Minute,
	})
	all := withKind(t, server, 2, k)
	org := all[1].Cache.Org("org-1") // of an instance that has no journal of the writes
	for _, id := range []string{"1", "2"} {
		if _, err := k.Set(t.Context(), all[0].Cache.Org("org-1"), id, car{Make: "old"}); err != nil {
			t.Fatal(err)
		}
		warm(t, "a value", func() jackcache.Source { e, _ := k.Entry(t.Context(), org, id); return e.Source })
	}
	server.Freeze()
	defer server.Thaw()
	eventually(t, 20*time.Second, "the copy is not current any more", func() bool {
		e, err := k.LoadEntry(t.Context(), org, "1", loads("loaded"))
		if err != nil {
			t.Fatal(err)
		}
		return e.Source == jackcache.SourceLoader
	})
	load, called, finish := loading("x")
	e, err := k.LoadEntry(t.Context(), org, "1", load)
	if err != nil || e.Value.Make != "old" || e.Source != jackcache.SourceStale {
		t.Errorf("over a slow loader: %+v, %v", e, err)
	}
	<-called
	finish()

	// What this instance ends while Redis hangs waits in its journal, and counts here.
	mine := errors.New("my database")
	fails := func(context.Context) (car, error) { return car{}, mine }
	for _, c := range []struct {
		name, id string
		end      func(id string) error
	}{
		{"delete", "2", func(id string) error { return k.Delete(t.Context(), org, id) }},
		{"invalidate", "1", func(string) error { return org.Invalidate(t.Context()) }},
	} {
		if e, err := k.LoadEntry(t.Context(), org, c.id, fails); err != nil || e.Source != jackcache.SourceStale {
			t.Errorf("before %s: %+v, %v", c.name, e, err)
		}
		if err := c.end(c.id); err != nil {
			t.Fatal(c.name, err)
		}
		if e, err := k.LoadEntry(t.Context(), org, c.id, fails); err != mine {
			t.Errorf("after %s: %+v, %v", c.name, e, err)
		}
	}
}

// The HardTimeout bounds the questions to a Redis that hangs, too: also those which tell
// whether a copy may be given of which a change was told.
func TestHardTimeoutOverAHungRedis(t *testing.T) {
	server := redistest.Start(t)
	const hard = 50 * time.Millisecond
	k := jackcache.NewKind[car](jackcache.KindOptions{Name: "car", TTL: time.Minute, ServeStale: true, StaleFor: time.Hour, HardTimeout: hard})
	redis := jackcache.RedisOptions{Addrs: []string{server.Addr()}}
	a := instanceOf(t, redis, copies, slow, func(o *jackcache.Options) { o.Kinds = []jackcache.AnyKind{k} })
	other := instanceOf(t, redis, slow, func(o *jackcache.Options) { o.Kinds = []jackcache.AnyKind{k} })
	back(t, a, other)
	org := a.Cache.Org("org-1")
	set := func(value string) {
		for _, id := range []string{"1", "2"} {
			if _, err := k.Set(t.Context(), other.Cache.Org("org-1"), id, car{Make: value}); err != nil {
				t.Fatal(err)
			}
		}
	}
	source := func(id string) jackcache.Source {
		e, err := k.Entry(t.Context(), org, id)
		if err != nil {
			t.Fatal(err)
		}
		return e.Source
	}
	set("old")
	for _, id := range []string{"1", "2"} {
		warm(t, "a value", func() jackcache.Source { return source(id) })
	}
	set("new") // in this order: who was told of 2 was told of 1
	eventually(t, 10*time.Second, "the change is told", func() bool { return source("2") == jackcache.SourceShared })
	server.Freeze()
	defer server.Thaw()
	load, _, finish := loading("x")
	began := time.Now()
	e, err := k.LoadEntry(t.Context(), org, "1", load)
	took := time.Since(began)
	finish()
	if !errors.Is(err, jackcache.ErrTimeout) || took < hard || took > hard+250*time.Millisecond {
		t.Errorf("%+v, %v after %v; want ErrTimeout after %v", e, err, took, hard)
	}
}

// That a loader found nothing is known to all instances, until somebody writes or
// invalidates.
func TestNegativeTTL(t *testing.T) {
	server := redistest.Start(t)
	k := jackcache.NewKind[car](jackcache.KindOptions{Name: "car", TTL: time.Hour, NegativeTTL: time.Minute})
	all := withKind(t, server, 2, k)
	a, b := all[0].Cache.Org("org-1"), all[1].Cache.Org("org-1")
	mine := fmt.Errorf("not in my database: %w", jackcache.ErrNotFound)
	var calls atomic.Int32
	finds := func(value string) func(context.Context) (car, error) {
		return func(context.Context) (car, error) {
			calls.Add(1)
			if value == "" {
				return car{}, mine
			}
			return car{Make: value}, nil
		}
	}
	forgets := func() {
		t.Helper()
		if _, err := k.GetOrLoad(t.Context(), a, "1", finds("")); err != mine {
			t.Fatalf("got %v, want the loader's error", err)
		}
		was := calls.Load()
		for range 100 {
			for _, o := range []jackcache.Org{a, b} {
				if v, err := k.GetOrLoad(t.Context(), o, "1", finds("x")); !errors.Is(err, jackcache.ErrNotFound) {
					t.Fatalf("got %+v, %v", v, err)
				}
			}
		}
		if n := calls.Load() - was; n > 0 {
			t.Errorf("the loader was called %d times", n)
		}
		if _, err := k.Get(t.Context(), b, "1"); !errors.Is(err, jackcache.ErrNotFound) {
			t.Error(err)
		}
		eventually(t, 10*time.Second, "a copy tells it", func() bool {
			if v, err := k.GetOrLoad(t.Context(), b, "1", finds("x")); !errors.Is(err, jackcache.ErrNotFound) {
				t.Fatalf("got %+v, %v", v, err)
			}
			return all[1].Cache.Stats().Near.Fresh > 0
		})
	}
	forgets()
	if _, err := k.Set(t.Context(), a, "1", car{Make: "set"}); err != nil {
		t.Fatal(err)
	}
	if v, err := k.GetOrLoad(t.Context(), a, "1", finds("x")); err != nil || v.Make != "set" {
		t.Errorf("who wrote it gets %+v, %v", v, err)
	}
	follows(t, jackcache.DefaultFreshness, "the other instance has it", func() (follows, current bool) {
		e, err := k.LoadEntry(t.Context(), b, "1", finds("x"))
		return err == nil && e.Value.Make == "set", asCurrent(e.Source, err)
	})
	if err := k.Delete(t.Context(), b, "1"); err != nil {
		t.Fatal(err)
	}
	if v, err := k.GetOrLoad(t.Context(), b, "1", finds("x")); err != nil || v.Make != "x" {
		t.Errorf("after a deletion: %+v, %v", v, err)
	}
	if err := a.Invalidate(t.Context()); err != nil {
		t.Fatal(err)
	}
	forgets()
	if err := b.Invalidate(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An invalidation that has returned has been seen by all.
	if v, err := k.GetOrLoad(t.Context(), a, "1", finds("new")); err != nil || v.Make != "new" {
		t.Errorf("after an invalidation: %+v, %v", v, err)
	}
}

// Several ids are loaded by one call, whatever the store.
func TestGetOrLoadMany(t *testing.T) {
	k := jackcache.NewKind[car](jackcache.KindOptions{Name: "car", ID: jackcache.PhoneID, TTL: time.Hour, NegativeTTL: time.Minute})
	local := jackcache.NewKind[car](jackcache.KindOptions{Name: "car", ID: jackcache.PhoneID, TTL: time.Hour, NegativeTTL: time.Minute, LocalOnly: true})
	for name, c := range map[string]struct {
		kind *jackcache.Kind[car]
		open func(t *testing.T, k jackcache.AnyKind) *jackcache.Cache
	}{
		"redis": {k, func(t *testing.T, k jackcache.AnyKind) *jackcache.Cache {
			return withKind(t, redistest.Start(t), 1, k)[0].Cache
		}},
		"embedded": {k, embeddedWith}, "local": {local, embeddedWith},
	} {
		t.Run(name, func(t *testing.T) {
			cache := c.open(t, c.kind)
			org := cache.Org("org-1")
			if _, err := c.kind.Set(t.Context(), org, phone(2), car{Make: "set"}); err != nil {
				t.Fatal(err)
			}
			var calls [][]string
			load := func(_ context.Context, missing []string) (map[string]car, error) {
				calls = append(calls, missing)
				got := map[string]car{"another": {Make: "not asked for"}}
				for _, id := range missing {
					if id != phone(3) {
						got[id] = car{Make: "of " + id}
					}
				}
				return got, nil
			}
			// The same number twice, in two spellings.
			ids := []string{phone(1), phone(2), phone(3), strings.TrimPrefix(phone(1), "+1"), phone(2)}
			for range 2 {
				got, err := c.kind.GetOrLoadMany(t.Context(), org, ids, load)
				if err != nil {
					t.Fatal(err)
				}
				var makes []string
				for _, e := range got {
					makes = append(makes, e.Value.Make)
				}
				one := "of " + phone(1)
				if want := []string{one, "set", "", one, "set"}; !slices.Equal(makes, want) || got[2].Version != "" || got[0].Version == "" {
					t.Errorf("got %+v, want %q", got, want)
				}
			}
			if len(calls) != 1 || !slices.Equal(calls[0], []string{phone(1), phone(3)}) {
				t.Errorf("the loader was called for %v", calls)
			}
			if got, err := c.kind.GetOrLoadMany(t.Context(), org, nil, load); err != nil || len(got) != 0 {
				t.Errorf("of no ids: %v, %v", got, err)
			}
			if _, err := c.kind.GetOrLoadMany(t.Context(), org, make([]string, jackcache.MaxReads+1), load); !errors.Is(err, jackcache.ErrTooLarge) {
				t.Errorf("too many: %v", err)
			}
			if _, err := c.kind.GetOrLoadMany(t.Context(), org, []string{"no phone"}, load); !errors.Is(err, jackcache.ErrInvalid) {
				t.Errorf("no id: %v", err)
			}
			mine := errors.New("my database")
			if _, err := c.kind.GetOrLoadMany(t.Context(), org, []string{phone(2), phone(4)}, func(context.Context, []string) (map[string]car, error) {
				return nil, mine
			}); err != mine {
				t.Errorf("got %v, want the loader's error", err)
			}
		})
	}
}

func embeddedWith(t *testing.T, k jackcache.AnyKind) *jackcache.Cache {
	t.Helper()
	cache, err := jackcache.Open(t.Context(), jackcache.Options{DataDir: t.TempDir(), Kinds: []jackcache.AnyKind{k}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return cache
}

// Nobody waits longer than the hard bound says.
func TestHardTimeout(t *testing.T) {
	k := jackcache.NewKind[car](jackcache.KindOptions{Name: "car", TTL: time.Hour, HardTimeout: 50 * time.Millisecond})
	org := embeddedWith(t, k).Org("org-1")
	load, called, finish := loading("x")
	if _, err := k.GetOrLoad(t.Context(), org, "1", load); !errors.Is(err, jackcache.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	<-called
	finish()
	eventually(t, 10*time.Second, "what was loaded is kept", func() bool {
		v, err := k.Get(t.Context(), org, "1")
		return err == nil && v.Make == "x"
	})
}
