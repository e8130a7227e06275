package main

import "fmt"

// result is the number that a write leaves, 0: nothing.
func (o op) result() uint32 {
	if o.verb == sets {
		return o.first
	}
	return 0
}

// before is the state before the first write.
var before = op{verb: deletes, outcome: shared}

// value checks one read of a value when all is over.
func (ch checker) value(ops []op, r seen) []violation {
	got := uint32(0)
	if r.found {
		got = r.numbers[0]
		if got == 0 {
			return []violation{{breach: invented, instance: r.instance, count: 1, detail: "a value that was never sent here"}}
		}
	}
	if v := ch.allowed(ops, got); v != nil {
		v.instance = r.instance
		return []violation{*v}
	}
	return nil
}

// allowed returns nil when a number may be what the ops leave, else what is
// wrong.
func (ch checker) allowed(ops []op, got uint32) *violation {
	winner, known := op{}, got == 0
	if got == 0 {
		if !ch.beaten(ops, before, &winner) {
			return nil
		}
	}
	for _, c := range ops {
		if c.result() != got || got == 0 && c.outcome == refused {
			continue
		}
		known = true
		if !ch.beaten(ops, c, &winner) {
			return nil
		}
	}
	switch {
	case !known:
		return &violation{breach: invented, count: 1, detail: fmt.Sprintf("value %d was never sent", got)}
	case got == 0:
		return &violation{breach: lost, count: 1, at: winner.start, detail: fmt.Sprintf("value %d was acknowledged and there is none", winner.result())}
	case winner.result() == 0:
		return &violation{breach: resurrected, count: 1, at: winner.start, detail: fmt.Sprintf("value %d is there, which %s has erased", got, verbs[winner.verb])}
	}
	return &violation{breach: lost, count: 1, at: winner.start, detail: fmt.Sprintf("value %d is there, but value %d was acknowledged later", got, winner.result())}
}

// beaten tells whether a later write has replaced c for certain, and which.
func (ch checker) beaten(ops []op, c op, by *op) bool {
	for _, d := range ops {
		if d != c && ch.replaced(d, c) {
			*by = d
			return true
		}
	}
	return false
}

// replaced is surely, for writers that each keep to their chain: between
// clients, only one instance's order is certain.
func (ch checker) replaced(d, c op) bool {
	if c == before {
		return d.outcome.acknowledged() && d.verb == sets
	}
	return ch.surely(d, c) && (c.client == d.client || c.instance == d.instance)
}

// readingValue checks a read of a value by a client against what the instance
// that it asked had acknowledged before, in its present life.
func (ch checker) readingValue(ops []op, r seen, begun instant, life uint16) []violation {
	if r.refused {
		return nil
	}
	// What others did may be either way; what this instance acknowledged beats
	// what came before it.
	own := make([]op, 0, len(ops))
	for _, o := range ops {
		if int(o.instance) != r.instance || o.life != life || o.end > begun {
			if o.outcome.acknowledged() {
				o.outcome = unknown
			}
		}
		own = append(own, o)
	}
	got := uint32(0)
	if r.found {
		got = r.numbers[0]
	}
	v := ch.allowed(own, got)
	if v == nil || v.breach == invented {
		return nil // the write that it shows may not have ended yet
	}
	v.breach, v.instance, v.read, v.ops = stale, r.instance, begun, near(ops, v.at)
	v.detail = fmt.Sprintf("a read at %v through the instance: %s", begun, v.detail)
	return []violation{*v}
}
