package storetest

import (
	"slices"

	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// refuses answers a Live operation that cannot be applied.
func (c *conversation) refuses(op store.Op, res *store.Result) bool {
	if op.Generation < c.generation {
		res.Status = store.Stale
		res.Generation = max(res.Generation, c.generation)
		return true
	}
	if op.Generation > c.generation { // what it would find
		floor := c.floor
		c = newConversation(c.key)
		c.floor = floor
	}
	return c.supersedes(op, res) || c.conflicts(op, res)
}

func (c *conversation) supersedes(op store.Op, res *store.Result) bool {
	exceed := laterOf(c.floor, c.trimmedTo.Version)
	superseded := op.Version.Compare(c.floor) < 0
	if op.Action == store.Replace {
		for order := range c.taken {
			exceed = laterOf(exceed, order.Version)
			superseded = superseded || op.Version.Compare(order.Version) < 0
		}
	} else {
		for _, m := range op.Messages {
			superseded = superseded || m.Order(op.Version).Compare(c.trimmedTo) <= 0
		}
	}
	if superseded {
		res.Status, res.Version = store.Superseded, exceed
	}
	return superseded
}

func (c *conversation) conflicts(op store.Op, res *store.Result) bool {
	floor := c.floor
	if op.Action == store.Replace {
		floor = laterOf(floor, op.Version)
	}
	batch, places := map[string][8]byte{}, map[record.Order]string{}
	for _, m := range op.Messages {
		order := m.Order(op.Version)
		digest, repeated := batch[m.ID]
		place, twice := places[order]
		conflict := repeated && digest != m.Digest || twice && place != m.ID
		if id, ok := c.taken[order]; ok && id != m.ID {
			conflict = true
		}
		if e := c.ids[m.ID]; e != nil {
			conflict = conflict || slices.ContainsFunc(e.orders, func(o placedOrder) bool {
				return o.digest != m.Digest && o.order.Version.Compare(floor) >= 0
			})
		}
		if conflict {
			res.Status, res.ConflictID = store.Conflict, m.ID
			return true
		}
		batch[m.ID], places[order] = m.Digest, m.ID
	}
	return false
}
