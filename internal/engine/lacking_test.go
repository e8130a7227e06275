package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

// talk is a conversation of an instance, in a store that loses things without
// anybody noticing, and gets back what others have written.
type talk struct {
	*fixture
	s      *faulty
	person keys.Key
	others []store.Op
}

func startTalk(t *testing.T) *talk {
	f, s := journaled(t)
	return &talk{fixture: f, s: s, person: f.phone("org-1", "+16049085474")}
}

// own appends messages as the instance, each of its own.
func (c *talk) own(ids string) {
	c.t.Helper()
	for id := range strings.SplitSeq(ids, "") {
		if _, err := c.Append(c.t.Context(), c.person, []Message{{ID: id, Payload: []byte("{}")}}, limits); err != nil {
			c.t.Fatal(err)
		}
	}
}

// other writes messages as another instance; none clears the conversation.
func (c *talk) other(ids string) {
	c.t.Helper()
	op := store.Op{
		Action: store.Append, Mode: store.Merge, Key: c.person, Version: c.cfg.Clock.Now(), ExpiresAt: time.Now().Add(time.Hour), Window: limits.Window,
	}
	if ids == "" {
		op.Action, op.Keep = store.Replace, time.Hour
	} else {
		op.Messages = []store.Message{{ID: ids, Payload: []byte("{}")}}
	}
	c.others = append(c.others, op)
	c.restore(op)
}

