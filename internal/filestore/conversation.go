package filestore

import (
	"slices"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// converse applies an Append or Replace. The steps are those that package
// store lists; up to the end of step 4 nothing is written.
func (t *txn) converse(op *store.Op, a address) (store.Result, error) {
	res, done, err := t.begin(op, a) // step 1
	if done || err != nil {
		return res, err
	}
	c, err := t.conversation(a)
	if err != nil {
		return res, err
	}
	res.ExpiresAt = timeOf(c.expires)
	onlyFloor := false
	if _, past := expiry(op, t.now); past && !c.joins(op) {
		if op.Action != store.Replace || op.Keep <= 0 {
			res.Status = store.Expired
			return res, nil
		}
		onlyFloor = true
	}
	if op.Generation > c.generation && !onlyFloor { // step 2
		c.renew(op.Generation)
	}
	if op.Mode == store.Live {
		if err := c.refuse(op, &res); res.Status != 0 || err != nil {
			return res, err
		}
	}
	if len(op.Messages) > 0 {
		if err := t.take(sizeOf(op)); err != nil {
			return res, err
		}
	}
	if err := c.clean(); err != nil {
		return res, err
	}
	var did effect
	if op.Action == store.Replace { // step 5
		if did.raised, err = c.raise(op.Version); err != nil {
			return res, err
		}
	}
	if op.Generation < c.generation || onlyFloor { // steps 1 and 2, Merge: the messages are of the past
		res.Placed = dropAll(op)
	} else {
		if res.Placed, err = c.insert(op, &did); err != nil { // steps 6 and 7
			return res, err
		}
		if err := c.trim(op.Window); err != nil { // step 8
			return res, err
		}
	}
	did.onlyFloor = onlyFloor
	c.prolong(op, did) // step 9
	res.Status, res.ConflictID, res.ExpiresAt = did.status(), did.conflictID, timeOf(c.expires)
	return res, c.save()
}

// effect is what an operation did.
type effect struct {
	raised          bool // the floor
	onlyFloor       bool // nothing else counts
	inserted, moved int
	written         []clock.Version // of the orders of those
	conflictID      string
}

func (e effect) status() store.Status {
	if e.raised || e.inserted > 0 || e.moved > 0 {
		return store.Applied
	}
	return store.Unchanged
}

// refuse applies steps 2 to 4 to a Live operation: it sets the status of one
// that is refused.
func (c *conversation) refuse(op *store.Op, res *store.Result) error {
	if op.Generation < c.generation {
		res.Status, res.Generation = store.Stale, max(res.Generation, c.generation)
		return nil
	}
	exceed, err := c.exceed(op)
	if err != nil {
		return err
	}
	if !exceed.IsZero() {
		res.Status, res.Version = store.Superseded, exceed
		return nil
	}
	floor := c.floor
	if op.Action == store.Replace {
		floor = later(floor, op.Version)
	}
	res.ConflictID, err = c.conflict(op, floor)
	if res.ConflictID != "" {
		res.Status = store.Conflict
	}
	return err
}

// exceed returns the version that a Live operation must exceed to be inserted,
// or zero when its own will do (step 3).
func (c *conversation) exceed(op *store.Op) (clock.Version, error) {
	var v clock.Version
	if op.Version.Compare(c.floor) < 0 {
		v = c.floor
	}
	if op.Action == store.Replace {
		newest, err := c.newest()
		if op.Version.Compare(newest.Version) < 0 {
			v = later(v, newest.Version)
		}
		return v, err
	}
	for _, m := range op.Messages {
		o := m.Order(op.Version)
		if o.Version.Compare(c.floor) < 0 {
			v = later(v, c.floor)
		}
		if o.Compare(c.trimmedTo) <= 0 {
			v = later(v, c.trimmedTo.Version)
		}
	}
	return v, nil
}

// conflict returns the id of the first message that is remembered with another
// content at or above floor, or whose order another id has (steps 4 and 6).
func (c *conversation) conflict(op *store.Op, floor clock.Version) (string, error) {
	ids := make(map[string]digest, len(op.Messages))
	orders := make(map[record.Order]string, len(op.Messages))
	for _, m := range op.Messages {
		ps, err := c.places(m.ID)
		if err != nil {
			return "", err
		}
		if d, here := ids[m.ID]; ps.from(floor).differ(m.Digest) || here && d != m.Digest {
			return m.ID, nil
		}
		ids[m.ID] = m.Digest
		o := m.Order(op.Version)
		if o.Version.Compare(floor) < 0 {
			continue // dropped, or refused by step 3
		}
		owner, here := orders[o]
		if !here {
			owner = c.owner(o)
		}
		if owner != "" && owner != m.ID {
			return m.ID, nil
		}
		orders[o] = m.ID
	}
	return "", nil
}

// insert applies step 6 to each message, and step 7 to those that are new.
func (c *conversation) insert(op *store.Op, did *effect) ([]store.Placed, error) {
	placed := make([]store.Placed, len(op.Messages))
	for i, m := range op.Messages {
		var err error
		if placed[i], err = c.insertOne(m, m.Order(op.Version), did); err != nil {
			return nil, err
		}
	}
	if did.moved == 0 {
		return placed, nil
	}
	for i, m := range op.Messages { // a later message may have moved an earlier one
		ps, err := c.places(m.ID)
		if err != nil {
			return nil, err
		}
		if len(ps) > 0 {
			placed[i].Order = ps[0].order
		}
	}
	return placed, nil
}

func (c *conversation) insertOne(m store.Message, o record.Order, did *effect) (store.Placed, error) {
	ps, err := c.places(m.ID)
	if err != nil {
		return store.Placed{}, err
	}
	p := store.Placed{Order: o, Duplicate: len(ps) > 0}
	if p.Duplicate {
		p.Order = ps[0].order
		if ps.differ(m.Digest) && did.conflictID == "" {
			did.conflictID = m.ID
		}
	}
	owner := c.owner(o)
	switch {
	case o.Version.Compare(c.floor) < 0, o.Compare(c.trimmedTo) <= 0, owner != "" && owner != m.ID:
		p.Dropped = true
		return p, nil
	case !p.Duplicate:
		did.inserted++
		did.written = append(did.written, o.Version)
		return p, c.add(m, o)
	case p.Order.Compare(c.trimmedTo) <= 0:
		return p, nil
	}
	next := ps.with(place{order: o, digest: m.Digest})
	if slices.Equal(ps, next) {
		return p, nil
	}
	if o.Compare(p.Order) < 0 {
		did.moved++
		did.written = append(did.written, o.Version)
		p.Order = o
	}
	return p, c.settle(m.ID, ps, next, &m)
}

func dropAll(op *store.Op) []store.Placed {
	placed := make([]store.Placed, len(op.Messages))
	for i, m := range op.Messages {
		placed[i] = store.Placed{Order: m.Order(op.Version), Dropped: true}
	}
	return placed
}

// joins reports whether a merged operation may join the life of the conversation
// though its own is over. One that has ended was emptied when it was read.
func (c *conversation) joins(op *store.Op) bool {
	return op.Mode == store.Merge && c.expires > 0 && op.Generation <= c.generation
}

// prolong applies step 9.
func (c *conversation) prolong(op *store.Op, did effect) {
	now := c.t.now
	at, _ := expiry(op, now)
	if did.raised {
		until := at
		if op.Keep > 0 {
			until = max(until, now.Add(op.Keep).UnixMilli())
		}
		c.floorUntil = max(c.floorUntil, until)
	}
	replaced := did.raised && !did.onlyFloor && op.Generation >= c.generation
	if replaced {
		did.written = append(did.written, op.Version)
	}
	if c.created == 0 && len(did.written) > 0 {
		c.created = now.UnixMilli()
	}
	for _, v := range did.written {
		if op.Mode == store.Merge {
			c.created = store.Creation(time.UnixMilli(c.created), v).UnixMilli()
		}
	}
	if did.inserted == 0 && !replaced {
		return
	}
	if op.MaxLife > 0 {
		at = min(at, time.UnixMilli(c.created).Add(op.MaxLife).UnixMilli())
	}
	c.expires = max(c.expires, at)
}

func later(v, w clock.Version) clock.Version {
	if v.Compare(w) < 0 {
		return w
	}
	return v
}
