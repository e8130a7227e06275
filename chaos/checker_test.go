package main

import (
	"strings"
	"testing"
)

// at makes an op that lasts from start to end.
func at(start, end instant, instance uint8, v verb, o outcome, first uint32, count uint8) op {
	return op{start: start, end: end, instance: instance, client: uint16(instance), life: 1, verb: v, outcome: o, first: first, count: count}
}

// by makes another client's op of it.
func by(client uint16, o op) op {
	o.client = client
	return o
}

// everywhere is what two instances read.
func everywhere(found bool, numbers ...uint32) []seen {
	return []seen{{instance: 0, found: found, numbers: numbers}, {instance: 1, found: found, numbers: numbers}}
}

// A history is one line of what happened and what was seen; want are the
// breaches, in words.
func TestChecker(t *testing.T) {
	set := func(s, e instant, i uint8, o outcome, n uint32) op { return at(s, e, i, sets, o, n, 0) }
	add := func(s, e instant, i uint8, o outcome, n uint32, c uint8) op { return at(s, e, i, appends, o, n, c) }
	do := func(s, e instant, i uint8, v verb, o outcome) op { return at(s, e, i, v, o, 0, 0) }
	for _, c := range []struct {
		name    string
		form    form
		ops     []op
		reads   []seen
		healthy moments
		want    string
	}{
		// Conversations to which is only appended.
		{name: "all there", ops: []op{add(1, 2, 0, shared, 1, 2), add(3, 4, 1, pending, 3, 1)}, reads: everywhere(false, 1, 2, 3)},
		{name: "nothing was written", reads: everywhere(false)},
		{name: "one is lost", ops: []op{add(1, 2, 0, shared, 1, 3)}, reads: everywhere(false, 1, 3), want: "lost"},
		{name: "a pending one is lost", ops: []op{add(1, 2, 0, pending, 1, 1)}, reads: everywhere(false), want: "lost"},
		{name: "unknown and not there", ops: []op{add(1, 2, 0, unknown, 1, 1)}, reads: everywhere(false)},
		{name: "unknown and there", ops: []op{add(1, 2, 0, unknown, 1, 1)}, reads: everywhere(false, 1)},
		{name: "refused and there", ops: []op{add(1, 2, 0, refused, 1, 1)}, reads: everywhere(false, 1)},
		{name: "unknown, sent again, and twice", ops: []op{add(1, 2, 0, unknown, 1, 1), add(3, 4, 1, shared, 1, 1)}, reads: everywhere(false, 1, 1), want: "duplicated"},
		{name: "unknown, sent again, and lost", ops: []op{add(1, 2, 0, unknown, 1, 1), add(3, 4, 1, shared, 1, 1)}, reads: everywhere(false), want: "lost"},
		{name: "never sent", ops: []op{add(1, 2, 0, shared, 1, 1)}, reads: everywhere(false, 1, 7), want: "invented"},
		{name: "another key's", reads: everywhere(false, 0), want: "invented"},
		{name: "one writer's order", ops: []op{add(1, 2, 0, shared, 1, 1), add(3, 4, 0, shared, 2, 1)}, reads: everywhere(false, 2, 1), want: "diverged"},
		{name: "two writers' order", ops: []op{add(1, 2, 0, shared, 1, 1), add(3, 4, 1, shared, 2, 1)}, reads: everywhere(false, 2, 1)},
		{name: "order with one sent again elsewhere", ops: []op{add(1, 2, 0, unknown, 1, 1), by(0, add(3, 4, 1, shared, 1, 1)), add(5, 6, 0, shared, 2, 1)}, reads: everywhere(false, 2, 1)},
		{name: "two orders", ops: []op{add(1, 2, 0, shared, 1, 1), add(3, 4, 1, shared, 2, 1)},
			reads: []seen{{instance: 0, numbers: []uint32{1, 2}}, {instance: 1, numbers: []uint32{2, 1}}}, want: "diverged"},
		{name: "one instance has less", ops: []op{add(1, 2, 0, shared, 1, 1)},
			reads: []seen{{instance: 0, numbers: []uint32{1}}, {instance: 1}}, want: "diverged lost"},
		{name: "one instance does not answer", ops: []op{add(1, 2, 0, shared, 1, 1)},
			reads: []seen{{instance: 0, refused: true}, {instance: 1, numbers: []uint32{1}}}, want: "unreadable"},

		// Conversations with clears and replacements, one writer.
		{name: "cleared", ops: []op{add(1, 2, 0, shared, 1, 1), do(3, 4, 0, clears, shared), add(5, 6, 0, shared, 2, 1)}, reads: everywhere(false, 2)},
		{name: "back after a clear", ops: []op{add(1, 2, 0, shared, 1, 1), do(3, 4, 0, clears, shared), add(5, 6, 0, shared, 2, 1)}, reads: everywhere(false, 1, 2), want: "resurrected"},
		{name: "a pending one back after a pending clear", ops: []op{add(1, 2, 0, pending, 1, 1), do(3, 4, 0, clears, pending)}, reads: everywhere(false, 1), want: "resurrected"},
		{name: "an unknown one after a clear", ops: []op{add(1, 2, 0, unknown, 1, 1), do(3, 4, 0, clears, shared)}, reads: everywhere(false, 1)},
		{name: "an unknown clear, done", ops: []op{add(1, 2, 0, shared, 1, 1), do(3, 4, 0, clears, unknown)}, reads: everywhere(false)},
		{name: "an unknown clear, not done", ops: []op{add(1, 2, 0, shared, 1, 1), do(3, 4, 0, clears, unknown)}, reads: everywhere(false, 1)},
		{name: "a refused clear, done", ops: []op{add(1, 2, 0, shared, 1, 1), do(3, 4, 0, clears, refused)}, reads: everywhere(false), want: "lost"},
		{name: "cleared late", ops: []op{do(1, 2, 0, clears, pending), add(3, 4, 0, pending, 1, 1)}, reads: everywhere(false), want: "lost"},
		{name: "replaced", ops: []op{add(1, 2, 0, shared, 1, 2), at(3, 4, 0, replaces, shared, 3, 2)}, reads: everywhere(false, 3, 4)},
		{name: "a replacement lost", ops: []op{add(1, 2, 0, shared, 1, 1), at(3, 4, 0, replaces, shared, 2, 2)}, reads: everywhere(false, 2), want: "lost"},
		{name: "back after a replacement", ops: []op{add(1, 2, 0, shared, 1, 1), at(3, 4, 0, replaces, shared, 2, 1)}, reads: everywhere(false, 1, 2), want: "resurrected"},

		// Invalidated organisations and forgotten persons.
		{name: "back after an invalidation", ops: []op{add(1, 2, 1, shared, 1, 1), do(3, 4, 0, invalidates, shared)}, reads: everywhere(false, 1), want: "resurrected"},
		{name: "back after a pending invalidation", ops: []op{add(1, 2, 1, shared, 1, 1), do(3, 4, 0, invalidates, pending)}, reads: everywhere(false, 1), want: "resurrected"},
		{name: "pending before an invalidation", ops: []op{add(1, 2, 0, pending, 1, 1), do(3, 4, 0, invalidates, shared)}, reads: everywhere(false, 1)},
		{name: "pending, then healthy, then an invalidation", ops: []op{add(1, 2, 0, pending, 1, 1), do(9, 10, 0, invalidates, shared)},
			healthy: moments{{3, 4}}, reads: everywhere(false, 1), want: "resurrected"},
		{name: "healthy only in part before an invalidation", ops: []op{add(1, 2, 0, pending, 1, 1), do(9, 10, 0, invalidates, shared)},
			healthy: moments{{1, 4}, {3, 9 + 1}}, reads: everywhere(false, 1)},
		{name: "after an invalidation, same instance", ops: []op{do(1, 2, 0, invalidates, pending), add(3, 4, 0, pending, 1, 1)}, reads: everywhere(false), want: "lost"},
		{name: "after a shared invalidation, other instance", ops: []op{do(1, 2, 0, invalidates, shared), by(0, add(3, 4, 1, shared, 1, 1))}, reads: everywhere(false), want: "lost"},
		{name: "after a pending invalidation, other instance", ops: []op{do(1, 2, 0, invalidates, pending), by(0, add(3, 4, 1, shared, 1, 1))}, reads: everywhere(false)},
		{name: "after an unknown invalidation", ops: []op{do(1, 2, 0, invalidates, unknown), add(3, 4, 0, shared, 1, 1)}, reads: everywhere(false)},
		{name: "long after an unknown invalidation", ops: []op{do(1, 2, 0, invalidates, unknown), add(9, 10, 0, shared, 1, 1)},
			healthy: moments{{3, 4}}, reads: everywhere(false), want: "lost"},
		{name: "back after a person was forgotten elsewhere", ops: []op{by(0, add(1, 2, 1, shared, 1, 1)), do(3, 4, 0, forgets, shared)}, reads: everywhere(false, 1), want: "resurrected"},

		// Values.
		{name: "the last value", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), set(3, 4, 0, shared, 2)}, reads: everywhere(true, 2)},
		{name: "an older value", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), set(3, 4, 0, pending, 2)}, reads: everywhere(true, 1), want: "lost"},
		{name: "no value", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1)}, reads: everywhere(false), want: "lost"},
		{name: "a later attempt", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), set(3, 4, 0, unknown, 2)}, reads: everywhere(true, 2)},
		{name: "a later attempt that failed", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), set(3, 4, 0, unknown, 2)}, reads: everywhere(true, 1)},
		{name: "an unknown one that lands late", form: agentConfig, ops: []op{set(1, 2, 0, unknown, 1), set(3, 4, 0, shared, 2)}, reads: everywhere(true, 1), want: "lost"},
		{name: "a refused deletion", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), do(3, 4, 0, deletes, refused)}, reads: everywhere(false), want: "lost"},
		{name: "an unknown deletion", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), do(3, 4, 0, deletes, unknown)}, reads: everywhere(false)},
		{name: "back after a deletion", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), do(3, 4, 0, deletes, shared)}, reads: everywhere(true, 1), want: "resurrected"},
		{name: "set after a deletion", form: agentConfig, ops: []op{do(1, 2, 0, deletes, shared), set(3, 4, 0, shared, 1)}, reads: everywhere(true, 1)},
		{name: "never set", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1)}, reads: everywhere(true, 5), want: "invented"},
		{name: "another key's value", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1)}, reads: everywhere(true, 0), want: "invented"},
		{name: "two writers, either", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), set(3, 4, 1, shared, 2)}, reads: everywhere(true, 1)},
		{name: "one client through two instances", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), by(0, set(3, 4, 1, shared, 2))}, reads: everywhere(true, 1), want: "lost"},
		{name: "pending here, then shared there", form: agentConfig, ops: []op{set(1, 2, 0, pending, 1), by(0, set(3, 4, 1, shared, 2))}, reads: everywhere(true, 1)},
		{name: "instances differ", form: agentConfig, ops: []op{set(1, 2, 0, shared, 1), set(3, 4, 1, shared, 2)},
			reads: []seen{{instance: 0, found: true, numbers: []uint32{1}}, {instance: 1, found: true, numbers: []uint32{2}}}, want: "diverged"},
		{name: "a value back after an invalidation", form: summary, ops: []op{set(1, 2, 0, shared, 1), do(3, 4, 0, invalidates, shared)}, reads: everywhere(true, 1), want: "resurrected"},
		{name: "a value after an invalidation", form: summary, ops: []op{do(1, 2, 0, invalidates, shared), set(3, 4, 0, pending, 1)}, reads: everywhere(false), want: "lost"},
		{name: "a value after an unknown invalidation", form: summary, ops: []op{do(1, 2, 0, invalidates, unknown), set(3, 4, 0, shared, 1)}, reads: everywhere(false)},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &key{id: 1, form: c.form, org: "o", ops: c.ops}
			var got []string
			for _, v := range (checker{c.healthy}).check(k, c.reads) {
				got = append(got, breachNames[v.breach])
			}
			if have := strings.Join(got, " "); have != c.want {
				t.Errorf("found %q, want %q", have, c.want)
			}
		})
	}
}

