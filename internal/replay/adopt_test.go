package replay_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// applyUnknown does not do what is applied, and does not say so.
func applyUnknown(c call) fault {
	if c.what == "apply" {
		return fault{err: errUnknown}
	}
	return fault{}
}

// has fails the test where values and conversations 1 to 3 of an organisation are not
// as wanted in the end: empty for none.
func (x *instance) has(t *testing.T, o keys.Org, want ...string) {
	t.Helper()
	elapse(5 * time.Second)
	x.settled(time.Second)
	for i, w := range want {
		payload, ids := "", "[]"
		if w != "" {
			payload, ids = fmt.Sprintf("%q", w), fmt.Sprintf("[%s]", w)
		}
		if got := x.reads(value(o, i+1)); got != payload {
			t.Errorf("value %d is %q, want %q", i+1, got, payload)
		}
		if got := fmt.Sprint(x.ids(conversation(o, i+1))); got != ids {
			t.Errorf("conversation %d is %s, want %s", i+1, got, ids)
		}
	}
}

// What was written after an invalidation that the store had lost counts as written
// after it, once it is restored; what was written before it does not.
func TestAdopted(t *testing.T) {
	write := func(x *instance, o keys.Org, i int, text string) {
		x.write(x.set(value(o, i), text))
		x.write(x.append(conversation(o, i), text))
	}
	accept := func(x *instance, o keys.Org, i int, text string) {
		x.accept(x.set(value(o, i), text))
		x.accept(x.append(conversation(o, i), text))
	}
	for name, test := range map[string]func(t *testing.T, x *instance){
		"written before and after": func(t *testing.T, x *instance) {
			write(x, org(1), 1, "before")
			write(x, org(2), 1, "others")
			elapse(time.Millisecond)
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 2, "after")
			x.brought(org(1), g)
			x.has(t, org(1), "", "after")
			x.has(t, org(2), "others")
		},
		"in parts, over a restart": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 1, "after")
			x.r.Close()
			x.brought(org(1), g)
			x.restart()
			x.has(t, org(1), "after")
			before := x.j.Stats().Records
			x.restart()
			x.has(t, org(1), "after")
			if now := x.j.Stats().Records; now != before {
				t.Errorf("%d records, and %d after another start", before, now)
			}
		},
		"and applied again after a loss": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 1, "after")
			x.brought(org(1), g)
			x.has(t, org(1), "after")
			x.s.lose(0)
			done := x.suspect(store.Suspicion{Confirmed: true})
			x.within(time.Second, "it is applied again", done)
			x.has(t, org(1), "after")
		},
		"before another one that was lost, too, and is restored later": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 1, "between")
			elapse(time.Millisecond)
			last := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 2, "after")
			x.brought(org(1), g)
			x.has(t, org(1), "between", "after")
			x.brought(org(1), last)
			x.has(t, org(1), "", "after")
		},
		"a counted generation tells no time": func(t *testing.T, x *instance) {
			write(x, org(1), 1, "before")
			x.brought(org(1), 7)
			x.has(t, org(1), "")
		},
		"invalidated since": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 1, "after")
			x.brought(org(1), g)
			x.end(org(1))
			write(x, org(1), 2, "last")
			x.has(t, org(1), "", "last")
		},
		"not lost": func(t *testing.T, x *instance) {
			write(x, org(1), 1, "before")
			// By a store whose clock is behind.
			g := at(time.Now().Add(-time.Second))
			if _, err := x.s.InvalidateOnce(context.Background(), org(1), g-1, x.clk.Now()); err != nil {
				t.Fatal(err)
			}
			x.has(t, org(1), "")
		},
		"accepted before it was restored": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			x.s.serves(store.Down, nil)
			accept(x, org(1), 1, "after")
			x.brought(org(1), g)
			x.s.well()
			x.has(t, org(1), "after")
		},
		"tried before it was restored": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			// Another one, which knows it, is first.
			set, talk := x.set(value(org(1), 2), "others"), x.append(conversation(org(1), 2), "others")
			set.Generation, talk.Generation = g, g
			x.s.is(applyUnknown)
			accept(x, org(1), 1, "after")
			accept(x, org(1), 2, "after")
			x.within(time.Second, "it was tried", func() bool { return x.s.count("apply") >= 4 })
			x.brought(org(1), g)
			for _, op := range []store.Op{set, talk} {
				if _, err := x.s.memory.Apply(context.Background(), op); err != nil {
					t.Fatal(err)
				}
			}
			elapse(3 * time.Second) // it is looked for, while that waits
			x.s.well()
			x.settled(10 * time.Second)
			elapse(5 * time.Second)
			for i := 1; i <= 2; i++ {
				if got := x.reads(value(org(1), i)); got != `"after"` {
					t.Errorf("value %d is %q", i, got)
				}
			}
			for i, want := range []string{"[after]", "[others after]"} {
				if got := fmt.Sprint(x.ids(conversation(org(1), i+1))); got != want {
					t.Errorf("conversation %d is %s, want %s", i+1, got, want)
				}
			}
		},
		"tried before it was restored, and nobody was first": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			x.s.is(applyUnknown)
			accept(x, org(1), 1, "after")
			x.within(time.Second, "it was tried", func() bool { return x.s.count("apply") >= 2 })
			x.brought(org(1), g)
			elapse(3 * time.Second)
			x.s.well()
			x.settled(10 * time.Second)
			x.has(t, org(1), "after")
		},
		"answered, and not recorded yet": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			turn := x.j.Begin()
			set, talk := x.set(value(org(1), 1), "after"), x.append(conversation(org(1), 1), "after")
			for _, op := range []store.Op{set, talk} {
				if _, err := x.s.Apply(context.Background(), op); err != nil {
					t.Fatal(err)
				}
			}
			x.brought(org(1), g)
			elapse(3 * time.Second)
			for _, op := range []store.Op{set, talk} {
				x.keep(&journal.Record{Kind: journal.Applied, Time: time.Now(), Op: op})
			}
			x.j.End(turn)
			x.has(t, org(1), "after")
		},
		"the store fails meanwhile": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			for i := 1; i <= 3; i++ {
				write(x, org(1), i, "after")
			}
			for _, end := range []fault{{err: errAway}, {err: errUnknown}, {err: errUnknown, done: true}, {hangs: true}} {
				x.s.is(func(call) fault { return end })
				elapse(3 * time.Second)
			}
			x.s.well()
			x.brought(org(1), g)
			for _, what := range []string{"raised", "generation", "get", "apply"} {
				x.s.is(func(c call) fault {
					if c.what == what {
						return fault{err: errUnknown, done: true}
					}
					return fault{}
				})
				elapse(3 * time.Second)
			}
			x.s.well()
			x.has(t, org(1), "after", "after", "after")
		},
		"noted, and restored later": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 1, "after")
			x.brought(org(1), g)
			x.s.is(func(c call) fault {
				if c.what == "generation" {
					return fault{err: errAway}
				}
				return fault{}
			})
			elapse(10 * time.Second)
			x.s.well()
			x.has(t, org(1), "after")
		},
		"another one deleted it": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			x.write(x.set(value(org(1), 1), "after"))
			x.write(x.set(value(org(1), 2), "after"))
			gone, last := x.tombstone(value(org(1), 1)), x.set(value(org(1), 2), "last")
			own := x.set(value(org(1), 3), "never acknowledged")
			x.write(x.set(value(org(1), 3), "after"))
			own.Version = x.clk.Now()
			gone.Version, last.Version = gone.Version.Next(99), last.Version.Next(99)
			for _, op := range []store.Op{gone, last, own} {
				if _, err := x.s.Apply(context.Background(), op); err != nil {
					t.Fatal(err)
				}
			}
			x.brought(org(1), g)
			elapse(5 * time.Second)
			if got := x.reads(value(org(1), 2)); got != `"last"` {
				t.Errorf("what another one has written last is %s", got)
			}
			if got := x.reads(value(org(1), 3)); got != `"after"` {
				t.Errorf("%s stands where something was acknowledged", got)
			}
			if got := x.reads(value(org(1), 1)); got != "" {
				t.Errorf("what another one has deleted since is back: %s", got)
			}
		},
		"it was seen, invalidated, and tried again": func(t *testing.T, x *instance) {
			x.s.is(func(c call) fault {
				if c.what == "apply" {
					return fault{err: errUnknown, done: true}
				}
				return fault{}
			})
			accept(x, org(1), 1, "before")
			x.within(time.Second, "it was tried", func() bool { return x.s.count("apply") >= 2 })
			if got := x.reads(value(org(1), 1)); got != `"before"` {
				t.Fatalf("others read %q", got)
			}
			elapse(time.Second)
			g, err := x.s.InvalidateOnce(context.Background(), org(1), at(time.Now())-1, x.clk.Now())
			x.must(err)
			elapse(time.Second)
			x.s.well()
			x.has(t, org(1), "")
			x.s.lose(0)
			x.brought(org(1), g)
			x.has(t, org(1), "")
		},
		"it is lost again": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 1, "after")
			x.brought(org(1), g)
			x.has(t, org(1), "after")
			x.s.lose(0)
			elapse(time.Minute) // numbers of notes are times
			for _, op := range []store.Op{x.set(value(org(1), 2), "after"), x.append(conversation(org(1), 2), "after")} {
				if _, err := x.s.Apply(context.Background(), op); err != nil { // stamped before it was known
					t.Fatal(err)
				}
				x.keep(&journal.Record{Kind: journal.Applied, Time: time.Now(), Op: op})
			}
			x.brought(org(9), 5)
			x.brought(org(1), g)
			elapse(5 * time.Second)
			if got := x.reads(value(org(1), 2)); got != `"after"` {
				t.Errorf("value %q", got)
			}
			if got := fmt.Sprint(x.ids(conversation(org(1), 2))); got != "[after]" {
				t.Errorf("conversation %s", got)
			}
		},
		"another shard is dead": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			for i := range 1100 { // more than a page
				x.write(x.set(value(org(2), i), "dead"))
			}
			write(x, org(1), 1, "after")
			x.s.serves(store.Partial, func(k keys.Key) bool { return k.Org() == org(2) })
			x.s.is(func(c call) fault {
				if c.what != "raise" && c.org == org(2) {
					return fault{err: errAway}
				}
				return fault{}
			})
			x.brought(org(2), g)
			x.brought(org(1), g)
			if err := x.r.Look(t.Context(), org(1)); err != nil {
				t.Error(err)
			}
			if err := x.r.Look(t.Context(), org(2)); err == nil {
				t.Error("it is adopted by what cannot be read")
			}
			if got := x.reads(value(org(1), 1)); got != `"after"` {
				t.Errorf("%q where nothing is dead", got)
			}
			x.s.is(nil)
			elapse(time.Minute) // its generation is there, its keys are not
			if x.r.Stats().Restoring == 0 {
				t.Error("nobody is told that something is to be adopted")
			}
			x.s.well()
			elapse(time.Minute)
			if got := x.reads(value(org(2), 1099)); got != `"dead"` {
				t.Errorf("%q when it is back", got)
			}
		},
		"another shard hangs": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			for i := range 100 {
				x.write(x.set(value(org(2), i), "dead"))
			}
			write(x, org(1), 1, "after")
			x.s.serves(store.Partial, func(k keys.Key) bool { return k.Org() == org(2) })
			x.s.is(func(c call) fault {
				return fault{hangs: c.org == org(2) && (c.what == "apply" || c.what == "get")}
			})
			x.brought(org(2), g)
			x.brought(org(1), g)
			x.within(5*time.Second, "what does not hang is adopted", func() bool { return x.reads(value(org(1), 1)) != "" })
			x.s.well()
			x.within(time.Minute, "what hung is adopted", func() bool { return x.reads(value(org(2), 99)) != "" })
		},
		"the clock of the server of the notes is behind after a failover": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 1, "after")
			x.s.noted(org(9), 7, time.Now())
			elapse(2 * time.Second) // it is read
			x.brought(org(1), g)
			x.s.noted(org(1), g, time.Now().Add(-5*time.Second))
			x.has(t, org(1), "after")
		},
		"what the window left behind": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			for i := range 30 {
				op := x.append(conversation(org(1), 1), fmt.Sprint("m", i))
				op.Window = store.Window{Messages: 5, IDs: 1000}
				x.write(op)
			}
			x.brought(org(1), g)
			for range 3 {
				elapse(5 * time.Second)
				if got := fmt.Sprint(x.ids(conversation(org(1), 1))); got != "[m25 m26 m27 m28 m29]" {
					t.Errorf("conversation %s", got)
				}
				rs, err := x.j.Known(conversation(org(1), 1))
				x.must(err)
				indexed := make(map[string]bool)
				for _, r := range rs {
					indexed[r.Op.Messages[0].ID] = true
				}
				for i := 25; i < 30; i++ {
					if !indexed[fmt.Sprint("m", i)] {
						t.Errorf("m%d, which the window has, is not known any more", i)
					}
				}
				before := x.j.Stats().Records
				x.restart()
				elapse(5 * time.Second)
				if now := x.j.Stats().Records; now != before {
					t.Errorf("%d records, and %d after another start", before, now)
				}
			}
		},
		"written to a master that was none any more": func(t *testing.T, x *instance) {
			write(x, org(1), 1, "before")
			elapse(time.Millisecond)
			done := x.s.length()
			elapse(time.Millisecond)
			write(x, org(1), 2, "after")
			x.s.lose(done) // the new one has not got it, and was asked to invalidate before
			if _, err := x.s.InvalidateOnce(context.Background(), org(1), at(time.Now().Add(-2*time.Millisecond)), x.clk.Now()); err != nil {
				t.Fatal(err)
			}
			x.within(time.Second, "it is applied again", x.suspect(store.Suspicion{Confirmed: true}))
			x.has(t, org(1), "", "after")
		},
		"what is accepted for the same key waits longer": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			first := x.set(value(org(1), 1), "first")
			x.write(first)
			x.s.is(applyUnknown)
			x.accept(x.set(value(org(1), 1), "after"))
			x.within(time.Second, "it was tried", func() bool { return x.s.count("apply") >= 2 })
			// What is applied of them first is what is adopted.
			first.Generation = g
			x.keep(&journal.Record{Kind: journal.Applied, Time: time.Now(), Op: first})
			if _, err := x.s.memory.Apply(context.Background(), first); err != nil {
				t.Fatal(err)
			}
			x.brought(org(1), g)
			elapse(3 * time.Second)
			x.s.well()
			x.settled(10 * time.Second)
			elapse(10 * time.Second)
			if got := x.reads(value(org(1), 1)); got != `"after"` {
				t.Errorf("%s stands where something was acknowledged later", got)
			}
		},
		"invalidated while its generation was read": func(t *testing.T, x *instance) {
			var once sync.Once
			x.s.is(func(c call) (end fault) {
				if c.what == "generation" {
					once.Do(func() { end.late = 100 * time.Millisecond })
				}
				return end
			})
			x.accept(x.set(value(org(1), 1), "before"))
			elapse(50 * time.Millisecond)
			g, err := x.s.memory.InvalidateOnce(context.Background(), org(1), at(time.Now())-1, x.clk.Now())
			x.must(err)
			x.has(t, org(1), "")
			x.s.lose(0)
			x.brought(org(1), g)
			x.has(t, org(1), "")
		},
		"another one takes long": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			for i := range 80 {
				x.write(x.set(value(org(2), i), "many"))
			}
			write(x, org(1), 1, "after")
			x.s.is(func(c call) fault {
				if c.what == "apply" && c.org == org(2) {
					return fault{takes: 1500 * time.Millisecond}
				}
				return fault{}
			})
			x.brought(org(2), g)
			if err := x.r.Look(t.Context(), org(2)); err != nil {
				t.Fatal(err)
			}
			x.brought(org(1), g)
			x.within(10*time.Second, "this one is adopted, too", func() bool { return x.reads(value(org(1), 1)) != "" })
		},
		"its life is over": func(t *testing.T, x *instance) {
			g := at(time.Now())
			elapse(time.Millisecond)
			write(x, org(1), 1, "after")
			elapse(life)
			n := x.s.count("apply")
			x.brought(org(1), g)
			elapse(5 * time.Second)
			if now := x.s.count("apply"); now != n {
				t.Errorf("%d operations for what has no life any more", now-n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { inBubble(t, test) })
	}
}
