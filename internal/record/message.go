package record

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackcache/jackcache/internal/clock"
)

// OrderLen is the length of an order: a version and a 4-digit index.
const OrderLen = clock.VersionLen + 4

// MaxIndex is the highest index of a message within one operation.
const MaxIndex = 0xffff

// Order is the place of a message in its conversation: the version of the
// operation that brought it, and its index in that operation.
type Order struct {
	Version clock.Version
	Index   uint16
}

// Append adds the textual form to dst. The order of the texts is the order of
// the messages.
func (o Order) Append(dst []byte) []byte {
	dst = o.Version.Append(dst)
	const digits = "0123456789abcdef"
	return append(dst, digits[o.Index>>12], digits[o.Index>>8&15], digits[o.Index>>4&15], digits[o.Index&15])
}

// String returns 24 lower-case hexadecimal digits.
func (o Order) String() string { return string(o.Append(make([]byte, 0, OrderLen))) }

// Compare returns -1, 0 or +1.
func (o Order) Compare(p Order) int {
	return cmp.Or(o.Version.Compare(p.Version), cmp.Compare(o.Index, p.Index))
}

// ParseOrder reads the textual form.
func ParseOrder[T string | []byte](s T) (Order, error) {
	if len(s) != OrderLen {
		return Order{}, fmt.Errorf("%w: an order is %d hexadecimal digits", ErrCorrupt, OrderLen)
	}
	version, err := clock.Parse(s[:clock.VersionLen])
	if err != nil {
		return Order{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	index, err := parseHex([]byte(s[clock.VersionLen:]))
	if err != nil {
		return Order{}, err
	}
	return Order{Version: version, Index: uint16(index)}, nil
}

// Message is one stored message of a conversation.
type Message struct {
	Order      Order
	Generation uint64
	Arrival    int64 // microseconds of the store's time at insertion; grows within a conversation
	ID         string
	Flags      Flags
	Stored     []byte // payload as stored; not to be changed
}

// Payload returns the message as JSON, decompressed. It may alias Stored.
func (m Message) Payload() ([]byte, error) { return expand(m.Flags, m.Stored) }

// AppendHead adds what stands before the generation: order, format, flags.
func (m Message) AppendHead(dst []byte) []byte {
	return appendFlags(m.Order.Append(dst), m.Flags)
}

// Append adds the stored form of m to dst.
func (m Message) Append(dst []byte) []byte {
	dst = m.AppendHead(dst)
	dst = append(dst, '|')
	dst = strconv.AppendUint(dst, m.Generation, 16)
	dst = append(dst, '|')
	dst = strconv.AppendInt(dst, m.Arrival, 10)
	dst = append(dst, '|')
	dst = append(dst, EscapeID(m.ID)...)
	dst = append(dst, '|')
	return append(dst, m.Stored...)
}

// ParseMessage reads a stored message. The result aliases b.
func ParseMessage(b []byte) (Message, error) {
	if len(b) < OrderLen+4 || b[OrderLen+3] != '|' {
		return Message{}, fmt.Errorf("%w: no message header", ErrCorrupt)
	}
	order, err := ParseOrder(b[:OrderLen])
	if err != nil {
		return Message{}, err
	}
	m := Message{Order: order}
	if m.Flags, err = parseFlags(b[OrderLen:]); err != nil {
		return Message{}, err
	}
	generation, rest, ok := bytes.Cut(b[OrderLen+4:], []byte{'|'})
	if !ok {
		return Message{}, fmt.Errorf("%w: no generation", ErrCorrupt)
	}
	if m.Generation, err = parseGeneration(generation); err != nil {
		return Message{}, err
	}
	arrival, rest, ok := bytes.Cut(rest, []byte{'|'})
	if !ok {
		return Message{}, fmt.Errorf("%w: no arrival", ErrCorrupt)
	}
	m.Arrival, err = strconv.ParseInt(string(arrival), 10, 64)
	if err != nil || m.Arrival < 0 || len(arrival) > 1 && arrival[0] == '0' || arrival[0] == '+' || arrival[0] == '-' {
		return Message{}, fmt.Errorf("%w: arrival %q", ErrCorrupt, arrival)
	}
	id, payload, ok := bytes.Cut(rest, []byte{'|'})
	if !ok || len(id) == 0 {
		return Message{}, fmt.Errorf("%w: no id", ErrCorrupt)
	}
	if m.ID, err = unescapeID(string(id)); err != nil {
		return Message{}, err
	}
	m.Stored = payload
	return m, nil
}

var (
	idEscaper   = strings.NewReplacer("%", "%25", "|", "%7C")
	idUnescaper = strings.NewReplacer("%25", "%", "%7C", "|")
)

// EscapeID returns the form of a message id within a record, where "|" ends a
// field: "%" and "|" are written as %25 and %7C.
func EscapeID(id string) string { return idEscaper.Replace(id) }

func unescapeID(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	id := idUnescaper.Replace(s)
	if EscapeID(id) != s {
		return "", fmt.Errorf("%w: message id %q", ErrCorrupt, s)
	}
	return id, nil
}
