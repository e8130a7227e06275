package replay_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

func (x *instance) restored(done func() bool) {
	x.t.Helper()
	x.within(time.Minute, "what was lost is there again", done)
	x.settled(time.Second)
}

// What came after the last sign is applied again, and nothing else.
func TestRestoreFrom(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		o := org(1)
		for i := range 10 {
			x.write(x.set(value(o, i), i))
		}
		from, had := x.r.Position(), x.s.length()
		for i := range 10 {
			x.write(x.append(conversation(o, 1), fmt.Sprint("m", i)))
			x.write(x.set(value(o, 10+i%2), i)) // only the last two matter
		}
		x.s.lose(had)
		calls := x.s.count("apply")
		x.restored(x.suspect(store.Suspicion{From: from, Confirmed: true}))
		if got := x.s.count("apply") - calls; got != 3 {
			t.Errorf("%d operations were applied again, want 3: the appends in one", got)
		}
		if got := x.ids(conversation(o, 1)); len(got) != 10 || x.reads(value(o, 10)) != "8" || x.reads(value(o, 11)) != "9" {
			t.Errorf("messages %v, values %s, %s", got, x.reads(value(o, 10)), x.reads(value(o, 11)))
		}
		if s := x.r.Stats(); s.Suspected != 1 || s.Confirmed != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

// That something was restored is told before the doubt ends: what is missed after that
// was lost again, and is not what had been missed before.
func TestRestoredIsToldFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		x.write(x.set(value(org(1), 1), 1))
		x.s.lose(0)
		var over, first atomic.Bool
		x.back = func() { first.Store(!over.Load()) }
		x.r.Suspect(store.Suspicion{Covers: func(string) bool { return true }, Done: func() { over.Store(true) }})
		x.restored(over.Load)
		if !first.Load() {
			t.Error("it is told when the doubt is over, or not at all")
		}
	})
}

// A suspicion covers the keys of one server: the others are left alone.
func TestRestoreCovers(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		for i := range 10 {
			x.write(x.set(value(org(1), i), i))
			x.write(x.set(value(org(2), i), i))
		}
		x.end(org(3))
		x.s.lose(0)
		covers := func(key string) bool { return strings.Contains(key, "org-1") }
		x.restored(x.suspect(store.Suspicion{Covers: covers, Confirmed: true}))
		for i := range 10 {
			if x.reads(value(org(1), i)) == "" || x.reads(value(org(2), i)) != "" {
				t.Errorf("%d: %q, %q", i, x.reads(value(org(1), i)), x.reads(value(org(2), i)))
			}
		}
		if x.s.count("raise") > 0 {
			t.Error("a generation was raised that is not covered")
		}
	})
}

// A server that has the newest sign lacks nothing: it is done at once, without a
// call. Where it is certain that something is gone, it is not.
func TestNothingToRestore(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		x.write(x.set(value(org(1), 1), 1))
		calls := x.s.count("apply")
		x.within(10*time.Millisecond, "it is done at once", x.suspect(store.Suspicion{From: x.r.Position()}))
		if x.s.count("apply") > calls || x.r.Stats().Suspected > 0 {
			t.Errorf("a server that has everything was written to: %+v", x.r.Stats())
		}
		x.s.lose(0)
		x.restored(x.suspect(store.Suspicion{Confirmed: true}))
		if x.reads(value(org(1), 1)) != "1" {
			t.Error("it is not there")
		}
	})
}

