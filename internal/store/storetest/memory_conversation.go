package storetest

import (
	"slices"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// maxOrders is how many orders of one id are remembered.
const maxOrders = 32

// conversation is the state of one conversation. The lock of Memory guards it.
type conversation struct {
	key         keys.Key
	generation  uint64
	floor       clock.Version
	floorUntil  time.Time
	trimmedTo   record.Order
	ids         map[string]*entry       // all that are remembered
	taken       map[record.Order]string // which id has an order that is remembered
	list        []*entry                // those above trimmedTo, in order
	lastArrival int64
	created     time.Time // zero: no life
	expiresAt   time.Time
}

// entry is what is remembered of one id.
type entry struct {
	id       string
	orders   []placedOrder // ascending; the message stands at the first
	contents map[[8]byte]content
	arrival  int64
}

type placedOrder struct {
	order  record.Order
	digest [8]byte
}

type content struct {
	flags   record.Flags
	payload []byte
}

func (e *entry) order() record.Order { return e.orders[0].order }

func (e *entry) content() content { return e.contents[e.orders[0].digest] }

func newConversation(k keys.Key) *conversation {
	c := &conversation{key: k}
	c.empty()
	return c
}

// empty forgets messages, ids and trimmedTo.
func (c *conversation) empty() {
	c.trimmedTo, c.list = record.Order{}, nil
	c.ids, c.taken = map[string]*entry{}, map[record.Order]string{}
}

func (c *conversation) alive(now time.Time) bool { return now.Before(c.expiresAt) }

func (c *conversation) message(e *entry) record.Message {
	stored := e.content()
	return record.Message{
		Order: e.order(), Generation: c.generation, Arrival: e.arrival, ID: e.id, Flags: stored.flags, Stored: stored.payload,
	}
}

func (c *conversation) entry() store.Entry {
	newest := c.list[len(c.list)-1]
	return store.Entry{Key: c.key, Version: newest.order().Version, Messages: len(c.list), Bytes: c.bytes(), ExpiresAt: c.expiresAt}
}

// bytes is the size of the messages in the list as they would be stored.
func (c *conversation) bytes() int {
	n := 0
	for _, e := range c.list {
		n += len(c.message(e).Append(nil))
	}
	return n
}

// apply takes the steps of package store; expiresAt is that of op.
func (c *conversation) apply(op store.Op, expiresAt time.Time, res *store.Result) {
	onlyFloor := !res.StoreTime.Before(expiresAt) && !c.joins(op, res.StoreTime)
	c.endLife(res.StoreTime)
	switch {
	case op.Mode == store.Live && c.refuses(op, res):
		res.ExpiresAt = c.expiresAt
		return
	case op.Generation < c.generation || onlyFloor:
		res.Status = store.Unchanged
		if op.Action == store.Replace && c.raiseFloor(op.Version) {
			res.Status = store.Applied
			c.keepFloor(op, expiresAt, res.StoreTime)
		}
		for _, m := range op.Messages {
			res.Placed = append(res.Placed, store.Placed{Order: m.Order(op.Version), Dropped: true})
		}
		res.ExpiresAt = c.expiresAt
		return
	case op.Generation > c.generation:
		c.empty()
		c.generation = op.Generation
	}
	changed := op.Action == store.Replace && c.raiseFloor(op.Version)
	inserted := false
	var written []clock.Version // of what this brought
	if changed {
		written = append(written, op.Version)
	}
	for _, m := range op.Messages {
		before, lowest := c.ids[m.ID], record.Order{}
		if before != nil {
			lowest = before.order()
		}
		placed := c.place(m, op.Version, res)
		if !placed.Dropped && (!placed.Duplicate || placed.Order != lowest) {
			written = append(written, placed.Order.Version)
		}
		inserted = inserted || !placed.Dropped && !placed.Duplicate
		changed = changed || inserted || placed.Duplicate && placed.Order != lowest
		res.Placed = append(res.Placed, placed)
	}
	c.trim(op.Window)
	res.Status = store.Unchanged
	if changed {
		res.Status = store.Applied
	}
	if c.created.IsZero() && changed {
		c.created = res.StoreTime
	}
	for _, v := range written {
		if op.Mode == store.Merge {
			c.created = store.Creation(c.created, v)
		}
	}
	if inserted || changed && op.Action == store.Replace {
		c.prolong(op, expiresAt, res.StoreTime)
	}
	res.ExpiresAt = c.expiresAt
}

// joins reports whether a merged operation may join the life of the conversation
// though its own is over.
func (c *conversation) joins(op store.Op, now time.Time) bool {
	return op.Mode == store.Merge && op.Action != store.Set && c.alive(now) && op.Generation <= c.generation
}

// raisesOnly reports whether of an operation whose life is over the floor remains.
func raisesOnly(op store.Op) bool {
	return op.Mode == store.Merge && op.Action == store.Replace && op.Keep > 0
}

// endLife empties a state whose life has ended.
func (c *conversation) endLife(now time.Time) {
	if c.alive(now) {
		return
	}
	c.empty()
	c.created = time.Time{}
	if !now.Before(c.floorUntil) {
		c.floor = clock.Version{}
	}
}

// raiseFloor forgets the orders below v and tells whether v is a new floor.
func (c *conversation) raiseFloor(v clock.Version) bool {
	if v.Compare(c.floor) <= 0 {
		return false
	}
	c.floor = v
	c.list = nil
	for id, e := range c.ids {
		e.orders = slices.DeleteFunc(e.orders, func(o placedOrder) bool {
			below := o.order.Version.Compare(v) < 0
			if below {
				delete(c.taken, o.order)
			}
			return below
		})
		if len(e.orders) == 0 {
			delete(c.ids, id)
		} else if e.order().Compare(c.trimmedTo) > 0 {
			c.list = append(c.list, e)
		}
	}
	slices.SortFunc(c.list, func(a, b *entry) int { return a.order().Compare(b.order()) })
	return true
}

// place puts one message where it belongs.
func (c *conversation) place(m store.Message, v clock.Version, res *store.Result) store.Placed {
	order := m.Order(v)
	e := c.ids[m.ID]
	id, taken := c.taken[order]
	switch {
	case order.Version.Compare(c.floor) < 0 || order.Compare(c.trimmedTo) <= 0 || taken && id != m.ID:
		if e != nil {
			return store.Placed{Order: e.order(), Duplicate: true, Dropped: true}
		}
		return store.Placed{Order: order, Dropped: true}
	case e == nil:
		c.lastArrival = max(res.StoreTime.UnixMicro(), c.lastArrival+1)
		e = &entry{id: m.ID, arrival: c.lastArrival, contents: map[[8]byte]content{}}
		c.ids[m.ID] = e
		c.remember(e, order, m)
		c.insert(e)
		return store.Placed{Order: order}
	case e.order().Compare(c.trimmedTo) > 0 && !taken:
		c.remove(e)
		c.remember(e, order, m)
		c.insert(e)
	}
	return store.Placed{Order: e.order(), Duplicate: true}
}

// remember adds an order to an id, with the content that came with it.
func (c *conversation) remember(e *entry, order record.Order, m store.Message) {
	at, _ := slices.BinarySearchFunc(e.orders, order, func(o placedOrder, order record.Order) int { return o.order.Compare(order) })
	e.orders = slices.Insert(e.orders, at, placedOrder{order, m.Digest})
	c.taken[order] = e.id
	if _, ok := e.contents[m.Digest]; !ok {
		e.contents[m.Digest] = content{m.Flags, m.Payload}
	}
	if len(e.orders) > maxOrders {
		delete(c.taken, e.orders[maxOrders-1].order)
		e.orders = slices.Delete(e.orders, maxOrders-1, maxOrders)
	}
}

func (c *conversation) find(e *entry) int {
	at, _ := slices.BinarySearchFunc(c.list, e.order(), func(e *entry, order record.Order) int { return e.order().Compare(order) })
	return at
}

func (c *conversation) insert(e *entry) { c.list = slices.Insert(c.list, c.find(e), e) }

func (c *conversation) remove(e *entry) {
	at := c.find(e)
	c.list = slices.Delete(c.list, at, at+1)
}

// trim bounds the list, and then the ids.
func (c *conversation) trim(w store.Window) {
	size := 0
	if w.Bytes > 0 {
		size = c.bytes()
	}
	if len(c.list) > w.Messages+w.Slack || w.Bytes > 0 && size > w.Bytes*9/8 {
		gone := 0
		for gone < len(c.list)-1 && (len(c.list)-gone > w.Messages || w.Bytes > 0 && size > w.Bytes) {
			size -= len(c.message(c.list[gone]).Append(nil))
			gone++
		}
		if gone > 0 {
			c.trimmedTo = c.list[gone-1].order()
			c.list = slices.Clone(c.list[gone:])
		}
	}
	if keep := max(w.IDs, w.Messages+w.Slack); len(c.ids) > 2*keep {
		c.forget(keep)
	}
}

// forget keeps the newest n ids, and those in the list.
func (c *conversation) forget(n int) {
	all := make([]*entry, 0, len(c.ids))
	for _, e := range c.ids {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int { return a.order().Compare(b.order()) })
	for _, e := range all[:len(all)-n] {
		if e.order().Compare(c.trimmedTo) <= 0 {
			delete(c.ids, e.id)
			for _, o := range e.orders {
				delete(c.taken, o.order)
			}
		}
	}
}

// prolong gives the conversation the life of op.
func (c *conversation) prolong(op store.Op, expiresAt, now time.Time) {
	if bound := c.created.Add(op.MaxLife); op.MaxLife > 0 && expiresAt.After(bound) {
		expiresAt = bound
	}
	c.expiresAt = latestOf(c.expiresAt, expiresAt)
	if op.Action == store.Replace {
		c.keepFloor(op, expiresAt, now)
	}
}

// keepFloor remembers the floor for the life of op, and at least for Keep.
func (c *conversation) keepFloor(op store.Op, expiresAt, now time.Time) {
	c.floorUntil = latestOf(c.floorUntil, latestOf(expiresAt, now.Add(op.Keep)))
}

func laterOf(a, b clock.Version) clock.Version {
	if a.Compare(b) > 0 {
		return a
	}
	return b
}

func latestOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
