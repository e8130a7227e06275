package journal

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// keyHash stands for a key: 128 bits from seeds of this process, so that nobody
// can find two keys with one hash.
type keyHash [2]uint64

type hasher [2]maphash.Seed

func newHasher() hasher { return hasher{maphash.MakeSeed(), maphash.MakeSeed()} }

func (h hasher) text(key string) keyHash {
	return keyHash{maphash.String(h[0], key), maphash.String(h[1], key)}
}

func (h hasher) bytes(key []byte) keyHash {
	return keyHash{maphash.Bytes(h[0], key), maphash.Bytes(h[1], key)}
}

// entry is what the index needs of a record. Times are nanoseconds since 1970.
type entry struct {
	pos       Position
	off, size int // of the frame, in its batch or segment
	kind      Kind
	action    store.Action
	tombstone bool
	carried   bool // taken over from a segment that went
	more      bool // the next record belongs to it

	key        keyHash
	org        keys.Org
	version    clock.Version // of the Op, or the Token
	generation uint64
	time       int64
	expires    int64
	life       int64 // until when it matters: ExpiresAt, or the end of Keep
	messages   int32
	window     int32
	upTo       Position
	origin     Position // of what is carried: its first position
	resolves   []Position
}

// entryOf returns the entry of a record that is about to be written.
func (h hasher) entryOf(r *Record) entry {
	e := entry{kind: r.Kind, time: nanoseconds(r.Time), resolves: slices.Clone(r.Resolves), origin: r.origin, carried: r.origin != 0}
	if !r.Kind.hasOp() {
		e.org, e.generation, e.version, e.upTo = r.Org, r.Generation, r.Token, r.UpTo
		return e
	}
	op := &r.Op
	e.action, e.tombstone = op.Action, op.Flags&record.Tombstone != 0
	e.key, e.org = h.text(op.Key.String()), op.Key.Org()
	e.version, e.generation = op.Version, op.Generation
	e.expires = nanoseconds(op.ExpiresAt)
	e.messages, e.window = int32(len(op.Messages)), int32(min(op.Window.Messages, 1<<30))
	e.setLife(op.Keep)
	return e
}

func (e *entry) setLife(keep time.Duration) {
	if e.life = e.expires; e.life == 0 {
		e.life = math.MaxInt64 // it has no end
	}
	if e.action == store.Replace && keep > 0 && e.time > 0 {
		e.life = max(e.life, e.time+int64(keep))
	}
}

// reader reads entries from payloads, without what the index does not need.
type reader struct {
	hasher
	space keys.Space
	// orgs has what was parsed: the escaped part of a key, as it was read.
	orgs map[string]keys.Org
}

func newReader(h hasher, s keys.Space) *reader {
	return &reader{hasher: h, space: s, orgs: map[string]keys.Org{}}
}

// entry reads the payload of the frame at off.
func (r *reader) entry(p Position, payload []byte, off int64) (entry, error) {
	d := decoder{b: payload}
	first := d.byte()
	e := entry{
		pos: p, off: int(off), size: frameHead + len(payload),
		kind: Kind(first & kindMask), more: first&moreBit != 0, carried: first&carriedBit != 0,
	}
	if e.kind < Applied || e.kind > lastKind {
		return e, fmt.Errorf("%w: kind %d", errPayload, e.kind)
	}
	e.time = nanoseconds(d.time())
	e.resolves = d.positions()
	if e.carried {
		e.origin = Position(d.u64())
	}
	var err error
	if e.kind.hasOp() {
		err = r.op(&d, &e)
	} else {
		e.org, err = d.org()
		e.generation, e.version, e.upTo = d.uvarint(), d.version(), Position(d.u64())
	}
	switch {
	case d.bad:
		return e, fmt.Errorf("%w: its length does not fit", errPayload)
	case err != nil:
		return e, fmt.Errorf("%w: %w", errPayload, err)
	}
	return e, nil
}

func (r *reader) op(d *decoder, e *entry) error {
	e.action = store.Action(d.byte())
	e.tombstone = record.Flags(d.byte())&record.Tombstone != 0
	e.version, e.generation = d.version(), d.uvarint()
	e.expires = nanoseconds(d.time())
	keep := time.Duration(d.varint())
	key := d.text()
	e.messages, e.window = int32(d.count(14)), int32(min(d.integer(), 1<<30))
	if d.bad || e.action < store.Set || e.action > store.Replace {
		return fmt.Errorf("action %d", e.action)
	}
	e.key = r.bytes(key)
	e.setLife(keep)
	var err error
	e.org, err = r.orgOf(key)
	return err
}

// orgOf returns the organisation of a stored key. It parses the first key of each.
func (r *reader) orgOf(key []byte) (keys.Org, error) {
	rest, ok := bytes.CutPrefix(key, []byte(r.space.Prefix()))
	kind, part, cut := bytes.Cut(rest, []byte{':'})
	if !ok || !cut || bytes.HasPrefix(kind, []byte("__")) {
		k, err := parseKey(r.space, string(key))
		return k.Org(), err
	}
	org, _, id := bytes.Cut(part, []byte{':'})
	if !id { // a key without an id, or of the directory
		k, err := parseKey(r.space, string(key))
		return k.Org(), err
	}
	if o, ok := r.orgs[string(org)]; ok {
		return o, nil
	}
	k, err := parseKey(r.space, string(key))
	if err == nil {
		r.orgs[string(org)] = k.Org()
	}
	return k.Org(), err
}
