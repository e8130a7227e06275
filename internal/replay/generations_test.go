package replay_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// What was accepted before an invalidation of the same organisation ends with it,
// what was accepted after it does not, however the invalidation fares; it counts
// once.
func TestInvalidationInOrder(t *testing.T) {
	for name, end := range ended {
		if end.err != nil && name != "unavailable" && name != "unknown, done" && name != "unknown, not done" && name != "full" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, x *instance) {
				o, other := org(1), org(2)
				x.write(x.set(value(o, 0), "shared"))
				tries := 0
				x.s.is(func(c call) fault {
					if c.org != o {
						return fault{}
					}
					switch c.what {
					case "invalidate":
						if tries++; tries <= 5 {
							return end
						}
					case "apply":
						if tries <= 5 && end.takes == 0 {
							t.Errorf("%s is applied before the invalidation", c.key)
						}
					}
					return fault{}
				})
				x.s.serves(store.Down, nil)
				x.accept(x.set(value(o, 1), "before"))
				x.accept(x.append(conversation(o, 1), "before"))
				x.invalidate(o)
				x.accept(x.set(value(o, 2), "after"))
				x.accept(x.append(conversation(o, 1), "after"))
				x.invalidate(other)
				x.accept(x.set(value(other, 1), "others"))
				x.s.serves(store.Up, nil)
				x.within(time.Second, "the other organisation does not wait", func() bool { return x.reads(value(other, 1)) != "" })
				x.settled(time.Minute)
				if x.reads(value(o, 0)) != "" || x.reads(value(o, 1)) != "" || x.reads(value(o, 2)) != `"after"` {
					t.Errorf("values: %q, %q, %q", x.reads(value(o, 0)), x.reads(value(o, 1)), x.reads(value(o, 2)))
				}
				if got := x.ids(conversation(o, 1)); fmt.Sprint(got) != "[after]" {
					t.Errorf("messages %v", got)
				}
				if g, err := x.s.Generation(context.Background(), o); g != 1 || err != nil {
					t.Errorf("generation %d, %v; want 1", g, err)
				}
			})
		})
	}
}

// What was applied under a generation once belongs to it, though the outcome was
// not known: whoever invalidates the organisation afterwards invalidates it, too.
func TestGenerationOnce(t *testing.T) {
	for name, c := range map[string]struct {
		end     fault
		restart bool
	}{
		"not done":                 {fault{err: errUnknown}, false},
		"done":                     {fault{err: errUnknown, done: true}, false},
		"not done, then a restart": {fault{err: errUnknown}, true},
		"done, then a restart":     {fault{err: errUnknown, done: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, x *instance) {
				o := org(1)
				x.s.is(func(made call) fault {
					if made.what == "apply" {
						return c.end
					}
					return fault{}
				})
				x.accept(x.set(value(o, 1), "early"))
				x.accept(x.append(conversation(o, 1), "early"))
				x.within(time.Second, "it was tried", func() bool { return x.s.count("apply") >= 2 })
				// Another instance invalidates, of which this one hears nothing.
				if _, err := x.s.InvalidateOnce(context.Background(), o, 0, x.clk.Now()); err != nil {
					t.Fatal(err)
				}
				x.s.serves(store.Down, nil)
				x.accept(x.set(value(o, 2), "late"))
				x.accept(x.append(conversation(o, 2), "late"))
				if c.restart {
					x.restart()
				}
				x.s.well()
				x.settled(10 * time.Second)
				if x.reads(value(o, 1)) != "" || len(x.ids(conversation(o, 1))) > 0 {
					t.Errorf("what was invalidated is back: %q, %v", x.reads(value(o, 1)), x.ids(conversation(o, 1)))
				}
				if x.reads(value(o, 2)) != `"late"` || len(x.ids(conversation(o, 2))) != 1 {
					t.Errorf("what was not tried before: %q, %v", x.reads(value(o, 2)), x.ids(conversation(o, 2)))
				}
			})
		})
	}
}

// A store that lost the generation of an organisation gets it back before what
// belongs to it.
func TestLostGeneration(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		o := org(1)
		x.write(x.set(value(o, 1), "old"))
		x.end(o)
		x.s.lose(1) // the invalidation is lost
		x.accept(x.set(value(o, 2), "new"))
		x.settled(time.Second)
		if g, err := x.s.Generation(context.Background(), o); g != 1 || err != nil {
			t.Errorf("generation %d, %v", g, err)
		}
		if x.reads(value(o, 1)) != "" || x.reads(value(o, 2)) != `"new"` {
			t.Errorf("%q, %q", x.reads(value(o, 1)), x.reads(value(o, 2)))
		}
	})
}

