package filestore

import (
	"bytes"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// conversation is one conversation within a transaction for writing.
type conversation struct {
	head
	at     address
	t      *txn
	b      *bbolt.Bucket // nil while its organisation has no rows
	stored bool          // there is a head
	// hidden: the rows are of an ended life or a lower generation. They count
	// as absent, and are removed by clean.
	hidden bool
}

// conversation reads the head of the conversation at a.
func (t *txn) conversation(a address) (*conversation, error) {
	c := &conversation{at: a, t: t, b: t.rows(a.org)}
	if c.b == nil {
		return c, nil
	}
	row := c.b.Get(a.row(rowHead))
	if row == nil {
		return c, nil
	}
	var err error
	if c.head, err = parseHead(row); err != nil {
		return nil, err
	}
	c.stored = true
	if c.expires <= t.millis() {
		c.end()
	}
	return c, nil
}

// end ends the life: of the conversation remain its floor, while that is kept,
// and with it generation and last arrival.
func (c *conversation) end() {
	c.hidden = true
	kept := head{due: c.due}
	if c.floorUntil > c.t.millis() {
		kept.generation, kept.floor, kept.floorUntil, kept.lastArrival = c.generation, c.floor, c.floorUntil, c.lastArrival
	}
	c.head = kept
}

// renew empties the conversation for a higher generation.
func (c *conversation) renew(generation uint64) {
	c.hidden = true
	c.generation = generation
	c.messages, c.bytes, c.ids, c.trimmedTo = 0, 0, 0, record.Order{}
}

// clean removes the rows that are hidden.
func (c *conversation) clean() error {
	if c.hidden && c.stored {
		if _, err := c.wipe(-1); err != nil {
			return err
		}
	}
	c.hidden = false
	return nil
}

// wipe removes up to limit rows, all where that is negative, but not the head.
// It returns how many there were.
func (c *conversation) wipe(limit int) (int, error) {
	var names [][]byte
	cur := c.b.Cursor()
	for k, _ := cur.Seek(c.at.row(rowHead + 1)); bytes.HasPrefix(k, []byte(c.at.base)) && len(names) != limit; k, _ = cur.Next() {
		if k[len(c.at.base)] != rowValue {
			names = append(names, k)
		}
	}
	for _, name := range names {
		if err := c.t.delete(c.b, name); err != nil {
			return 0, err
		}
	}
	return len(names), nil
}

// save writes the head, or removes it when there is nothing to keep.
func (c *conversation) save() (err error) {
	row := c.at.row(rowHead)
	if c.until() <= c.t.millis() {
		if !c.stored {
			return nil
		}
		c.t.keys--
		return c.t.delete(c.b, row)
	}
	if err := c.create(); err != nil {
		return err
	}
	at := c.expires
	if at == 0 {
		at = c.floorUntil
	}
	if c.due, err = c.t.schedule(c.at, row, c.due, at); err != nil {
		return err
	}
	next := c.encode()
	if c.stored && bytes.Equal(c.b.Get(row), next) {
		return nil
	}
	if !c.stored {
		c.t.keys++
	}
	return c.t.put(c.b, row, next)
}

func (c *conversation) create() (err error) {
	if c.b == nil {
		c.b, err = c.t.createRows(c.at.org)
	}
	return err
}

func (c *conversation) empty() bool { return c.hidden || c.b == nil }

// places returns what is remembered of a message id.
func (c *conversation) places(id string) (places, error) {
	if c.empty() {
		return nil, nil
	}
	return parsePlaces(c.b.Get(c.at.idRow(id)))
}

// owner returns the id of the message that has the order, or "".
func (c *conversation) owner(o record.Order) string {
	if c.empty() {
		return ""
	}
	return string(c.b.Get(c.at.orderRow(rowOrder, o)))
}

// newest returns the highest order that is remembered.
func (c *conversation) newest() (record.Order, error) {
	if c.empty() {
		return record.Order{}, nil
	}
	return lastOrder(c.b, c.at, rowOrder)
}

// lastOrder returns the highest order among the rows of a kind, or zero.
func lastOrder(b *bbolt.Bucket, a address, kind byte) (record.Order, error) {
	prefix := a.row(kind)
	k, _ := seekLast(b.Cursor(), a, kind)
	if !bytes.HasPrefix(k, prefix) {
		return record.Order{}, nil
	}
	return record.ParseOrder(k[len(prefix):])
}

// seekLast moves to the last row that is not beyond those of a kind.
func seekLast(cur *bbolt.Cursor, a address, kind byte) (k, v []byte) {
	if k, _ = cur.Seek(a.row(kind + 1)); k == nil {
		return cur.Last()
	}
	return cur.Prev()
}

// ordered is one row of a kind that is named by an order.
type ordered struct {
	order record.Order
	value []byte // of the transaction
}

// ascending returns the rows of a kind up to the first that keep refuses. They
// are gathered because a cursor does not survive changes.
func (c *conversation) ascending(kind byte, keep func(ordered) bool) ([]ordered, error) {
	if c.empty() {
		return nil, nil
	}
	var rows []ordered
	prefix := c.at.row(kind)
	cur := c.b.Cursor()
	for k, v := cur.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = cur.Next() {
		o, err := record.ParseOrder(k[len(prefix):])
		if err != nil {
			return nil, err
		}
		row := ordered{order: o, value: v}
		if !keep(row) {
			break
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// message returns the stored form of m in the conversation.
func (c *conversation) message(m store.Message, o record.Order, arrival int64) record.Message {
	return record.Message{Order: o, Generation: c.generation, Arrival: arrival, ID: m.ID, Flags: m.Flags, Stored: m.Payload}
}

// arrive applies step 7.
func (c *conversation) arrive() int64 {
	c.lastArrival = max(c.t.now.UnixMicro(), c.lastArrival+1)
	return c.lastArrival
}