// restore applies operations of others.
func (c *talk) restore(ops ...store.Op) {
	c.t.Helper()
	for _, op := range ops {
		if _, err := c.s.Memory.Apply(c.t.Context(), op); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *talk) empty() { c.s.Memory = storetest.NewMemory(nil) }

// read returns the ids of the newest last messages.
func (c *talk) read(last int) (ids string) {
	c.t.Helper()
	log, err := c.Messages(c.t.Context(), c.person, last)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, m := range log.Messages {
		ids += m.ID
	}
	return ids
}

// What an instance has acknowledged of a conversation before a read begins is in what
// it gives, whatever the store has lost unnoticed, and whoever has brought back what
// of it.
func TestConversationIsNeverLess(t *testing.T) {
	for _, c := range []struct {
		what string
		lose func(c *talk) // what is there and is lost
		want string
	}{
		{"appended while the store answers", func(c *talk) {
			c.own("ab")
			c.empty()
			c.s.answered = func() { c.own("c") }
		}, "abc"},
		{"the end, and appended while the store answers", func(c *talk) {
			c.other("x")
			c.own("ab")
			c.empty()
			c.restore(c.others...)
			c.s.answered = func() { c.own("c") }
		}, "xabc"},
		{"there again when its bounds are read", func(c *talk) {
			c.other("x")
			c.own("ab")
			c.empty()
			c.s.bounding = func() { c.restore(c.others...) }
		}, "ab"},
		{"there again when all of it is read", func(c *talk) {
			c.other("x")
			c.own("ab")
			full := c.s.Memory
			c.empty()
			c.restore(c.others...)
			c.s.answered = func() { c.s.Memory = full }
		}, "xab"},
		{"the middle", func(c *talk) {
			c.other("x")
			c.own("ab")
			c.other("y")
			c.own("c")
			c.other("z")
			c.empty()
			c.restore(c.others...)
		}, "xabycz"},
		{"behind what the window left behind", func(c *talk) {
			c.own("abcdefghijklmno")
			c.read(0)
			c.empty()
			c.own("p")
		}, "ghijklmnop"},
		{"behind what was cleared by others", func(c *talk) {
			c.own("ab")
			c.other("")
			c.other("x")
			c.read(0)
			c.own("cd")
			c.empty()
			c.restore(c.others...)
			c.own("e")
		}, "xcde"},
		{"cleared by others, and lost again", func(c *talk) {
			c.own("ab")
			c.other("")
			c.read(0)
			c.own("c")
			c.empty()
			c.restore(c.others...)
		}, "c"},
		{"beside a repetition", func(c *talk) {
			c.other("x")
			c.own("aba")
			c.read(0)
			c.empty()
			c.restore(c.others...)
		}, "xab"},
		{"between two reads, while something waits", func(c *talk) {
			c.own("ab")
			c.s.away = true
			c.own("c")
			c.s.away = false
			c.s.answered = c.empty
		}, "abc"},
		{"cleared by itself", func(c *talk) {
			c.other("x")
			if _, err := c.Replace(c.t.Context(), c.person, nil, limits); err != nil {
				c.t.Fatal(err)
			}
			c.empty()
			c.restore(c.others...)
		}, ""},
		{"invalidated by itself", func(c *talk) {
			c.other("x")
			if _, err := c.Invalidate(c.t.Context(), c.person.Org()); err != nil {
				c.t.Fatal(err)
			}
			c.empty()
			c.restore(c.others...)
		}, ""},
	} {
		for _, last := range []int{0, 2} {
			t.Run(fmt.Sprint(c.what, " ", last), func(t *testing.T) {
				talk := startTalk(t)
				c.lose(talk)
				want := c.want
				if last > 0 && len(want) > last {
					want = want[len(want)-last:]
				}
				if got := talk.read(last); got != want {
					t.Errorf("reads %q, want %q", got, want)
				}
			})
		}
	}
}

// A deletion that was acknowledged does not give way to the older value that another
// instance has brought back, unless somebody has done that by hand.
func TestDeletedComesBack(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	older := store.Op{Action: store.Set, Mode: store.Merge, Key: k, Version: f.cfg.Clock.Now(), ExpiresAt: time.Now().Add(time.Hour), Payload: []byte("older")}
	if err := f.Delete(ctx, k, shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s.Memory = storetest.NewMemory(nil)
	if v, err := f.Get(ctx, k, shared); err != nil || v.Found || s.missed.Load() > 0 {
		t.Errorf("a deletion of which nothing is left: %+v, %v; missed %d times", v, err, s.missed.Load())
	}
	if _, err := s.Memory.Apply(ctx, older); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true} {
		if v, err := f.Get(ctx, k, shared); err != nil || v.Found != want {
			t.Errorf("read %d: %+v, %v", i, v, err)
		}
	}
}

// A store that has all is not made to look for losses, and after a first read not asked
// twice, whatever is missing for a good reason.
func TestNothingMissed(t *testing.T) {
	for _, c := range []struct {
		what  string
		begin func(c *talk)
		next  func(c *talk, id string) // before each further read; nil: nothing
	}{
		{"all there", func(c *talk) { c.own("abc") }, (*talk).own},
		{"beyond the window", func(c *talk) { c.own("abcdefghijklmno") }, (*talk).own},
		{"cleared by others", func(c *talk) { c.own("abc"); c.other("") }, nil},
		{"cleared by others, then more", func(c *talk) { c.own("abc"); c.other(""); c.own("d") }, (*talk).own},
		{"cleared by itself", func(c *talk) {
			c.own("abc")
			if _, err := c.Replace(c.t.Context(), c.person, nil, limits); err != nil {
				c.t.Fatal(err)
			}
		}, nil},
		{"repetitions", func(c *talk) { c.own("abcabc") }, (*talk).own},
		{"those of others", func(c *talk) { c.other("x"); c.own("a"); c.other("y") }, (*talk).other},
		{"invalidated", func(c *talk) {
			c.own("abc")
			if _, err := c.Invalidate(c.t.Context(), c.person.Org()); err != nil {
				c.t.Fatal(err)
			}
		}, nil},
		{"one that waited and came late", func(c *talk) {
			c.s.away = true
			c.own("a")
			c.s.away = false
			c.own("b")
			c.drain(c.s)
		}, nil},
		{"nothing known", func(*talk) {}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			talk := startTalk(t)
			c.begin(talk)
			talk.read(0)
			const more = 3
			before := talk.s.reads.Load()
			for i := range more {
				if c.next != nil {
					c.next(talk, fmt.Sprint(i))
				}
				talk.read(0)
			}
			if n := talk.s.reads.Load() - before; n != more {
				t.Errorf("%d reads are %d of the store", more, n)
			}
			if n := talk.s.missed.Load(); n > 0 {
				t.Errorf("missed %d times", n)
			}
		})
	}
}

// A message that was repeated, and left behind by the window since, is not lost: also
// where its repetition, or something that came along with it, stands among those that
// are there.
func TestRepeatedAndLeftBehind(t *testing.T) {
	batch := func(c *talk, ids string) {
		c.t.Helper()
		var ms []Message
		for id := range strings.SplitSeq(ids, "") {
			ms = append(ms, Message{ID: id, Payload: []byte("{}")})
		}
		if _, err := c.Append(c.t.Context(), c.person, ms, limits); err != nil {
			c.t.Fatal(err)
		}
	}
	for what, begin := range map[string]func(c *talk){
		"one":          func(c *talk) { c.own("aba") },
		"two together": func(c *talk) { batch(c, "ab"); batch(c, "ab") },
	} {
		c := startTalk(t)
		begin(c)
		c.own("cdefghijk")
		for range 3 {
			if got := c.read(0); got != "bcdefghijk" {
				t.Errorf("%s: %q", what, got)
			}
		}
		if n := c.s.missed.Load(); n > 0 {
			t.Errorf("%s: missed %d times", what, n)
		}
		// One that is lost is missed all the same.
		c.empty()
		c.other("x")
		c.restore(store.Op{
			Action: store.Append, Mode: store.Merge, Key: c.person, Version: c.cfg.Clock.Now(), ExpiresAt: time.Now().Add(time.Hour),
			Window: limits.Window, Messages: []store.Message{{ID: "y", Payload: []byte("{}")}},
		})
		if got := c.read(0); got != "defghijkxy" {
			t.Errorf("%s, and lost: %q", what, got)
		}
	}
}

