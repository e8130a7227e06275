package storetest

import (
	"bytes"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// history draws operations from several instances, as their journals and an
// import would bring them. Few keys, ids and contents make collisions frequent.
type history struct {
	s             *suite
	t             *rapid.T
	start         time.Time
	clocks        []*clock.Clock
	orgs          []keys.Org
	leads         []keys.Key
	conversations []keys.Key
	window        store.Window
	unique        bool // every id once
	ids           int
	model         model
}

func (s *suite) newHistory(t *rapid.T) *history {
	h := &history{s: s, t: t, start: s.clock.Time().Truncate(time.Millisecond), window: wide}
	for i := range 3 {
		offset := time.Duration(rapid.IntRange(-50, 50).Draw(t, "clock offset, ms")) * time.Millisecond
		h.clocks = append(h.clocks, clock.New(func() time.Time { return h.start.Add(offset) }, uint16(i+1), nil))
	}
	for range 2 {
		o := s.newOrg(t)
		h.orgs = append(h.orgs, o)
		h.leads = append(h.leads, s.key(t, "lead", o, "1"), s.key(t, keys.Summaries, o, "16045550001"))
		h.conversations = append(h.conversations, s.key(t, keys.Conversations, o, "16045550001"))
	}
	return h
}

// step is one thing that is applied: an operation, or a raise.
type step struct {
	op    store.Op
	raise *raised
}

func (st step) String() string {
	if st.raise != nil {
		return fmt.Sprintf("raise %q to %d", st.raise.org, st.raise.generation)
	}
	return describe(st.op)
}

// draw returns the steps of one thing that an instance did.
func (h *history) draw() []step {
	c := rapid.SampledFrom(h.clocks).Draw(h.t, "instance")
	generation := uint64(max(0, rapid.IntRange(-6, 3).Draw(h.t, "generation"))) // mostly none
	one := func(op store.Op) []step {
		op.Generation = generation
		op.Mode, op.TTL, op.ExpiresAt = store.Merge, 0, h.start.Add(life)
		op.Window = h.window
		return []step{{op: op}}
	}
	conversation := rapid.SampledFrom(h.conversations).Draw(h.t, "conversation")
	lead := rapid.SampledFrom(h.leads).Draw(h.t, "lead")
	switch rapid.SampledFrom([]string{"append", "append", "append", "append", "import", "replace", "clear", "forget", "set", "set", "tombstone", "raise"}).Draw(h.t, "what") {
	case "append":
		return one(appendOp(conversation, c.Now(), h.messages(1, 4)...))
	case "import":
		return one(appendOp(conversation, c.Now(), h.imported()...))
	case "replace":
		return one(replaceOp(conversation, c.Now(), h.messages(1, 3)...))
	case "clear":
		return one(replaceOp(conversation, c.Now()))
	case "forget":
		steps := one(replaceOp(conversation, c.Now()))
		for _, k := range h.leads {
			if k.Org() == conversation.Org() {
				steps = append(steps, one(tombstone(k, c.Now()))...)
			}
		}
		return steps
	case "set":
		return one(set(lead, c.Now(), fmt.Sprint("value ", rapid.IntRange(1, 1000).Draw(h.t, "value"))))
	case "tombstone":
		return one(tombstone(lead, c.Now()))
	}
	return []step{{raise: &raised{rapid.SampledFrom(h.orgs).Draw(h.t, "organisation"), generation}}}
}

// message draws a message whose payload follows from its id and content.
func (h *history) message() store.Message {
	if h.unique {
		h.ids++
		return msg(fmt.Sprint("u", h.ids), "hi")
	}
	id := rapid.SampledFrom([]string{"a", "b", "c", "d|%", "e"}).Draw(h.t, "id")
	content := rapid.SampledFrom([]string{"one", "one", "one", "two"}).Draw(h.t, "content")
	m := msg(id, content)
	if content == "two" {
		m.Payload, m.Flags = record.Compress(bytes.Repeat(m.Payload, 20), 100)
	}
	return m
}

func (h *history) messages(least, most int) []store.Message {
	all := make([]store.Message, rapid.IntRange(least, most).Draw(h.t, "messages"))
	for i := range all {
		all[i] = h.message()
	}
	return all
}

// imported draws messages with orders of their own, older than all live ones.
// An order belongs to one id and content.
func (h *history) imported() []store.Message {
	all := h.messages(1, 3)
	for i, m := range all {
		at := time.Unix(1_700_000_000+int64(m.Digest[0])+int64(m.ID[0])%5, 0)
		index := uint16(m.Digest[1])<<8 | uint16(m.ID[0])
		if h.unique {
			index = uint16(h.ids - len(all) + i)
		}
		all[i].At = record.Order{Version: clock.Historic(at, 9), Index: index}
	}
	return all
}

// apply applies a step to the store and adds it to the model.
func (h *history) apply(st step) {
	if st.raise != nil {
		h.t.Logf("%s", st)
		h.model.raised = append(h.model.raised, *st.raise)
		if g, want := h.s.raise(h.t, st.raise.org, st.raise.generation), h.model.generation(st.raise.org); g != want {
			h.t.Fatalf("%s gives %d, want %d", st, g, want)
		}
		return
	}
	res := h.s.apply(h.t, st.op)
	h.t.Logf("%s: %s", st, name(res.Status))
	status, placed := h.model.answer(st.op)
	if h.unique && st.op.Action != store.Set { // and trimmed, which the model does not know
		placed = nil
		if res.Status == store.Applied || res.Status == store.Unchanged {
			status = res.Status
		}
	}
	h.model = h.model.with(st.op)
	if res.Status != status {
		h.t.Fatalf("%s: %s, want %s", st, name(res.Status), name(status))
	}
	for i, want := range placed {
		if got := res.Placed[i]; got.Dropped != want.Dropped || !got.Dropped && got != want {
			h.t.Fatalf("%s: message %d is %+v, want %+v", st, i, got, want)
		}
	}
	if want := h.model.generation(st.op.Key.Org()); res.Generation != want && res.Status != store.Stale {
		h.t.Fatalf("%s: answers generation %d, want %d", st, res.Generation, want)
	}
}
