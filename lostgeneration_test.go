package jackcache_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// unawareness is an invalidation that Redis loses before an instance that does not
// know of it writes to the organisation.
type unawareness struct {
	t     *testing.T
	redis jackcache.RedisOptions
	dirs  map[string]string
}

func newUnawareness(t *testing.T, redis jackcache.RedisOptions) *unawareness {
	return &unawareness{t: t, redis: redis, dirs: make(map[string]string)}
}

// open opens the instance of a name, on its own data directory.
func (u *unawareness) open(name string, change ...func(*jackcache.Options)) *assistant.Assistant {
	u.t.Helper()
	if u.dirs[name] == "" {
		u.dirs[name] = u.t.TempDir()
	}
	return instanceOf(u.t, u.redis, append(change, patient, func(o *jackcache.Options) { o.DataDir = u.dirs[name] })...)
}

func (u *unawareness) must(errs ...error) {
	u.t.Helper()
	if err := errors.Join(errs...); err != nil {
		u.t.Fatal(err)
	}
}

func (u *unawareness) close(x *assistant.Assistant) {
	u.t.Helper()
	u.must(x.Cache.Close(context.WithoutCancel(u.t.Context())))
}

// invalidated has an instance invalidate the organisation, and go.
func (u *unawareness) invalidated() {
	u.t.Helper()
	a := u.open("who invalidates")
	ctx := u.t.Context()
	u.must(second(chat(a).Append(ctx, message("before", "hi"))), a.Cache.Org("org-1").Invalidate(ctx))
	u.close(a)
}

func (u *unawareness) writes(x *assistant.Assistant, id string) {
	u.t.Helper()
	u.must(second(chat(x).Append(u.t.Context(), message(id, "hi"))))
}

// emptied has servers lose everything.
func (u *unawareness) emptied(servers ...*redistest.Server) {
	u.t.Helper()
	for _, s := range servers {
		if _, err := s.Do("FLUSHALL"); err != nil {
			u.t.Fatal(err)
		}
	}
}

// unaware returns an instance that has written before an invalidation, and after it was
// lost, and has not heard of it.
func (u *unawareness) unaware(servers ...*redistest.Server) *assistant.Assistant {
	u.t.Helper()
	b := u.open("b")
	u.writes(b, "first")
	u.invalidated()
	u.emptied(servers...)
	u.writes(b, "after")
	return b
}

// comesBack has the one that invalidates come back, and both read what b has written.
func (u *unawareness) comesBack(b *assistant.Assistant, want ...string) *assistant.Assistant {
	u.t.Helper()
	a := u.open("who invalidates")
	back(u.t, a, b)
	u.reads(b, true, want...)
	u.reads(a, false, want...)
	return a
}

// reads says what an instance reads in the end, and where exact what it reads at once.
func (u *unawareness) reads(x *assistant.Assistant, exact bool, want ...string) {
	u.t.Helper()
	if exact {
		if got := idsOf(u.t, chat(x)); !slices.Equal(got, want) {
			u.t.Errorf("who wrote it reads %q; what was acknowledged after the invalidation is %q", got, want)
		}
	}
	eventually(u.t, 20*time.Second, "all that was written after the invalidation is there, and nothing else", func() bool {
		return slices.Equal(idsOf(u.t, chat(x)), want)
	})
}

func chat(x *assistant.Assistant) jackcache.Conversation {
	return x.Cache.Org("org-1").Conversation(phone(1))
}

