package storetest

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// instance is one of several that write with clocks of their own and adopt
// what they are told.
type instance struct {
	clock       *clock.Clock
	generations map[keys.Org]uint64 // as far as it knows
}

// testLiveProperty: several instances whose clocks are apart take turns. What
// was acknowledged last is what a reader sees.
func testLiveProperty(t *testing.T, s *suite) {
	check(t, func(t *rapid.T) {
		var instances []*instance
		for i := range rapid.IntRange(2, 3).Draw(t, "instances") {
			offset := time.Duration(rapid.IntRange(-50, 50).Draw(t, "clock offset, ms")) * time.Millisecond
			wall := func() time.Time { return s.clock.Time().Add(offset) }
			instances = append(instances, &instance{clock.New(wall, uint16(i+1), nil), map[keys.Org]uint64{}})
		}
		o := s.newOrg(t)
		l := &live{s: s, t: t, value: s.key(t, "lead", o, "1"), conversation: s.key(t, keys.Conversations, o, "16045550001")}
		for range rapid.IntRange(1, 25).Draw(t, "turns") {
			l.turn(rapid.SampledFrom(instances).Draw(t, "instance"))
			l.check()
		}
	})
}

// live is what the callers of all instances were told.
type live struct {
	s                   *suite
	t                   *rapid.T
	value, conversation keys.Key
	holds               string   // the value, if any
	standing            []string // ids of the messages that stand
	fresh               int
}

func (l *live) turn(i *instance) {
	o := l.value.Org()
	switch rapid.SampledFrom([]string{"append", "append", "append", "repeat", "replace", "clear", "set", "set", "delete", "create", "invalidate"}).Draw(l.t, "turn") {
	case "append":
		l.append(i, l.newMessages())
	case "repeat":
		if len(l.standing) > 0 {
			id := rapid.SampledFrom(l.standing).Draw(l.t, "id")
			l.append(i, append(l.newMessages(), msg(id, "hi")))
		}
	case "replace":
		messages := l.newMessages()
		l.send(i, replaceOp(l.conversation, i.clock.Now(), messages...), store.Applied)
		l.standing = nil
		l.add(messages)
	case "clear":
		l.send(i, replaceOp(l.conversation, i.clock.Now()), store.Applied)
		l.standing = nil
	case "set":
		v := i.clock.Now()
		l.send(i, set(l.value, v, v.String()), store.Applied)
		l.holds = v.String()
	case "delete":
		l.send(i, tombstone(l.value, i.clock.Now()), store.Applied)
		l.holds = ""
	case "create":
		op := set(l.value, i.clock.Now(), "created")
		op.If = store.Condition{Kind: store.IfAbsent}
		if l.holds != "" {
			l.send(i, op, store.ConditionFail)
			return
		}
		l.send(i, op, store.Applied)
		l.holds = "created"
	case "invalidate":
		i.generations[o] = l.s.invalidate(l.t, o, i.generations[o])
		l.holds, l.standing = "", nil
	}
}

func (l *live) newMessages() []store.Message {
	var messages []store.Message
	for range rapid.IntRange(1, 3).Draw(l.t, "messages") {
		l.fresh++
		messages = append(messages, msg("m"+string(rune('A'+l.fresh)), "hi"))
	}
	return messages
}

func (l *live) append(i *instance, messages []store.Message) {
	l.send(i, appendOp(l.conversation, i.clock.Now(), messages...), store.Applied)
	l.add(messages)
}

func (l *live) add(messages []store.Message) {
	for _, m := range messages {
		known := false
		for _, id := range l.standing {
			known = known || id == m.ID
		}
		if !known {
			l.standing = append(l.standing, m.ID)
		}
	}
}

// send sends op as a waiting caller of the instance does.
func (l *live) send(i *instance, op store.Op, want store.Status) {
	l.t.Helper()
	op.Generation = i.generations[op.Key.Org()]
	sent, res := l.s.live(l.t, i.clock, op)
	i.generations[op.Key.Org()] = max(sent.Generation, res.Generation)
	if res.Status != want && (want != store.Applied || res.Status != store.Unchanged) {
		l.t.Fatalf("%s: %s, want %s", describe(sent), name(res.Status), name(want))
	}
	for n, p := range res.Placed {
		if p.Dropped {
			l.t.Fatalf("%s: message %d was dropped", describe(sent), n)
		}
	}
}

// check reads what the callers were told.
func (l *live) check() {
	l.t.Helper()
	l.s.wantValue(l.t, l.value, l.holds)
	got := map[string]bool{}
	for _, id := range ids(l.s.log(l.t, l.conversation, 0)) {
		got[id] = true
	}
	for _, id := range l.standing {
		if !got[id] {
			l.t.Fatalf("%q was acknowledged and is not there: %v", id, got)
		}
	}
	if len(got) != len(l.standing) {
		l.t.Fatalf("%v are there, want %q", got, l.standing)
	}
}