// What has no life any more is not applied, and counted. An append lives as long
// as the conversation does.
func TestExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		o := org(1)
		x.s.serves(store.Down, nil)
		for i := range 5 {
			x.accept(x.set(value(o, i), i))
		}
		x.accept(x.append(conversation(o, 1), "m1"))
		time.Sleep(life - time.Minute)
		x.accept(x.append(conversation(o, 1), "m2"))
		time.Sleep(2 * time.Minute)
		x.s.serves(store.Up, nil)
		x.settled(time.Second)
		if s := x.r.Stats(); s.Expired != 5 || s.Replayed != 2 || x.s.count("apply") != 1 {
			t.Errorf("stats %+v, %d calls", s, x.s.count("apply"))
		}
		if got := x.ids(conversation(o, 1)); fmt.Sprint(got) != "[m1 m2]" {
			t.Errorf("messages %v", got)
		}
	})
}

// A store whose clock is behind gets what is ahead of it when it has caught up.
func TestAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		x.s.setBehind(5 * time.Minute)
		x.accept(x.set(value(org(1), 1), 1))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if x.j.PendingCount() != 1 || x.r.Stats().Problem == "" || x.s.count("apply") > 20 {
			t.Errorf("%d pending, %+v, %d calls", x.j.PendingCount(), x.r.Stats(), x.s.count("apply"))
		}
		x.s.setBehind(0)
		x.settled(5 * time.Second)
		if x.reads(value(org(1), 1)) != "1" {
			t.Error("it is not there")
		}
	})
}

// A store that is away is not asked, and what waits is applied as soon as it is
// back.
func TestBack(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		x.s.serves(store.Down, nil)
		for i := range 1000 {
			x.accept(x.set(value(org(i%10), i), i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := x.s.count("apply") + x.s.count("generation"); n > 0 {
			t.Errorf("%d calls while it was away", n)
		}
		x.s.serves(store.Up, nil)
		// It begins with 2,500 a second.
		if took := x.settled(2 * time.Second); took > 500*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}

// Close ends in the middle, and the next one goes on: nothing is lost, and what
// was there is not applied again.
func TestCloseInTheMiddle(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		const all = 3000
		x.s.serves(store.Down, nil)
		for i := range all {
			x.accept(x.append(conversation(org(i%3), i%7), fmt.Sprint("m", i)))
		}
		x.s.is(func(call) fault { return fault{takes: 20 * time.Millisecond} })
		x.s.serves(store.Up, nil)
		for rounds := 0; x.j.PendingCount() > 0; rounds++ {
			if rounds == 200 {
				t.Fatalf("%d are pending after %d restarts", x.j.PendingCount(), rounds)
			}
			time.Sleep(150 * time.Millisecond)
			synctest.Wait()
			before := time.Now()
			x.restart()
			if took := time.Since(before); took > 100*time.Millisecond {
				t.Errorf("Close took %s", took)
			}
		}
		n := 0
		for o := range 3 {
			for c := range 7 {
				n += len(x.ids(conversation(org(o), c)))
			}
		}
		if calls := x.s.count("apply"); n != all || calls > 2*all {
			t.Errorf("%d messages are there, want %d; %d calls", n, all, calls)
		}
	})
}

// A value that waits does not come back above a later one of the same instance
// because somebody invalidated the organisation between the two.
func TestSurpassed(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		k := value(org(1), 1)
		first := x.set(k, 1)
		x.write(x.set(k, 2))
		if _, err := x.s.InvalidateOnce(t.Context(), org(1), 0, x.clk.Now()); err != nil {
			t.Fatal(err)
		}
		x.accept(first)
		x.settled(time.Minute)
		if got := x.reads(k); got != "" {
			t.Errorf("value %s is back", got)
		}
	})
}

// What is written, and the generation to which an invalidation led, is told while
// what waited still waits: once nothing does, copies from before it are given again.
func TestToldBeforeRecorded(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		o := org(1)
		x.s.serves(store.Down, nil)
		x.accept(x.set(value(o, 1), "before"))
		x.invalidate(o)
		x.accept(x.set(value(o, 2), "after"))
		told := make(map[string]bool)
		x.wrote = func(k keys.Key) {
			told["key"] = true
			if !x.j.HasPending(k) {
				t.Errorf("that %s is written is told when it waits no more", k)
			}
		}
		x.observed = func(o keys.Org, res store.Result) {
			if res.Generation == 0 || told["generation"] {
				return
			}
			told["generation"] = true
			waits := false
			x.j.EachPending(func(p journal.Outstanding) { waits = waits || p.Kind == journal.Invalidation })
			if !waits {
				t.Error("the generation is told when the invalidation waits no more")
			}
		}
		x.s.serves(store.Up, nil)
		x.settled(time.Minute)
		if !told["key"] || !told["generation"] {
			t.Errorf("told: %v", told)
		}
	})
}
