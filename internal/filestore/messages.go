package filestore

import (
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// add inserts a message whose id is not remembered.
func (c *conversation) add(m store.Message, o record.Order) error {
	if err := c.create(); err != nil {
		return err
	}
	if err := c.list(c.message(m, o, c.arrive())); err != nil {
		return err
	}
	c.ids++
	if err := c.t.put(c.b, c.at.orderRow(rowOrder, o), []byte(m.ID)); err != nil {
		return err
	}
	return c.t.put(c.b, c.at.idRow(m.ID), places{{order: o, digest: m.Digest}}.encode())
}

// list puts a message into the list.
func (c *conversation) list(m record.Message) error {
	v := m.Append(nil)
	c.messages++
	c.bytes += int64(len(v))
	return c.t.put(c.b, c.at.orderRow(rowMessage, m.Order), v)
}

// unlist takes the row of a message out of the list, if it is there.
func (c *conversation) unlist(o record.Order, v []byte) error {
	if v == nil {
		return nil
	}
	c.messages--
	c.bytes -= int64(len(v))
	return c.t.delete(c.b, c.at.orderRow(rowMessage, o))
}

// settle changes what is remembered of an id from old to next and brings its
// rows into the state that follows: each content is kept once, at the lowest
// order beyond the window that came with it, in the list if the message stands
// there. Brought is the content that came with an order of next, or nil.
func (c *conversation) settle(id string, old, next places, brought *store.Message) error {
	contents, arrival, err := c.lift(old)
	if err != nil {
		return err
	}
	if brought != nil {
		if _, known := contents[brought.Digest]; !known {
			contents[brought.Digest] = c.message(*brought, record.Order{}, 0)
		}
	}
	if err := c.remember(id, old, next); err != nil {
		return err
	}
	for i, p := range next {
		m, ok := contents[p.digest]
		if !ok || p.order.Compare(c.trimmedTo) <= 0 {
			continue
		}
		delete(contents, p.digest)
		m.Order = p.order
		if i > 0 {
			if err := c.t.put(c.b, c.at.orderRow(rowSpare, p.order), m.Append(nil)); err != nil {
				return err
			}
			continue
		}
		if m.Arrival = arrival; arrival == 0 {
			m.Arrival = c.arrive()
		}
		if err := c.list(m); err != nil {
			return err
		}
	}
	return nil
}

// lift removes the contents of an id from the rows and returns them, with the
// arrival of the message where it stood in the list.
func (c *conversation) lift(old places) (contents map[digest]record.Message, arrival int64, err error) {
	contents = make(map[digest]record.Message, 1)
	for i, p := range old {
		kind := byte(rowSpare)
		if i == 0 {
			kind = rowMessage
		}
		name := c.at.orderRow(kind, p.order)
		v := c.b.Get(name)
		if v == nil {
			continue
		}
		m, err := record.ParseMessage(v)
		if err != nil {
			return nil, 0, err
		}
		contents[p.digest] = m
		if i == 0 {
			arrival = m.Arrival
			err = c.unlist(p.order, v)
		} else {
			err = c.t.delete(c.b, name)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return contents, arrival, nil
}

// remember writes the rows that say which orders an id has.
func (c *conversation) remember(id string, old, next places) error {
	for _, p := range old {
		if !next.has(p.order) {
			if err := c.t.delete(c.b, c.at.orderRow(rowOrder, p.order)); err != nil {
				return err
			}
		}
	}
	for _, p := range next {
		if !old.has(p.order) {
			if err := c.t.put(c.b, c.at.orderRow(rowOrder, p.order), []byte(id)); err != nil {
				return err
			}
		}
	}
	if len(next) == 0 {
		c.ids--
		return c.t.delete(c.b, c.at.idRow(id))
	}
	return c.t.put(c.b, c.at.idRow(id), next.encode())
}

// raise applies step 5: it raises the floor to v and forgets the orders below
// it. It reports whether the floor was lower.
func (c *conversation) raise(v clock.Version) (bool, error) {
	if v.Compare(c.floor) <= 0 {
		return false, nil
	}
	c.floor = v
	below, err := c.ascending(rowOrder, func(r ordered) bool { return r.order.Version.Compare(v) < 0 })
	if err != nil {
		return true, err
	}
	for _, r := range below {
		id := string(r.value)
		ps, err := c.places(id)
		if err != nil {
			return true, err
		}
		if !ps.has(r.order) {
			continue // went with a lower order of the id
		}
		if err := c.settle(id, ps, ps.from(v), nil); err != nil {
			return true, err
		}
	}
	return true, nil
}