// What an instance writes after an invalidation that it has not heard of, because
// Redis was emptied in between, is there when the one that knows of it has restored
// it; what was written before the invalidation is not.
func TestWrittenWhileAnInvalidationIsLost(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *unawareness, *redistest.Server){
		"by one that keeps copies": func(t *testing.T, u *unawareness, s *redistest.Server) {
			b := u.open("b", copies)
			u.writes(b, "first")
			warm(t, "a conversation", func() jackcache.Source {
				got, err := chat(b).Messages(t.Context(), jackcache.ReadOptions{})
				u.must(err)
				return got.Source
			})
			u.invalidated()
			u.emptied(s)
			u.writes(b, "after")
			u.comesBack(b, "after")
		},
		"by one without copies": func(t *testing.T, u *unawareness, s *redistest.Server) {
			u.comesBack(u.unaware(s), "after")
		},
		"by one that nobody asks again": func(t *testing.T, u *unawareness, s *redistest.Server) {
			u.unaware(s)
			u.reads(u.open("who invalidates"), false, "after")
		},
		"by one that was not running then": func(t *testing.T, u *unawareness, s *redistest.Server) {
			u.close(u.open("b"))
			u.invalidated()
			u.emptied(s)
			b := u.open("b")
			u.writes(b, "after")
			u.comesBack(b, "after")
		},
		"by one that is not running when it is restored": func(t *testing.T, u *unawareness, s *redistest.Server) {
			b := u.unaware(s)
			u.close(b)
			a := u.open("who invalidates")
			back(t, a)
			u.reads(a, false)
			u.open("b")
			u.reads(a, false, "after")
		},
		"again after another loss": func(t *testing.T, u *unawareness, s *redistest.Server) {
			b := u.unaware(s)
			a := u.comesBack(b, "after")
			u.emptied(s)
			back(t, a, b)
			u.reads(b, true, "after")
			u.close(b)
			b = u.open("b")
			u.reads(b, true, "after")
			u.reads(a, false, "after")
		},
		"and invalidated again": func(t *testing.T, u *unawareness, s *redistest.Server) {
			b := u.unaware(s)
			a := u.comesBack(b, "after")
			u.must(a.Cache.Org("org-1").Invalidate(t.Context()))
			u.reads(b, true)
			u.writes(b, "last")
			u.close(b)
			b = u.open("b")
			u.reads(b, true, "last")
			u.reads(a, false, "last")
		},
		"while redis was away": func(t *testing.T, u *unawareness, s *redistest.Server) {
			b := u.open("b")
			u.writes(b, "first")
			u.invalidated()
			s.Kill()
			u.writes(b, "after")
			u.must(s.Restart())
			back(t, b)
			u.comesBack(b, "after")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			test(t, newUnawareness(t, jackcache.RedisOptions{Addrs: []string{s.Addr()}}), s)
		})
	}
}

// Values that were written while an invalidation was lost are there, and what was
// deleted then is not, whoever of those that did not know of it was last.
func TestSetWhileAnInvalidationIsLost(t *testing.T) {
	s := redistest.Start(t)
	u := newUnawareness(t, jackcache.RedisOptions{Addrs: []string{s.Addr()}})
	ctx := t.Context()
	b, c := u.open("b"), u.open("c")
	set := func(x *assistant.Assistant, id, lead string) {
		t.Helper()
		u.must(second(x.Kinds.PhoneToLead.Set(ctx, x.Cache.Org("org-1"), id, assistant.Lead{LeadID: lead})))
	}
	lead := func(x *assistant.Assistant, id string) string {
		t.Helper()
		l, err := x.Kinds.PhoneToLead.Get(ctx, x.Cache.Org("org-1"), id)
		if err != nil && !errors.Is(err, jackcache.ErrNotFound) {
			t.Fatal(err)
		}
		return l.LeadID
	}
	del := func(x *assistant.Assistant, id string) {
		t.Helper()
		u.must(x.Kinds.PhoneToLead.Delete(ctx, x.Cache.Org("org-1"), id))
	}
	for _, id := range []string{phone(1), phone(2), phone(3), phone(4), phone(5)} {
		set(b, id, "first")
	}
	u.writes(b, "first")
	u.invalidated()
	u.emptied(s)
	set(b, phone(1), "after")
	set(b, phone(2), "after")
	set(c, phone(2), "last")
	set(b, phone(3), "after")
	del(c, phone(3))
	set(c, phone(4), "after")
	del(b, phone(4))
	u.writes(b, "after")
	u.must(chat(c).Clear(ctx))
	u.writes(b, "last")
	u.close(c) // what it has written last is there all the same
	a := u.open("who invalidates")
	back(t, a, b)
	u.reads(b, true, "last")
	if got := lead(b, phone(1)); got != "after" {
		t.Errorf("who has set a value reads %q", got)
	}
	u.reads(a, false, "last")
	for id, want := range map[string]string{phone(1): "after", phone(2): "last", phone(3): "", phone(4): "", phone(5): ""} {
		if got := lead(a, id); got != want {
			t.Errorf("%s: %q while one of its writers is away, want %q", id, got, want)
		}
	}
	c = u.open("c")
	eventually(t, 20*time.Second, "what the other one has set last is there", func() bool { return lead(a, phone(2)) == "last" })
	for id, want := range map[string]string{phone(1): "after", phone(3): "", phone(4): "", phone(5): ""} {
		for _, x := range []*assistant.Assistant{a, b, c} {
			if got := lead(x, id); got != want {
				t.Errorf("%s: %q, want %q", id, got, want)
			}
		}
	}
	u.reads(c, false, "last")
}

