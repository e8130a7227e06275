package jackcache_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// restores has a generation restored, as an instance does it that knows it.
func (u *unawareness) restores(s *redistest.Server, g time.Time) {
	u.t.Helper()
	number := strconv.FormatInt(g.UnixMicro(), 10)
	for _, args := range [][]string{
		{"ZADD", "jack:dev:__raised", strconv.FormatInt(time.Now().UnixMicro(), 10), number + " org-1"},
		{"SET", "jack:dev:__gen:org-1", number},
	} {
		if _, err := s.Do(args...); err != nil {
			u.t.Fatal(err)
		}
	}
}

// now returns the time, and returns when it is over.
func now() time.Time {
	at := time.Now()
	for time.Since(at) < time.Millisecond {
		continue
	}
	return at
}

// A write that depends on what is stored finds what was written while an invalidation
// was lost, and does not destroy it.
func TestConditionalWhileAnInvalidationIsRestored(t *testing.T) {
	s := redistest.Start(t)
	u := newUnawareness(t, jackcache.RedisOptions{Addrs: []string{s.Addr()}})
	ctx := t.Context()
	for name, test := range map[string]func(b *assistant.Assistant, o jackcache.Org, v jackcache.Version) string{
		"where it is as it was": func(b *assistant.Assistant, o jackcache.Org, v jackcache.Version) string {
			u.must(second(b.Kinds.PhoneToLead.Set(ctx, o, phone(1), assistant.Lead{LeadID: "next"}, jackcache.IfVersion(v))))
			return "next"
		},
		"where nothing is": func(b *assistant.Assistant, o jackcache.Org, v jackcache.Version) string {
			if _, err := b.Kinds.PhoneToLead.Set(ctx, o, phone(1), assistant.Lead{LeadID: "wrong"}, jackcache.IfAbsent()); !errors.Is(err, jackcache.ErrPrecondition) {
				t.Errorf("%v, where something is", err)
			}
			return "after"
		},
		"deleted where it is as it was": func(b *assistant.Assistant, o jackcache.Org, v jackcache.Version) string {
			u.must(b.Kinds.PhoneToLead.Delete(ctx, o, phone(1), jackcache.IfVersion(v)))
			return ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.Do("FLUSHALL"); err != nil {
				t.Fatal(err)
			}
			b := u.open(name)
			defer u.close(b)
			o := b.Cache.Org("org-1")
			g := now()
			v, err := b.Kinds.PhoneToLead.Set(ctx, o, phone(1), assistant.Lead{LeadID: "after"})
			u.must(err)
			u.restores(s, g)
			want := test(b, o, v)
			got, err := b.Kinds.PhoneToLead.Get(ctx, o, phone(1))
			if err != nil && !errors.Is(err, jackcache.ErrNotFound) || got.LeadID != want {
				t.Errorf("%q, %v afterwards; want %q", got.LeadID, err, want)
			}
		})
	}
}

// What was loaded while the author of a value is away does not take its place.
func TestLoadedWhileAnInvalidationIsRestored(t *testing.T) {
	s := redistest.Start(t)
	u := newUnawareness(t, jackcache.RedisOptions{Addrs: []string{s.Addr()}})
	ctx := t.Context()
	b := u.open("b")
	g := now()
	u.must(second(b.Kinds.PhoneToLead.Set(ctx, b.Cache.Org("org-1"), phone(1), assistant.Lead{LeadID: "after"})))
	u.close(b)
	u.restores(s, g)
	c := u.open("c")
	_, err := c.Kinds.PhoneToLead.GetOrLoad(ctx, c.Cache.Org("org-1"), phone(1), func(context.Context) (assistant.Lead, error) {
		return assistant.Lead{LeadID: "loaded"}, nil
	})
	u.must(err)
	b = u.open("b")
	for _, x := range []*assistant.Assistant{b, c} {
		eventually(t, 10*time.Second, "what was acknowledged is there", func() bool {
			l, err := x.Kinds.PhoneToLead.Get(ctx, x.Cache.Org("org-1"), phone(1))
			u.must(err)
			return l.LeadID == "after"
		})
	}
}

