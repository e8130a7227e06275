package redisstore

import (
	"strings"

	"github.com/jackcache/jackcache/internal/store"
)

// slotCount is the number of slots of a Cluster.
const slotCount = 1 << 14

// layout says which node serves which key. It is never changed: a new one takes
// its place.
type layout struct {
	masters []*node
	// slots has, for each slot, 1 + the index of its master; 0: nobody serves it.
	// Nil: there is one master, which has everything.
	slots *[slotCount]uint16
	// covers are those of the masters, each for as long as its slots stay the same;
	// nil: nobody listens.
	covers []*store.Cover
}

// node returns the master of a key, nil where there is none.
func (l *layout) node(key string) *node {
	if l.slots == nil {
		if len(l.masters) == 0 {
			return nil
		}
		return l.masters[0]
	}
	if i := l.slots[slotOf(key)]; i != 0 {
		return l.masters[i-1]
	}
	return nil
}

// covered reports how many slots have a master.
func (l *layout) covered() int {
	if l.slots == nil {
		return slotCount
	}
	n := 0
	for _, i := range l.slots {
		if i != 0 {
			n++
		}
	}
	return n
}

// part is a master and its lowest slot.
type part struct {
	node *node
	low  int
}

// parts returns the masters by their lowest slot. One without slots is left out.
func (l *layout) parts() []part {
	if l.slots == nil {
		if len(l.masters) == 0 {
			return nil
		}
		return []part{{node: l.masters[0]}}
	}
	var all []part
	seen := make(map[uint16]bool)
	for slot, i := range l.slots {
		if i != 0 && !seen[i] {
			seen[i] = true
			all = append(all, part{node: l.masters[i-1], low: slot})
		}
	}
	return all
}

// with returns a layout in which n, one of the masters, has the slot.
func (l *layout) with(slot int, n *node) *layout {
	for i, m := range l.masters {
		if m == n && l.slots != nil {
			slots := *l.slots
			slots[slot] = uint16(i + 1)
			return &layout{masters: l.masters, slots: &slots, covers: l.covers}
		}
	}
	return l
}

// serves reports whether a master of a Cluster has slots.
func (l *layout) serves(n *node) bool {
	if l.slots == nil {
		return false
	}
	for _, i := range l.slots {
		if i != 0 && l.masters[i-1] == n {
			return true
		}
	}
	return false
}

func (l *layout) has(n *node) bool {
	for _, m := range l.masters {
		if m == n {
			return true
		}
	}
	return false
}

// slotOf returns the slot of a key: CRC16 (XMODEM) of the key, or of what is
// between its first braces.
//
// See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
func slotOf(key string) int {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if n := strings.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return int(crc % slotCount)
}

var crcTable = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[i] = crc
	}
	return t
}()