// A client reads through an instance what the instance has acknowledged.
func TestReading(t *testing.T) {
	ops := []op{
		at(1, 2, 0, appends, shared, 1, 2), at(3, 4, 0, appends, pending, 3, 1), at(5, 6, 1, appends, shared, 4, 1),
		at(7, 8, 0, appends, unknown, 5, 1), at(20, 30, 0, appends, shared, 6, 1),
	}
	for _, c := range []struct {
		name  string
		s     seen
		life  uint16
		last  int
		stale bool
	}{
		{name: "all", s: seen{numbers: []uint32{1, 2, 3, 4, 5}}, life: 1},
		{name: "without another instance's", s: seen{numbers: []uint32{1, 2, 3}}, life: 1},
		{name: "refused", s: seen{refused: true}, life: 1},
		{name: "one less", s: seen{numbers: []uint32{1, 2}}, life: 1, stale: true},
		{name: "nothing", life: 1, stale: true},
		{name: "nothing in another life", life: 2},
		{name: "the newest", s: seen{numbers: []uint32{2, 3}}, life: 1, last: 2},
		{name: "a gap in the newest", s: seen{numbers: []uint32{2, 4}}, life: 1, last: 2, stale: true},
		{name: "fewer than asked for", s: seen{numbers: []uint32{2, 3}}, life: 1, last: 3, stale: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := len((checker{}).reading(ops, c.s, 10, c.life, c.last)) > 0; got != c.stale {
				t.Errorf("stale is %v, want %v", got, c.stale)
			}
		})
	}
	cleared := append(ops[:2:2], at(5, 6, 0, clears, pending, 0, 0))
	if v := (checker{}).reading(cleared, seen{}, 10, 1, 0); len(v) > 0 {
		t.Errorf("what was cleared is missed: %v", v)
	}
}

