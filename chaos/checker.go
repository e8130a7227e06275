package main

import (
	"fmt"
	"slices"
)

// breach is the kind of a violation.
type breach uint8

const (
	lost        breach = iota // acknowledged and not there
	duplicated                // there twice
	diverged                  // instances do not agree, or the order is not that of the writes
	resurrected               // erased and there
	invented                  // there and never sent
	stale                     // a read showed less than its instance had acknowledged
	unreadable                // an instance did not answer when all was over
	breaches
)

var breachNames = [...]string{"lost", "duplicated", "diverged", "resurrected", "invented", "stale read", "unreadable"}

// violation is one promise broken.
type violation struct {
	breach   breach
	key      *key
	instance int
	at       instant // of the write that it is about
	read     instant // when a client noticed; 0: it was noticed when all was over
	count    int     // messages or values
	detail   string
	ops      []op // what was done to the key, near the place
}

// The checker is pure: it compares what was acknowledged with what was seen.
//
// What it takes for certain is what the product promises, no more:
//   - An instance gives its writes rising versions, over its restarts too. So of
//     two writes through one instance the later one wins, whenever they land.
//   - What was acknowledged as shared, or acknowledged before a moment at which
//     everything was healthy, has landed. Of two writes through different
//     instances, one that has landed before the other began, and the other
//     acknowledged as shared, the other wins.
//   - An invalidation, once acknowledged, erases what had landed before it began.
//
// Everything else may be either way.
type checker struct{ healthy moments }

// landed tells whether c was in the shared store for certain at t.
func (ch checker) landed(c op, t instant) bool {
	return c.end <= t && (c.outcome == shared || c.outcome != refused && ch.healthy.within(c.end, t))
}

// surely tells whether d, which erases, has erased or replaced c for certain.
func (ch checker) surely(d, c op) bool {
	if !d.erases() || !d.outcome.acknowledged() || c.end > d.start {
		return false
	}
	if d.verb == invalidates || c.verb == invalidates && c.outcome == unknown {
		return ch.landed(c, d.start)
	}
	return c.instance == d.instance || d.outcome == shared && c.outcome != refused && ch.landed(c, d.start)
}

// maybe tells whether d may have erased or replaced c rightfully.
func (ch checker) maybe(d, c op) bool {
	switch {
	case !d.erases() || d.outcome == refused:
		return false
	case d.end > c.start:
		return true // later, or at the same time
	case d.verb == invalidates && d.outcome == unknown:
		return !ch.healthy.within(d.end, c.start)
	case c.instance == d.instance:
		return false
	}
	// The other instance's clock may be ahead, or its write land late.
	return c.outcome != shared || d.outcome != shared && !ch.healthy.within(d.end, c.start)
}

// try is one time that a message was sent.
type try struct {
	number uint32
	op     op
}

// tries returns every message that was sent, ascending by number.
func tries(ops []op) []try {
	var all []try
	for _, o := range ops {
		if o.verb == appends || o.verb == replaces {
			for i := range uint32(o.count) {
				all = append(all, try{o.first + i, o})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b try) int { return int(a.number) - int(b.number) })
	return all
}

func only(ops []op, is func(op) bool) []op {
	var some []op
	for _, o := range ops {
		if is(o) {
			some = append(some, o)
		}
	}
	return some
}

// check compares the last reads of a key, one by each instance, with its ops.
func (ch checker) check(k *key, reads []seen) []violation {
	ops := k.ops
	var all []violation
	var first *seen
	for i := range reads {
		r := &reads[i]
		switch {
		case r.refused:
			all = append(all, violation{breach: unreadable, instance: r.instance, count: 1, detail: "no answer"})
		case first == nil:
			first = r
		case !r.equal(first):
			all = append(all, violation{
				breach: diverged, instance: r.instance, count: 1,
				detail: fmt.Sprintf("%s, but instance %d has %s", r.difference(first), first.instance, first.difference(r)),
			})
		}
	}
	for i, r := range reads {
		if r.refused || first != &reads[i] && r.equal(first) {
			continue // the same is not told twice
		}
		if k.form == conversation {
			all = append(all, ch.messages(ops, r)...)
		} else {
			all = append(all, ch.value(ops, r)...)
		}
	}
	for i := range all {
		all[i].key = k
		all[i].ops = near(ops, all[i].at)
	}
	return all
}

func (s *seen) equal(other *seen) bool {
	return s.found == other.found && slices.Equal(s.numbers, other.numbers)
}

// difference describes what a read has that the other has not.
func (s *seen) difference(other *seen) string {
	var more []uint32
	for _, n := range s.numbers {
		if !slices.Contains(other.numbers, n) {
			more = append(more, n)
		}
	}
	if len(more) == 0 && len(s.numbers) == len(other.numbers) {
		return fmt.Sprintf("another order: %v", s.numbers[:min(10, len(s.numbers))])
	}
	return fmt.Sprintf("%d numbers, %v more", len(s.numbers), more[:min(10, len(more))])
}

// near returns the ops around an instant, for the report.
func near(ops []op, at instant) []op {
	const some = 5
	i := slices.IndexFunc(ops, func(o op) bool { return o.start >= at })
	if i < 0 {
		i = len(ops)
	}
	return slices.Clone(ops[max(0, i-some):min(len(ops), i+2*some)])
}