// What was removed on purpose stays away when the rest comes back: cleared,
// deleted, forgotten, invalidated here or by another instance. Neither does
// another's replay of what came before bring it back.
func TestRestoreUndoesNothing(t *testing.T) {
	for name, from := range map[string]int{"everything": 0, "from before the removal": 1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, x *instance) {
				o, gone, others := org(1), org(2), org(3)
				late := x.append(conversation(o, 1), "of another, late")
				lateSet := x.set(value(o, 1), "of another, late")
				for _, op := range []store.Op{
					x.append(conversation(o, 1), "cleared"), x.append(conversation(o, 2), "cleared"), x.set(value(o, 1), "deleted"),
					x.set(value(o, 2), "kept"), x.append(conversation(o, 3), "kept"),
					x.set(value(gone, 1), "invalidated"), x.append(conversation(gone, 1), "invalidated"),
					x.set(value(others, 1), "invalidated by another"),
				} {
					x.write(op)
				}
				at, had := x.r.Position(), x.s.length()
				x.write(x.messages(store.Replace, conversation(o, 1)))
				x.write(x.messages(store.Replace, conversation(o, 2), "instead"))
				x.write(x.tombstone(value(o, 1)))
				x.end(gone)
				x.write(x.set(value(gone, 2), "after"))
				x.write(x.append(conversation(gone, 1), "after"))
				// Of what another did this instance hears by answers alone.
				x.mu.Lock()
				x.known[others] = 1
				x.mu.Unlock()
				if from == 0 {
					at, had = 0, 0
				}
				x.s.lose(had)
				x.restored(x.suspect(store.Suspicion{From: at, Confirmed: true}))
				if _, err := x.s.RaiseGeneration(t.Context(), others, 1); err != nil {
					t.Error(err)
				}
				for _, op := range []store.Op{late, lateSet} {
					if _, err := x.s.Apply(t.Context(), op); err != nil {
						t.Error(err)
					}
				}
				for what, c := range map[string]struct{ got, want any }{
					"cleared": {x.ids(conversation(o, 1)), []string(nil)}, "replaced": {x.ids(conversation(o, 2)), []string{"instead"}},
					"deleted": {x.reads(value(o, 1)), ""}, "kept": {x.reads(value(o, 2)), `"kept"`},
					"kept messages": {x.ids(conversation(o, 3)), []string{"kept"}}, "invalidated": {x.reads(value(gone, 1)), ""},
					"after": {x.reads(value(gone, 2)), `"after"`}, "messages after": {x.ids(conversation(gone, 1)), []string{"after"}},
					"invalidated by another": {x.reads(value(others, 1)), ""},
				} {
					if fmt.Sprint(c.got) != fmt.Sprint(c.want) {
						t.Errorf("%s: %v, want %v", what, c.got, c.want)
					}
				}
			})
		})
	}
}

// Done is called when everything is there, not before, whatever happens meanwhile.
func TestRestoreInTrouble(t *testing.T) {
	const all = 3000 // more than are read at once
	for name, end := range ended {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, x *instance) {
				for i := range all {
					x.write(x.set(value(org(i%5), i), i))
				}
				x.end(org(7))
				x.s.lose(0)
				poisons := poisonous(end)
				calls := 0
				x.s.is(func(c call) fault {
					if calls++; !poisons && calls%500 == 1 || poisons && c.key == value(org(0), 10).String() {
						return end
					}
					return fault{}
				})
				done := x.suspect(store.Suspicion{Confirmed: true})
				x.within(time.Minute, "it is done", func() bool {
					if !done() {
						return false
					}
					for i := range all {
						if x.reads(value(org(i%5), i)) == "" && !(poisons && i == 10) {
							t.Errorf("done, and value %d is not there", i)
						}
					}
					return true
				})
				if g, err := x.s.Generation(t.Context(), org(7)); g != 1 || err != nil {
					t.Errorf("generation %d, %v", g, err)
				}
				if n := x.r.Stats().Rejected; poisons && n != 1 || !poisons && n != 0 {
					t.Errorf("%d were rejected", n)
				}
			})
		})
	}
}

// poisonous reports whether a fault is about one record.
func poisonous(f fault) bool {
	return f.err != nil && (strings.Contains(f.err.Error(), "WRONGTYPE") || strings.Contains(f.err.Error(), "corrupt"))
}

// A server whose clock is behind gets what is ahead of it later; it is not taken
// for one that has it.
func TestRestoreAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		x.write(x.set(value(org(1), 1), 1))
		x.s.setBehind(5 * time.Minute)
		x.s.lose(0)
		done := x.suspect(store.Suspicion{Confirmed: true})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if done() {
			t.Error("it is done, and the server has refused it")
		}
		x.s.setBehind(0)
		x.restored(done)
		if x.reads(value(org(1), 1)) != "1" {
			t.Error("it is not there")
		}
	})
}

// A suspicion that comes before Start is dealt with then; one that Close ends is
// not done, and the next start deals with it.
func TestRestoreAndRestart(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		const all = 2500
		want := []string{}
		for i := range all {
			want = append(want, fmt.Sprint("m", i))
			x.write(x.append(conversation(org(1), 1), want[i]))
		}
		x.s.lose(0)
		x.s.is(func(call) fault { return fault{takes: 50 * time.Millisecond} })
		stopped := x.suspect(store.Suspicion{Confirmed: true})
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		x.close()
		if n := len(x.ids(conversation(org(1), 1))); stopped() || n == 0 || n == all {
			t.Errorf("closed in the middle: done %v, %d messages", stopped(), n)
		}
		x.open()
		early := x.suspect(store.Suspicion{Confirmed: true})
		time.Sleep(time.Second)
		if early() {
			t.Error("done before the start")
		}
		x.r.Start(x.s)
		x.restored(early)
		if got := x.ids(conversation(org(1), 1)); !slices.Equal(got, want) {
			t.Errorf("%d messages", len(got))
		}
	})
}