func TestReadingValue(t *testing.T) {
	ops := []op{
		at(1, 2, 0, sets, shared, 1, 0), at(3, 4, 0, sets, pending, 2, 0), at(5, 6, 0, sets, unknown, 3, 0), at(20, 30, 0, deletes, shared, 0, 0),
	}
	value := func(n uint32) seen { return seen{found: true, numbers: []uint32{n}} }
	for _, c := range []struct {
		name  string
		s     seen
		life  uint16
		stale bool
	}{
		{name: "the last", s: value(2), life: 1},
		{name: "a later attempt", s: value(3), life: 1},
		{name: "refused", s: seen{refused: true}, life: 1},
		{name: "an older one", s: value(1), life: 1, stale: true},
		{name: "an older one in another life", s: value(1), life: 2},
		{name: "deleted by what had not ended", life: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := len((checker{}).readingValue(ops, c.s, 10, c.life)) > 0; got != c.stale {
				t.Errorf("stale is %v, want %v", got, c.stale)
			}
		})
	}
	if v := (checker{}).readingValue(ops[:2], seen{}, 10, 1); len(v) != 1 {
		t.Error("a value that was acknowledged and is not shown was not missed")
	}
}

func TestNumberIsOfItsKey(t *testing.T) {
	k, other := &key{id: 3}, &key{id: 33}
	if n := k.number(k.text(7)); n != 7 {
		t.Errorf("number is %d, want 7", n)
	}
	for _, text := range []string{other.text(7), "", "3", "3.", "3.x", "3.-1", "3.99999999999"} {
		if n := k.number(text); n != 0 {
			t.Errorf("number of %q is %d, want 0", text, n)
		}
	}
}
