package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Kinds that the journal writes for itself when a segment goes.
const (
	// ended: what was pending of the organisation up to UpTo is not any more.
	ended Kind = iota + Assigned + 1
	// dropped: segments went whose newest record is of Time.
	dropped
	lastKind = dropped
)

// The first byte of a payload is the kind and these.
const (
	// moreBit: the next record was appended with this one.
	moreBit = 1 << 7
	// carriedBit: it was taken over from a segment that went.
	carriedBit = 1 << 6
	kindMask   = carriedBit - 1
)

func (k Kind) hasOp() bool { return k == Applied || k == Pending }

// pends reports whether a record of this kind is pending until it is resolved.
func (k Kind) pends() bool { return k == Pending || k == Invalidation }

// check refuses a record that could not be read again.
func (r *Record) check() error {
	if r.Kind < Applied || r.Kind > lastKind {
		return fmt.Errorf("journal record: kind %d; allowed are %d to %d", r.Kind, Applied, lastKind)
	}
	if !r.Kind.hasOp() {
		return nil
	}
	if r.Op.Action < store.Set || r.Op.Action > store.Replace {
		return fmt.Errorf("journal record: action %d; allowed are %d to %d", r.Op.Action, store.Set, store.Replace)
	}
	if r.Op.Key.String() == "" {
		return errors.New("journal record: a write without a key")
	}
	return nil
}

// appendPayload adds the payload of r: first what the index needs.
func appendPayload(dst []byte, r *Record) []byte {
	first := byte(r.Kind)
	if r.origin != 0 {
		first |= carriedBit
	}
	dst = append(dst, first)
	dst = appendTime(dst, r.Time)
	dst = binary.AppendUvarint(dst, uint64(len(r.Resolves)))
	for _, p := range r.Resolves {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(p))
	}
	if r.origin != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.origin))
	}
	if r.Kind.hasOp() {
		return appendOp(dst, &r.Op)
	}
	dst = appendText(dst, r.Org.String())
	dst = binary.AppendUvarint(dst, r.Generation)
	dst = r.Token.AppendBinary(dst)
	return binary.LittleEndian.AppendUint64(dst, uint64(r.UpTo))
}

func appendOp(dst []byte, op *store.Op) []byte {
	dst = append(dst, byte(op.Action), byte(op.Flags))
	dst = op.Version.AppendBinary(dst)
	dst = binary.AppendUvarint(dst, op.Generation)
	dst = appendTime(dst, op.ExpiresAt)
	dst = binary.AppendVarint(dst, int64(op.Keep))
	dst = appendText(dst, op.Key.String())
	dst = binary.AppendUvarint(dst, uint64(len(op.Messages)))
	dst = binary.AppendVarint(dst, int64(op.Window.Messages))
	// From here on only readers of the whole record look.
	dst = binary.AppendVarint(dst, int64(op.Window.Slack))
	dst = binary.AppendVarint(dst, int64(op.Window.Bytes))
	dst = binary.AppendVarint(dst, int64(op.Window.IDs))
	dst = binary.AppendVarint(dst, int64(op.MaxLife))
	dst = appendText(dst, op.Payload)
	for i := range op.Messages {
		dst = appendMessage(dst, &op.Messages[i])
	}
	return dst
}

func appendMessage(dst []byte, m *store.Message) []byte {
	dst = appendText(dst, m.ID)
	dst = append(dst, m.Digest[:]...)
	dst = binary.LittleEndian.AppendUint16(dst, m.Index)
	dst = append(dst, byte(m.Flags))
	if m.At == (record.Order{}) {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		dst = m.At.Version.AppendBinary(dst)
		dst = binary.LittleEndian.AppendUint16(dst, m.At.Index)
	}
	return appendText(dst, m.Payload)
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// appendTime adds an instant as milliseconds since 1970 and nanoseconds, which
// are zero for what comes from a store.
func appendTime(dst []byte, t time.Time) []byte {
	dst = binary.AppendVarint(dst, t.UnixMilli())
	return binary.AppendUvarint(dst, uint64(t.Nanosecond()%int(time.Millisecond)))
}

// nanoseconds returns an instant as a number; zero for the zero Time.
func nanoseconds(t time.Time) int64 {
	const last = 9_223_372_036 // seconds that an int64 of nanoseconds can express
	switch s := t.Unix(); {
	case t.IsZero() || s < 0:
		return 0
	case s >= last:
		return last * int64(time.Second)
	}
	return t.UnixNano()
}

// instant is the inverse of nanoseconds.
func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// isLive reports whether a version is that of a live write: the millisecond
// field of historic ones holds seconds.
func isLive(v clock.Version) bool { return v.Millis() >= 1<<40 }
