package main

import "fmt"

// messages checks one read of a whole conversation.
func (ch checker) messages(ops []op, r seen) []violation {
	var all []violation
	tell := func(b breach, at instant, format string, args ...any) {
		all = append(all, violation{breach: b, instance: r.instance, at: at, count: 1, detail: fmt.Sprintf(format, args...)})
	}
	place := make(map[uint32]int, len(r.numbers)) // from 1
	for i, n := range r.numbers {
		if place[n] != 0 {
			tell(duplicated, 0, "message %d is at %d and %d", n, place[n]-1, i)
			continue
		}
		place[n] = i + 1
	}
	erasers := only(ops, op.erases)
	sent := tries(ops)
	streams := map[stream]order{}
	for i := 0; i < len(sent); {
		j := i + 1
		for j < len(sent) && sent[j].number == sent[i].number {
			j++
		}
		n, same := sent[i].number, sent[i:j]
		i = j
		at, there := place[n], place[n] != 0
		delete(place, n)
		if there && ch.allErased(erasers, same) {
			tell(resurrected, same[0].op.start, "message %d was erased and is at %d", n, at-1)
		}
		if c, must := ch.acknowledged(erasers, same); must && !there {
			tell(lost, c.start, "message %d was acknowledged and is not there", n)
		}
		if there && len(same) == 1 && same[0].op.outcome.acknowledged() {
			s := stream{same[0].op.client, same[0].op.instance}
			if before := streams[s]; before.at > at {
				tell(diverged, same[0].op.start, "message %d is before message %d, which the same client wrote earlier", n, before.number)
			}
			streams[s] = order{n, at}
		}
	}
	for n := range place {
		tell(invented, 0, "message %d was never sent", n)
	}
	return all
}

// stream is the writes of one client through one instance, which keep their
// order.
type stream struct {
	client   uint16
	instance uint8
}

type order struct {
	number uint32
	at     int
}

// allErased tells whether every time that a message was sent was followed by
// what has erased it for certain. Only what was acknowledged counts: what was
// not may be either way.
func (ch checker) allErased(erasers []op, same []try) bool {
	for _, t := range same {
		if !t.op.outcome.acknowledged() || !ch.erased(erasers, t.op) {
			return false
		}
	}
	return true
}

func (ch checker) erased(erasers []op, c op) bool {
	for _, d := range erasers {
		if ch.surely(d, c) {
			return true
		}
	}
	return false
}

// acknowledged returns the write that makes a message one that must be there.
func (ch checker) acknowledged(erasers []op, same []try) (op, bool) {
	for _, t := range same {
		if t.op.outcome.acknowledged() && !ch.perhapsErased(erasers, t.op) {
			return t.op, true
		}
	}
	return op{}, false
}

func (ch checker) perhapsErased(erasers []op, c op) bool {
	for _, d := range erasers {
		if d != c && ch.maybe(d, c) {
			return true
		}
	}
	return false
}

// reading checks a read of the newest last messages (0: all) by a client against
// what the instance that it asked had acknowledged before, in its present life.
// Ops are those of the key until now.
func (ch checker) reading(ops []op, r seen, begun instant, life uint16, last int) []violation {
	if r.refused {
		return nil
	}
	there := make(map[uint32]bool, len(r.numbers))
	lowest := ^uint32(0)
	for _, n := range r.numbers {
		there[n] = true
		lowest = min(lowest, n)
	}
	whole := last == 0 || len(r.numbers) < last
	erasers := only(ops, op.erases)
	for _, o := range ops {
		if o.verb != appends && o.verb != replaces || !o.outcome.acknowledged() ||
			o.end > begun || int(o.instance) != r.instance || o.life != life || ch.perhapsErased(erasers, o) {
			continue
		}
		for n := o.first; n < o.first+uint32(o.count); n++ {
			if !there[n] && (whole || n > lowest) {
				return []violation{{breach: stale, instance: r.instance, at: o.start, read: begun, count: 1, ops: near(ops, o.start),
					detail: fmt.Sprintf("a read at %v through the instance does not show message %d, which it had acknowledged", begun, n)}}
			}
		}
	}
	return nil
}