func TestWrittenWhileAnInvalidationIsLostInACluster(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	u := newUnawareness(t, jackcache.RedisOptions{Addrs: cluster.Addrs(), Mode: jackcache.Cluster})
	u.comesBack(u.unaware(cluster.Masters()...), "after")
}

// Whoever wrote while an invalidation was lost reads that at every moment: before the
// invalidation is restored, meanwhile and afterwards.
func TestOwnIsNeverLessWhileAnInvalidationIsRestored(t *testing.T) {
	for name, change := range map[string]func(*jackcache.Options){"with copies": copies, "without copies": func(*jackcache.Options) {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			u := newUnawareness(t, jackcache.RedisOptions{Addrs: []string{s.Addr()}})
			ctx := t.Context()
			b := u.open("b", change)
			u.writes(b, "first")
			u.close(b)
			u.invalidated()
			if _, err := s.Do("FLUSHALL"); err != nil {
				t.Fatal(err)
			}
			b = u.open("b", change)
			u.writes(b, "after")
			kind, o := b.Kinds.PhoneToLead, b.Cache.Org("org-1")
			u.must(second(kind.Set(ctx, o, phone(1), assistant.Lead{LeadID: "after"})))
			reads := map[string]func() (bool, error){
				"a conversation": func() (bool, error) {
					got, err := chat(b).Messages(ctx, jackcache.ReadOptions{})
					return err == nil && len(got.Messages) > 0 && got.Messages[len(got.Messages)-1].ID == "after", err
				},
				"a value": func() (bool, error) {
					l, err := kind.Get(ctx, o, phone(1))
					if errors.Is(err, jackcache.ErrNotFound) {
						return false, nil
					}
					return l.LeadID == "after", err
				},
				"several values": func() (bool, error) {
					all, err := kind.GetMany(ctx, o, phone(2), phone(1))
					return err == nil && all[1].Value.LeadID == "after", err
				},
				"a write where nothing is": func() (bool, error) {
					_, err := kind.Set(ctx, o, phone(1), assistant.Lead{LeadID: "wrong"}, jackcache.IfAbsent())
					if errors.Is(err, jackcache.ErrPrecondition) {
						return true, nil
					}
					return false, err
				},
			}
			stop, done := make(chan struct{}), make(chan struct{})
			ended := 0
			for what, read := range reads {
				ended++
				go func() {
					defer func() { done <- struct{}{} }()
					for n := 0; ; n++ {
						ok, err := read()
						if err == nil && !ok {
							t.Errorf("%s: after %d times what was acknowledged is not there", what, n)
							return
						}
						select {
						case <-stop:
							return
						default:
						}
					}
				}()
			}
			a := u.open("who invalidates")
			u.reads(a, false, "after")
			back(t, a, b)
			close(stop)
			for range ended {
				<-done
			}
			u.reads(b, true, "after")
		})
	}
}
