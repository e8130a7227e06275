package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// errPayload means that the payload of a whole frame cannot be read by this build.
var errPayload = errors.New("unreadable record")

// decoder reads a payload. After a failure everything is zero and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// integer reads a number that fits an int on every platform.
func (d *decoder) integer() int {
	v := d.varint()
	if int64(int32(v)) != v && int64(int(v)) != v {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) version() clock.Version {
	if b := d.take(clock.BinaryLen); b != nil {
		return clock.FromBinary([clock.BinaryLen]byte(b))
	}
	return clock.Version{}
}

// text reads bytes with their length before them; none is nil.
func (d *decoder) text() []byte {
	if b := d.take(d.uvarint()); len(b) > 0 {
		return b
	}
	return nil
}

func (d *decoder) time() time.Time {
	ms, ns := d.varint(), d.uvarint()
	if ns >= uint64(time.Millisecond) {
		d.fail()
		return time.Time{}
	}
	t := time.UnixMilli(ms).Add(time.Duration(ns))
	if t.IsZero() || d.bad {
		return time.Time{}
	}
	return t
}

// count reads how many items follow, each of at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) positions() []Position {
	n := d.count(8)
	if n == 0 {
		return nil
	}
	ps := make([]Position, n)
	for i := range ps {
		ps[i] = Position(d.u64())
	}
	return ps
}

// decodeRecord reads a payload, whose bytes the record then refers to.
func decodeRecord(s keys.Space, p Position, payload []byte) (*Record, error) {
	d := &decoder{b: payload}
	first := d.byte()
	r := &Record{Position: p, Kind: Kind(first & kindMask)}
	if r.Kind < Applied || r.Kind > lastKind {
		return nil, fmt.Errorf("%w: kind %d", errPayload, r.Kind)
	}
	r.Time = d.time()
	r.Resolves = d.positions()
	if first&carriedBit != 0 {
		r.origin = Position(d.u64())
	}
	var err error
	if r.Kind.hasOp() {
		err = d.op(s, &r.Op)
	} else {
		r.Org, err = d.org()
		r.Generation = d.uvarint()
		r.Token = d.version()
		r.UpTo = Position(d.u64())
	}
	if d.bad || len(d.b) > 0 {
		return nil, fmt.Errorf("%w: its length does not fit", errPayload)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPayload, err)
	}
	return r, nil
}

func (d *decoder) org() (keys.Org, error) {
	raw := d.text()
	if raw == nil {
		return keys.Org{}, nil
	}
	return keys.ParseOrg(string(raw))
}

func (d *decoder) op(s keys.Space, op *store.Op) error {
	op.Mode = store.Merge
	op.Action, op.Flags = store.Action(d.byte()), record.Flags(d.byte())
	op.Version = d.version()
	op.Generation = d.uvarint()
	op.ExpiresAt = d.time()
	op.Keep = time.Duration(d.varint())
	text := d.text()
	messages := d.count(14)
	op.Window.Messages = d.integer()
	op.Window.Slack, op.Window.Bytes, op.Window.IDs = d.integer(), d.integer(), d.integer()
	op.MaxLife = time.Duration(d.varint())
	op.Payload = d.text()
	if messages > 0 {
		op.Messages = make([]store.Message, messages)
	}
	for i := range op.Messages {
		d.message(&op.Messages[i])
	}
	if op.Action < store.Set || op.Action > store.Replace {
		return fmt.Errorf("action %d", op.Action)
	}
	var err error
	op.Key, err = parseKey(s, string(text))
	return err
}

func (d *decoder) message(m *store.Message) {
	m.ID = string(d.text())
	copy(m.Digest[:], d.take(8))
	m.Index = d.u16()
	m.Flags = record.Flags(d.byte())
	switch d.byte() {
	case 0:
	case 1:
		m.At = record.Order{Version: d.version(), Index: d.u16()}
		if m.At == (record.Order{}) {
			d.fail() // written as 0
		}
	default:
		d.fail()
	}
	m.Payload = d.text()
}

// parseKey reads the text of a key: one of an organisation, of the directory, or
// one that says that somebody was forgotten.
func parseKey(s keys.Space, text string) (keys.Key, error) {
	if strings.HasPrefix(text, s.Prefix()+"__") {
		return s.ParseForgotten(text)
	}
	return s.Parse(text)
}
