package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// errNotYet is what a look says while something is being adopted.
var errNotYet = errors.New("not yet")

// adopting is an instance that has written before an invalidation, and after it was lost,
// which somebody else then restores; what is to be adopted is not adopted yet.
type adopting struct {
	*talk
	value, before, gone keys.Key
	g                   uint64
}

// startAdopting has an invalidation restored; late is what this instance does when it is
// lost, at the end.
func startAdopting(t *testing.T, late func(*adopting)) *adopting {
	x := &adopting{talk: startTalk(t)}
	x.value, x.before, x.gone = x.key("org-1", "after"), x.key("org-1", "before"), x.key("org-1", "gone")
	x.set(x.before, "before")
	x.set(x.value, "before")
	x.set(x.gone, "before")
	x.own("a")
	x.person = x.phone("org-1", "+16049085475")
	x.own("a")
	x.person = x.phone("org-1", "+16049085474")
	x.pass()
	x.g = uint64(time.Now().UnixMicro())
	x.pass()
	x.set(x.value, "after")
	if err := x.Delete(t.Context(), x.gone, shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	x.own("b")
	if late != nil {
		late(x)
	}
	x.raise(x.g)
	x.s.adopts = map[keys.Org]adopts{x.value.Org(): {generation: x.g, known: true, err: errNotYet}}
	return x
}

// pass returns when the time in microseconds is another one.
func (x *adopting) pass() {
	for at := time.Now(); time.Since(at) < time.Millisecond; {
		continue
	}
}

func (x *adopting) set(k keys.Key, payload string) {
	x.t.Helper()
	if _, err := x.Set(x.t.Context(), k, []byte(payload), shared, store.Condition{}); err != nil {
		x.t.Fatal(err)
	}
}

func (x *adopting) raise(g uint64) {
	x.t.Helper()
	if _, err := x.s.RaiseGeneration(x.t.Context(), x.value.Org(), g); err != nil {
		x.t.Fatal(err)
	}
}

// others sets the value as another instance, which knows the generation.
func (x *adopting) others(v clock.Version, payload string) {
	x.t.Helper()
	x.restore(store.Op{
		Action: store.Set, Mode: store.Merge, Key: x.value, Version: v, Generation: x.g,
		ExpiresAt: time.Now().Add(time.Hour), Payload: []byte(payload),
	})
}

// refused is what a read gives that is refused.
const refused = "refused"

// gives fails the test unless a value is given, alone and among several: empty for none.
func (x *adopting) gives(k keys.Key, want string, from Source) {
	x.t.Helper()
	v, err := x.Get(x.t.Context(), k, shared)
	x.given("value", v, err, want, from)
	vs, err := x.GetMany(x.t.Context(), []keys.Key{x.key("org-1", "never"), k}, []Policy{shared, shared})
	var part *store.PartialError
	if errors.As(err, &part) {
		err = part.Errs[1]
	}
	x.given("one of several", vs[1], err, want, from)
}

func (x *adopting) given(what string, v Value, err error, want string, from Source) {
	x.t.Helper()
	got := string(v.Payload)
	if errors.Is(err, store.ErrUnavailable) {
		got, v.Source = refused, from
	} else if err != nil {
		x.t.Fatal(err)
	}
	if got != want || v.Found && v.Source != from {
		x.t.Errorf("%s: %q from %d, want %q from %d", what, got, v.Source, want, from)
	}
}

// says fails the test unless the conversation has the messages, and tells that there may
// be more.
func (x *adopting) says(want string) {
	x.t.Helper()
	log, err := x.Messages(x.t.Context(), x.person, 0)
	var got strings.Builder
	for _, m := range log.Messages {
		got.WriteString(m.ID)
		if m.Generation < log.Generation {
			x.t.Errorf("message %s is of generation %d below %d", m.ID, m.Generation, log.Generation)
		}
	}
	switch {
	case errors.Is(err, store.ErrUnavailable) && want == refused:
	case err != nil || got.String() != want:
		x.t.Errorf("messages %q, %v; want %q", got.String(), err, want)
	case !log.Partial || log.Source == FromShared:
		x.t.Errorf("messages %q from %d as if they were all", got.String(), log.Source)
	}
}

// While what was written when an invalidation was lost is not adopted yet, this instance
// gives that as while the store is away: nothing less, and nothing that was invalidated.
func TestReadWhileAdopting(t *testing.T) {
	for name, test := range map[string]func(t *testing.T){
		"the store answers": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.gives(x.value, "after", FromStale)
			x.gives(x.before, refused, 0)
			x.gives(x.gone, "", 0)
			x.says("b")
			x.person = x.phone("org-1", "+16049085475")
			x.says(refused)
		},
		"the store is away": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.gives(x.value, "after", FromStale) // it has heard of the generation
			x.s.away = true
			x.gives(x.value, "after", FromStale)
			x.gives(x.before, refused, 0)
			x.gives(x.gone, "", 0)
			x.says("b")
			x.own("bc") // one of them is there
			x.says("bc")
		},
		"the store is in doubt": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.s.doubtful = true
			x.gives(x.value, "after", FromPending)
			x.says("b")
		},
		"something is recorded under the generation": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.set(x.before, "last")
			x.own("c")
			x.gives(x.value, "after", FromStale)
			x.gives(x.before, "last", FromShared)
			x.gives(x.gone, "", 0)
			x.says("bc")
		},
		"others have written since": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.others(x.cfg.Clock.Now(), "others")
			x.gives(x.value, "others", FromShared)
		},
		"others have loaded what is older": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.others(clock.NewVersion(time.Now().UnixMilli()-1000, 0, 2), "others")
			x.gives(x.value, "after", FromStale)
		},
		"others have cleared it": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.restore(store.Op{
				Action: store.Replace, Mode: store.Merge, Key: x.person, Version: x.cfg.Clock.Now(), Generation: x.g,
				ExpiresAt: time.Now().Add(time.Hour), Keep: time.Hour, Window: limits.Window,
			})
			x.says("")
		},
		"this instance has cleared it": func(t *testing.T) {
			x := startAdopting(t, func(x *adopting) {
				if _, err := x.Replace(t.Context(), x.person, nil, limits); err != nil {
					t.Fatal(err)
				}
				x.own("c")
			})
			x.says("c")
		},
		"whether it was lost is not known": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.s.adopts[x.value.Org()] = adopts{generation: x.g, err: errNotYet}
			x.gives(x.value, refused, 0)
			x.says(refused)
		},
		"invalidated since": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.gives(x.value, "after", FromStale)
			x.pass()
			x.raise(uint64(time.Now().UnixMicro()))
			x.gives(x.value, refused, 0)
			x.says(refused)
			x.s.away = true
			x.gives(x.value, refused, 0)
			x.says(refused)
		},
		"another one is learned meanwhile": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.gives(x.value, "after", FromStale)
			was := x.cfg.Journaling.Adopting
			x.cfg.Journaling.Adopting = func(o keys.Org, g uint64) bool {
				x.cfg.Journaling.Adopting = was
				x.pass()
				x.raise(uint64(time.Now().UnixMicro()))
				x.own("c")
				return was(o, g)
			}
			x.says(refused) // what it adopts is not decided
		},
		"an invalidation waits here": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.gives(x.value, "after", FromStale)
			x.s.away = true
			if _, err := x.Invalidate(t.Context(), x.value.Org()); err != nil {
				t.Fatal(err)
			}
			x.gives(x.value, refused, 0)
			x.says(refused)
		},
		"a write that depends on it waits": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.gives(x.value, "after", FromStale)
			_, err := x.Set(t.Context(), x.value, nil, shared, store.Condition{Kind: store.IfAbsent})
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		},
		"it takes longer than a read may": func(t *testing.T) {
			x := startAdopting(t, nil)
			x.cfg.Timeout = 20 * time.Millisecond
			x.cfg.Journaling.Look = func(ctx context.Context, _ keys.Org) error {
				<-ctx.Done()
				return ctx.Err()
			}
			x.gives(x.value, "after", FromStale)
			x.says("b")
		},
	} {
		t.Run(name, test)
	}
}
