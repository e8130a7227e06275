package redisstore

import (
	"math/bits"
	"strconv"
	"strings"
)

// slotSet is a set of slots of a Cluster.
type slotSet [slotCount / 64]uint64

func (s *slotSet) add(slot int)      { s[slot/64] |= 1 << (slot % 64) }
func (s *slotSet) has(slot int) bool { return s[slot/64]&(1<<(slot%64)) != 0 }

func (s slotSet) empty() bool { return s == slotSet{} }

func (s slotSet) and(o slotSet) slotSet {
	for i := range s {
		s[i] &= o[i]
	}
	return s
}

func (s slotSet) or(o slotSet) slotSet {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

func (s slotSet) without(o slotSet) slotSet {
	for i := range s {
		s[i] &^= o[i]
	}
	return s
}

func (s slotSet) count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// String has the slots in ranges: "0-5460,7000".
func (s slotSet) String() string {
	var b strings.Builder
	for low := 0; low < slotCount; low++ {
		if !s.has(low) {
			continue
		}
		high := low
		for high+1 < slotCount && s.has(high+1) {
			high++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(low))
		if high > low {
			b.WriteString("-" + strconv.Itoa(high))
		}
		low = high
	}
	return b.String()
}

// parseSlots reads what String wrote; what it cannot read has no slots.
func parseSlots(text string) (s slotSet) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err1 := strconv.Atoi(first)
		high, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || low < 0 || high >= slotCount {
			return slotSet{}
		}
		for slot := low; slot <= high; slot++ {
			s.add(slot)
		}
	}
	return s
}

// slotsOf returns the slots of a master.
func (l *layout) slotsOf(n *node) (s slotSet) {
	if l.slots == nil {
		return s
	}
	for slot, i := range l.slots {
		if i != 0 && l.masters[i-1] == n {
			s.add(slot)
		}
	}
	return s
}