// What a window of bytes has left behind when few large messages filled it says nothing
// of what is missing before a few small ones.
func TestMissedBeforeFewBytes(t *testing.T) {
	c := startTalk(t)
	l := limits
	l.Window.Bytes, l.CompressAbove = 3000, 1<<20
	for _, id := range "ABCDE" {
		m := Message{ID: string(id), Payload: []byte(`"` + strings.Repeat("x", 1000) + `"`)}
		if _, err := c.Append(t.Context(), c.person, []Message{m}, l); err != nil {
			t.Fatal(err)
		}
	}
	large := c.read(0)
	if len(large) == 0 || len(large) > 3 {
		t.Fatalf("%q; want what 3000 bytes have room for", large)
	}
	c.own("abcd")
	if got := c.read(0); got != large+"abcd" || c.s.missed.Load() > 0 {
		t.Fatalf("%q; missed %d times", got, c.s.missed.Load())
	}
	c.empty()
	for _, id := range "wxyz" {
		c.other(string(id))
	}
	if got := c.read(0); !strings.HasSuffix(got, "abcdwxyz") {
		t.Errorf("%q is less than was acknowledged", got)
	}
}

// Reads of more and of fewer messages do not ask for the reason of each other again.
func TestNothingMissedByTurns(t *testing.T) {
	c := startTalk(t)
	c.own("abcabadefgdeg")
	read := func() int32 {
		before := c.s.reads.Load()
		for _, last := range []int{0, 2, 4, 0, 4, 2} {
			c.read(last)
		}
		return c.s.reads.Load() - before
	}
	read()
	if n := read(); n != 6 {
		t.Errorf("6 reads are %d of the store", n)
	}
	if n := c.s.missed.Load(); n > 0 {
		t.Errorf("missed %d times", n)
	}
}

// What is recorded while the store answers need not be in the answer.
func TestNotMissedMeanwhile(t *testing.T) {
	c := startTalk(t)
	c.own("a")
	for _, id := range []string{"b", "c"} {
		c.s.answered = func() { c.own(id) }
		c.read(0)
	}
	if n := c.s.missed.Load(); n > 0 {
		t.Errorf("missed %d times", n)
	}
}

// What was deleted by hand is gone, whatever stands behind it; the store looks once for
// each deletion.
func TestConversationDeletedByHand(t *testing.T) {
	c := startTalk(t)
	for round, ids := range []string{"ab", "cd"} {
		c.own(ids)
		c.empty()
		for i, want := range []string{"abcd"[:2*round+2], "", ""} {
			if got := c.read(0); got != want {
				t.Errorf("round %d, read %d: %q, want %q", round, i, got, want)
			}
		}
		if n := c.s.missed.Load(); int(n) != round+1 {
			t.Errorf("round %d: missed %d times", round, n)
		}
	}
	c.own("e")
	if got := c.read(0); got != "e" || c.s.missed.Load() != 2 {
		t.Errorf("%q; missed %d times", got, c.s.missed.Load())
	}
}

// BenchmarkLack is what it costs to compare what was read with what was recorded.
func BenchmarkLack(b *testing.B) {
	for _, n := range []int{10, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, _ := journaled(b)
			person := f.phone("org-1", "+16049085474")
			wide := limits
			wide.Window = store.Window{Messages: n, IDs: n}
			for i := range 2 * n {
				if _, err := f.Append(context.Background(), person, []Message{{ID: fmt.Sprint(i), Payload: []byte("{}")}}, wide); err != nil {
					b.Fatal(err)
				}
			}
			log, err := f.cfg.Store.Messages(context.Background(), person, n)
			if err != nil {
				b.Fatal(err)
			}
			o := outset{at: f.journal.Position()}
			for b.Loop() {
				if l := f.lackOf(person, 0, o, log); slices.ContainsFunc(l.inside, func(journal.Held) bool { return true }) {
					b.Fatal(l)
				}
			}
		})
	}
}
