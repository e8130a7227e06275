package jackcache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// importChunk is how many messages one operation of an import carries.
const importChunk = 200

// ImportOutcome is what became of one imported entry.
type ImportOutcome uint8

// The outcomes.
const (
	// Imported: something was stored.
	Imported ImportOutcome = iota + 1
	// Unchanged: all of it, or something newer, was stored before.
	Unchanged
	// SetAside: it was cleared, deleted or forgotten after it was written, or a
	// newer value is there. Nothing was stored.
	SetAside
)

// Import merges messages of another system into the conversation: each at the
// place of its own timestamp, those without one behind the message before them,
// and at the very beginning before everything live. A message without an id
// gets one that is the same at the next import, so that a second import changes
// nothing. The life counts from the import.
func (c Conversation) Import(ctx context.Context, msgs ...Message) (ImportOutcome, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	if len(msgs) == 0 {
		return Unchanged, nil
	}
	batch, err := c.place(msgs)
	if err != nil {
		return 0, err
	}
	inserted, kept := 0, 0
	for len(batch) > 0 {
		n := min(importChunk, len(batch))
		res, err := c.org.cache.engine.Import(ctx, c.key(), batch[:n], c.org.cache.limits())
		if err != nil {
			return 0, mapError(ctx, "import conversation", err)
		}
		for _, p := range res.Placed {
			switch {
			case p.Duplicate:
				kept++
			case !p.Dropped:
				inserted++
			}
		}
		batch = batch[n:]
	}
	switch {
	case inserted > 0:
		return Imported, nil
	case kept > 0:
		return Unchanged, nil
	}
	return SetAside, nil
}

// place gives every message an id and an order that depend on nothing but the
// messages.
func (c Conversation) place(msgs []Message) ([]engine.Message, error) {
	limit := c.org.cache.opts.Conversation.MessageBytes
	batch := make([]engine.Message, 0, len(msgs))
	digests := make(map[string][8]byte, len(msgs))
	nth := make(map[[8]byte]int)
	now := c.org.cache.engine.Clock().Time()
	ms, run := int64(1), 0
	for i, m := range msgs {
		m, given, err := m.importable()
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
		switch t := m.Timestamp; {
		case t.IsZero() || t.UnixMilli() < 1 || t.After(now) || t.UnixMilli() == ms:
			run++
		default:
			ms, run = t.UnixMilli(), 0
		}
		digest := m.digest()
		if d, taken := digests[m.ID]; taken && d == digest && given {
			continue
		} else if taken || !given {
			m.ID = c.derivedID(m, nth)
			m.JSON = withID(withoutID(m.JSON, given), m.ID)
		}
		if len(m.JSON) > limit {
			return nil, fmt.Errorf("%w: message %d has %d bytes; allowed are %d", ErrTooLarge, i, len(m.JSON), limit)
		}
		digests[m.ID] = digest
		batch = append(batch, engine.Message{
			ID: m.ID, Digest: digest, Payload: bytes.Clone(m.JSON), At: importOrder(ms, run, m.ID),
		})
	}
	return batch, nil
}

// importable returns m with its JSON parsed; given tells whether it has an id.
func (m Message) importable() (_ Message, given bool, err error) {
	given = m.ID != ""
	if m.JSON == nil {
		if m, err = m.build(); err == nil && !given {
			m.ID, m.JSON = "", withoutID(m.JSON, true)
		}
		return m, given, err
	}
	if !ValidJSON(m.JSON) {
		return m, false, invalid("Message.JSON is not JSON")
	}
	m, err = parseOne(m.JSON)
	return m, m.ID != "", err
}

// importOrder keeps messages of one millisecond in their sequence, and tells
// apart those of different imports by their ids.
func importOrder(ms int64, run int, id string) record.Order {
	h := sha256.Sum256([]byte(id))
	return record.Order{
		Version: clock.NewVersion(ms, uint16(min(run, 0xffff)), binary.BigEndian.Uint16(h[:])),
		Index:   binary.BigEndian.Uint16(h[2:]),
	}
}

func (c Conversation) derivedID(m Message, nth map[[8]byte]int) string {
	h := sha256.New()
	for _, part := range []string{
		c.org.String(), c.phone.String(), m.Role, m.Content, strconv.FormatInt(m.Timestamp.UnixMilli(), 10),
	} {
		_ = binary.Write(h, binary.BigEndian, uint32(len(part))) // a hash takes every write
		h.Write([]byte(part))
	}
	var key [8]byte
	copy(key[:], h.Sum(nil))
	_ = binary.Write(h, binary.BigEndian, uint32(nth[key]))
	nth[key]++
	return "import-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// ImportValue stores a JSON value of another system unless something newer is
// there. The life counts from the import.
func (o Org) ImportValue(ctx context.Context, r RawKind, id string, value []byte) (ImportOutcome, error) {
	key, err := o.key(r.k, id)
	if err != nil {
		return 0, err
	}
	if r.k.opts.LocalOnly {
		return 0, invalid("kind %q stays in the process and is not imported", r.k.opts.Name)
	}
	if !ValidJSON(value) {
		return 0, invalid("%s: the value is not JSON", r.k.opts.Name)
	}
	if err := r.k.checkSize(len(value)); err != nil {
		return 0, err
	}
	cache := o.cache
	present, err := cache.engine.Get(ctx, key, r.k.policy)
	if err != nil {
		return 0, mapError(ctx, "import "+r.k.opts.Name, err)
	}
	if present.Found && bytes.Equal(present.Payload, value) {
		return Unchanged, nil
	}
	forgotten, err := cache.engine.Get(ctx, cache.space.Forgotten(key), engine.Policy{})
	if err != nil {
		return 0, mapError(ctx, "import "+r.k.opts.Name, err)
	}
	if forgotten.Found {
		return SetAside, nil
	}
	stored, flags := record.Compress(bytes.Clone(value), r.k.policy.CompressAbove)
	clk := cache.engine.Clock()
	op := store.Op{
		Action: store.Set, Key: key, TTL: r.k.opts.TTL, Flags: flags, Payload: stored,
		Version: clock.Historic(clk.Time(), clk.Node()),
	}
	res, err := cache.engine.Merge(ctx, op)
	for err == nil && res.Status == store.Conflict {
		// Imported twice within a millisecond, with another value: the later one.
		op.Version = op.Version.Next(clk.Node())
		res, err = cache.engine.Merge(ctx, op)
	}
	if err != nil {
		return 0, mapError(ctx, "import "+r.k.opts.Name, err)
	}
	if res.Status == store.Applied {
		return Imported, nil
	}
	return SetAside, nil
}
