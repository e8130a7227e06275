package storetest

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// testAnswersProperty: a store answers every operation, live and merged, as
// Memory does, and holds the same after it. Few versions make all of them meet:
// the same operation again, older ones, equal ones with another content.
func testAnswersProperty(t *testing.T, s *suite) {
	check(t, func(t *rapid.T) {
		o := s.newOrg(t)
		p := &pair{
			s: s, t: t, memory: NewMemory(s.clock.Time), org: o,
			value: s.key(t, "lead", o, "1"), conversation: s.key(t, keys.Conversations, o, "16045550001"),
			window: wide, start: s.clock.Time(),
		}
		if p.trims = rapid.Bool().Draw(t, "trims"); p.trims {
			p.window = store.Window{Messages: rapid.IntRange(1, 4).Draw(t, "window"), Slack: rapid.IntRange(0, 2).Draw(t, "slack"), IDs: 1000}
		}
		for i := range 12 {
			c := clock.New(func() time.Time { return p.start.Add(time.Duration(i/3) * time.Millisecond) }, uint16(i%3+1), nil)
			p.versions = append(p.versions, c.Now())
		}
		for range rapid.IntRange(1, 20).Draw(t, "operations") {
			if rapid.IntRange(0, 9).Draw(t, "raise") == 9 {
				p.raise(rapid.Uint64Range(0, 2).Draw(t, "to"))
			}
			p.apply(p.draw())
		}
	})
}

// pair is a store beside Memory.
type pair struct {
	s                   *suite
	t                   *rapid.T
	memory              *Memory
	org                 keys.Org
	value, conversation keys.Key
	window              store.Window
	trims               bool
	start               time.Time
	versions            []clock.Version
}

func (p *pair) draw() store.Op {
	what := rapid.SampledFrom([]string{"append", "append", "append", "replace", "clear", "set", "set", "tombstone"}).Draw(p.t, "what")
	at := rapid.IntRange(0, len(p.versions)-1).Draw(p.t, "version")
	switch what { // no version is that of an Append and of a Replace
	case "append":
		at &^= 1
	case "replace", "clear":
		at |= 1
	}
	v := p.versions[at]
	var op store.Op
	switch what {
	case "append":
		op = appendOp(p.conversation, v, p.messages(at)...)
	case "replace":
		op = replaceOp(p.conversation, v, p.messages(at)...)
	case "clear":
		op = replaceOp(p.conversation, v)
	case "set", "tombstone":
		op = set(p.value, v, fmt.Sprint("value ", rapid.IntRange(0, 1).Draw(p.t, "value")))
		if what == "tombstone" {
			op = tombstone(p.value, v)
		}
		op.If.Kind = rapid.SampledFrom([]store.ConditionKind{store.Always, store.IfAbsent, store.IfVersion, store.IfSeen}).Draw(p.t, "condition")
		if op.If.Kind > store.IfAbsent && rapid.IntRange(0, 3).Draw(p.t, "of nothing") > 0 {
			op.If.Version = rapid.SampledFrom(p.versions).Draw(p.t, "condition's version")
		}
	}
	for i, m := range op.Messages {
		op.Messages[i].Index = uint16(m.ID[0] - 'a')
	}
	op.Window = p.window
	lowest := uint64(0)
	if op.If.Kind != store.Always { // below the organisation's generation stores may differ
		lowest, _ = p.memory.Generation(context.Background(), p.org)
	}
	op.Generation = rapid.Uint64Range(lowest, max(lowest, 2)).Draw(p.t, "generation")
	// Which copy of an id stands after trimming depends on arrival where a floor
	// comes between its orders. A live Replace never does.
	if rapid.Bool().Draw(p.t, "merge") && (!p.trims || op.Action != store.Replace) {
		op.Mode, op.TTL, op.ExpiresAt = store.Merge, 0, p.start.Add(life)
	}
	return op
}

// messages draws distinct ids. Content and index follow from id and version: a
// place has one id and one content, unless a clock is broken.
func (p *pair) messages(version int) []store.Message {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3, rapid.ID[string]).Draw(p.t, "ids")
	var all []store.Message
	for _, n := range names {
		content := "one"
		if (version+int(n[0]))%5 == 0 {
			content = "two"
		}
		all = append(all, msg(n, content))
	}
	return all
}

func (p *pair) raise(to uint64) {
	want, err := p.memory.RaiseGeneration(context.Background(), p.org, to)
	p.t.Logf("raise to %d", to)
	if got := p.s.raise(p.t, p.org, to); err != nil || got != want {
		p.t.Fatalf("raised to %d: %d, want %d, %v", to, got, want, err)
	}
	p.same()
}

func (p *pair) apply(op store.Op) {
	p.t.Helper()
	want, err := p.memory.Apply(context.Background(), op)
	if err != nil {
		p.t.Fatalf("memory: %v", err)
	}
	got := p.s.apply(p.t, op)
	p.t.Logf("%s: %s", describe(op), name(got.Status))
	fail := func(what string) {
		p.t.Helper()
		p.t.Fatalf("%s: %s: %s\n%+v\nwant %s\n%+v", describe(op), what, name(got.Status), got, name(want.Status), want)
	}
	if got.Status != want.Status {
		fail("status")
	}
	switch got.Status {
	case store.Superseded:
		if got.Version.Compare(op.Version) < 0 || op.Action == store.Set && got.Version != want.Version {
			fail("version")
		}
	case store.Conflict:
		if got.ConflictID != want.ConflictID {
			fail("id of the conflict")
		}
	}
	if got.Generation != want.Generation && got.Status != store.Stale {
		fail("generation")
	}
	if op.Action == store.Set {
		if got.Version != want.Version {
			fail("version of the winner")
		}
	} else if got.Status == store.Applied || got.Status == store.Unchanged {
		for i, w := range want.Placed {
			g := got.Placed[i]
			// Of a message that is dropped it is enough to tell that, or where
			// its id stands under another order.
			stands := g.Order == w.Order && g.Duplicate == w.Duplicate
			if g != w && !(w.Dropped && (g.Dropped || w.Duplicate && stands)) {
				fail(fmt.Sprint("place of message ", i))
			}
		}
	}
	p.same()
}

// same compares what the two hold, arrivals apart: those only have to grow.
func (p *pair) same() {
	p.t.Helper()
	want, err1 := p.memory.Get(context.Background(), p.value)
	log, err2 := p.memory.Messages(context.Background(), p.conversation, 0)
	if err1 != nil || err2 != nil {
		p.t.Fatalf("memory: %v, %v", err1, err2)
	}
	got := p.s.get(p.t, p.value)
	if got.Live() != want.Live() || got.Generation != want.Generation || got.Value.Version != want.Value.Version ||
		got.Value.Generation != want.Value.Generation || !bytes.Equal(got.Value.Stored, want.Value.Stored) {
		p.t.Fatalf("%s holds %+v, want %+v", p.value, got, want)
	}
	stands := p.s.log(p.t, p.conversation, 0)
	if g, w := text(stands), text(log); g != w {
		p.t.Fatalf("%s has\n%s\nwant\n%s", p.conversation, g, w)
	}
}

// text writes a conversation without its arrivals.
func text(l store.Log) string {
	s := fmt.Sprint("generation ", l.Generation)
	for _, m := range l.Messages {
		s += fmt.Sprintf("\n%s of %d: %q %02x %s", m.Order, m.Generation, m.ID, m.Flags, m.Stored)
	}
	return s
}
