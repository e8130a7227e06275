package storetest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// model is what a set of merged operations means. It knows no order in which
// they came: everything it tells is a maximum, or a filter over all of them.
// It knows no trimming and no expiry.
type model struct {
	ops    []store.Op
	raised []raised
}

// raised is one raise of a generation.
type raised struct {
	org        keys.Org
	generation uint64
}

// generation of an organisation: the highest it was raised to.
func (m model) generation(o keys.Org) uint64 {
	g := uint64(0)
	for _, r := range m.raised {
		if r.org == o {
			g = max(g, r.generation)
		}
	}
	return g
}

// value of a key: the operation with the highest generation and version.
func (m model) value(k keys.Key) (store.Op, bool) {
	var sets []store.Op
	for _, op := range m.ops {
		if op.Key == k && op.Action == store.Set {
			sets = append(sets, op)
		}
	}
	if len(sets) == 0 {
		return store.Op{}, false
	}
	return slices.MaxFunc(sets, func(a, b store.Op) int {
		return cmp.Or(cmp.Compare(a.Generation, b.Generation), a.Version.Compare(b.Version))
	}), true
}

// standing is a message where the model has it.
type standing struct {
	order      record.Order
	generation uint64
	message    store.Message
}

// bounds of a conversation: the highest generation, and the highest Replace.
func (m model) bounds(k keys.Key) (generation uint64, floor clock.Version) {
	for _, op := range m.ops {
		if op.Key == k {
			generation = max(generation, op.Generation)
			if op.Action == store.Replace && op.Version.Compare(floor) > 0 {
				floor = op.Version
			}
		}
	}
	return generation, floor
}

// within returns the messages that operations of a generation brought at or
// above a floor: each id once, at its lowest order.
func (m model) within(k keys.Key, generation uint64, floor clock.Version) map[string]standing {
	lowest := map[string]standing{}
	for _, op := range m.ops {
		if op.Key != k || op.Generation != generation {
			continue
		}
		for _, msg := range op.Messages {
			order := msg.Order(op.Version)
			has, ok := lowest[msg.ID]
			if order.Version.Compare(floor) >= 0 && (!ok || order.Compare(has.order) < 0) {
				lowest[msg.ID] = standing{order, generation, msg}
			}
		}
	}
	return lowest
}

// messages of a conversation that a reader sees, in order.
func (m model) messages(k keys.Key) []standing {
	generation, floor := m.bounds(k)
	if generation < m.generation(k.Org()) {
		return nil
	}
	all := slices.Collect(maps.Values(m.within(k, generation, floor)))
	slices.SortFunc(all, func(a, b standing) int { return a.order.Compare(b.order) })
	return all
}

// with returns the model of one operation more.
func (m model) with(op store.Op) model {
	m.ops = append(slices.Clip(m.ops), op)
	return m
}

// answer is what a merged operation is to be answered, where nothing is
// trimmed. Of an id that op brings twice nothing is told.
func (m model) answer(op store.Op) (store.Status, map[int]store.Placed) {
	if op.Action == store.Set {
		return m.answerSet(op), nil
	}
	after := m.with(op)
	_, floorBefore := m.bounds(op.Key)
	generation, floor := after.bounds(op.Key)
	before, now := m.within(op.Key, generation, floor), after.within(op.Key, generation, floor)
	count := map[string]int{}
	for _, msg := range op.Messages {
		count[msg.ID]++
	}
	changed := floor != floorBefore
	placed := map[int]store.Placed{}
	for i, msg := range op.Messages {
		was, known := before[msg.ID]
		order := msg.Order(op.Version)
		dropped := op.Generation < generation || order.Version.Compare(floor) < 0
		changed = changed || !dropped && (!known || order.Compare(was.order) < 0)
		if count[msg.ID] == 1 {
			placed[i] = store.Placed{Order: now[msg.ID].order, Duplicate: known, Dropped: dropped}
		}
	}
	if changed {
		return store.Applied, placed
	}
	return store.Unchanged, placed
}

func (m model) answerSet(op store.Op) store.Status {
	old, ok := m.value(op.Key)
	switch {
	case !ok || old.Generation < op.Generation:
		return store.Applied
	case old.Generation > op.Generation:
		return store.Stale
	case old.Version.Compare(op.Version) > 0:
		return store.Superseded
	case old.Version == op.Version:
		return store.Unchanged
	}
	return store.Applied
}