// What waited for Redis, and was stamped long before the invalidation, is read by who
// wrote it.
func TestWaitedWhileAnInvalidationIsRestored(t *testing.T) {
	s := redistest.Start(t)
	u := newUnawareness(t, jackcache.RedisOptions{Addrs: []string{s.Addr()}})
	b := u.open("b")
	u.writes(b, "first")
	s.Kill()
	u.writes(b, "waited")
	g := time.Now()
	eventually(t, 10*time.Second, "time passes", func() bool { return time.Since(g) > 1500*time.Millisecond })
	g = now()
	u.must(s.Restart())
	back(t, b)
	u.restores(s, g)
	u.reads(b, true, "waited")
}

// An instance without a journal invalidates; what was written before is not brought back
// when that is lost, and restored by one that has one.
func TestInvalidatedWithoutAJournal(t *testing.T) {
	s := redistest.Start(t)
	u := newUnawareness(t, jackcache.RedisOptions{Addrs: []string{s.Addr()}})
	ctx := t.Context()
	a, b := u.open("a"), u.open("b")
	n := u.open("n", func(o *jackcache.Options) { o.Journal.Mode = jackcache.JournalOff })
	u.must(a.Cache.Org("org-1").Invalidate(ctx))
	u.writes(b, "between")
	u.must(n.Cache.Org("org-1").Invalidate(ctx))
	u.writes(a, "last")
	u.reads(b, true, "last")
	u.emptied(s)
	back(t, a, b)
	u.reads(a, false, "last")
	u.reads(b, false, "last")
	back(t, a, b)
	u.reads(a, true, "last")
	u.reads(b, true, "last")
}

// A user without the right to read the notes reads everything else.
func TestNotesThatCannotBeRead(t *testing.T) {
	s := redistest.Start(t)
	if _, err := s.Do("ACL", "SETUSER", "default", "-zrange"); err != nil {
		t.Fatal(err)
	}
	u := newUnawareness(t, jackcache.RedisOptions{Addrs: []string{s.Addr()}})
	b := u.open("b")
	u.writes(b, "first")
	u.must(b.Cache.Org("org-1").Invalidate(t.Context()))
	u.reads(b, true)
	u.writes(b, "last")
	u.reads(b, true, "last")
}

// In a Cluster, too, a compare-and-set that is refused does not take the place of what
// it was compared with.
func TestConditionalWhileAnInvalidationIsRestoredInACluster(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	u := newUnawareness(t, jackcache.RedisOptions{Addrs: cluster.Addrs(), Mode: jackcache.Cluster})
	ctx := t.Context()
	x, y := u.open("x"), u.open("y")
	u.writes(x, "first")
	u.writes(y, "first")
	u.invalidated()
	u.emptied(cluster.Masters()...)
	v, err := y.Kinds.PhoneToLead.Set(ctx, y.Cache.Org("org-1"), phone(1), assistant.Lead{LeadID: "acknowledged"})
	u.must(err)
	u.close(y)
	a := u.open("who invalidates")
	const generation = "jack:dev:__gen:org-1"
	eventually(t, 20*time.Second, "the invalidation is restored", func() bool {
		g, err := cluster.MasterOf(redistest.Slot(generation)).Do("GET", generation)
		return err == nil && g != ""
	})
	_, err = x.Kinds.PhoneToLead.Set(ctx, x.Cache.Org("org-1"), phone(1), assistant.Lead{LeadID: "refused"}, jackcache.IfVersion(v))
	if err == nil {
		t.Fatal("it is written above what is not there for anybody")
	}
	y = u.open("y")
	for _, r := range []*assistant.Assistant{a, x, y} {
		eventually(t, 20*time.Second, "what was acknowledged is there", func() bool {
			l, err := r.Kinds.PhoneToLead.Get(ctx, r.Cache.Org("org-1"), phone(1))
			return err == nil && l.LeadID == "acknowledged"
		})
	}
}
