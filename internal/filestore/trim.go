package filestore

import "github.com/jackcache/jackcache/internal/store"

// trim applies step 8.
func (c *conversation) trim(w store.Window) error {
	tooMany := w.Messages > 0 && c.messages > int64(w.Messages+w.Slack)
	tooLarge := w.Bytes > 0 && c.bytes*8 > int64(w.Bytes)*9
	if tooMany || tooLarge {
		messages, bytes := c.messages, c.bytes
		oldest, err := c.ascending(rowMessage, func(r ordered) bool {
			over := w.Messages > 0 && messages > int64(w.Messages) || w.Bytes > 0 && bytes > int64(w.Bytes)
			if !over || messages == 1 {
				return false
			}
			messages--
			bytes -= int64(len(r.value))
			return true
		})
		if err != nil {
			return err
		}
		if err := c.cut(oldest); err != nil {
			return err
		}
	}
	return c.forget(w)
}

// cut removes the oldest messages of the list.
func (c *conversation) cut(oldest []ordered) error {
	if len(oldest) == 0 {
		return nil
	}
	c.trimmedTo = oldest[len(oldest)-1].order
	spares, err := c.ascending(rowSpare, func(r ordered) bool { return r.order.Compare(c.trimmedTo) <= 0 })
	if err != nil {
		return err
	}
	for _, r := range oldest {
		id := c.owner(r.order)
		ps, err := c.places(id)
		if err != nil {
			return err
		}
		if len(ps) > 1 { // its content may be needed at a later order
			err = c.settle(id, ps, ps, nil)
		} else {
			err = c.unlist(r.order, r.value)
		}
		if err != nil {
			return err
		}
	}
	for _, r := range spares {
		id := c.owner(r.order)
		ps, err := c.places(id)
		if err != nil {
			return err
		}
		if err := c.settle(id, ps, ps, nil); err != nil {
			return err
		}
	}
	return nil
}

// forget gives up the ids whose messages have left the list longest ago, when
// more are remembered than the window asks for.
func (c *conversation) forget(w store.Window) error {
	limit := int64(max(w.IDs, w.Messages+w.Slack))
	surplus := c.ids - limit
	if limit == 0 || surplus <= 0 {
		return nil
	}
	seen := make(map[string]bool)
	_, err := c.ascending(rowOrder, func(r ordered) bool {
		if int64(len(seen)) == surplus && !seen[string(r.value)] || r.order.Compare(c.trimmedTo) > 0 {
			return false
		}
		seen[string(r.value)] = true
		return true
	})
	if err != nil {
		return err
	}
	for id := range seen {
		ps, err := c.places(id)
		if err != nil {
			return err
		}
		if err := c.settle(id, ps, nil, nil); err != nil {
			return err
		}
	}
	return nil
}
