// Package record is the stored form of a value and of a conversation's message:
// a header in ASCII, then the payload, compressed above a threshold.
//
//	value    <version><format><flags><generation>|<payload>
//	message  <version><index><format><flags>|<generation>|<arrival>|<id>|<payload>
//
// Version is 20 hexadecimal digits, index four, format the digit "1", flags two
// hexadecimal digits, generation hexadecimal without leading zeros, arrival
// decimal microseconds. Payloads are JSON, or a zstd frame (RFC 8878) of it.
package record

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/jackcache/jackcache/internal/clock"
)

// Format is the version of the stored form that this build writes.
const Format = '1'

// MaxPayload bounds a payload after decompression.
const MaxPayload = 64 << 20

// MaxHeader is the most bytes that the header of a value takes.
const MaxHeader = clock.VersionLen + 3 + 16 + 1

// ErrCorrupt means that stored bytes are not a record of a known format.
var ErrCorrupt = errors.New("corrupt record")

// Flags describe a payload.
type Flags uint8

// The known flags. A record with any other is of a later format.
const (
	Tombstone Flags = 1 << iota // deleted; the payload is empty
	Zstd                        // the payload is one zstd frame

	knownFlags = Tombstone | Zstd
)

// Value is the decoded header of a stored value, and its payload as stored.
type Value struct {
	Version    clock.Version
	Generation uint64
	Flags      Flags
	Stored     []byte // payload as stored; not to be changed
}

// IsTombstone reports whether v says that the value was deleted.
func (v Value) IsTombstone() bool { return v.Flags&Tombstone != 0 }

// Payload returns the payload, decompressed. The result may alias Stored.
func (v Value) Payload() ([]byte, error) { return expand(v.Flags, v.Stored) }

// Append adds the stored form of v to dst.
func (v Value) Append(dst []byte) []byte {
	dst = v.Version.Append(dst)
	dst = appendFlags(dst, v.Flags)
	dst = strconv.AppendUint(dst, v.Generation, 16)
	dst = append(dst, '|')
	return append(dst, v.Stored...)
}

// ParseValue reads a stored value. The result aliases b.
func ParseValue(b []byte) (Value, error) {
	if len(b) < clock.VersionLen+3 {
		return Value{}, fmt.Errorf("%w: %d bytes are shorter than a header", ErrCorrupt, len(b))
	}
	version, err := clock.Parse(b[:clock.VersionLen])
	if err != nil {
		return Value{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	v := Value{Version: version}
	if v.Flags, err = parseFlags(b[clock.VersionLen:]); err != nil {
		return Value{}, err
	}
	rest := b[clock.VersionLen+3:]
	generation, payload, ok := bytes.Cut(rest, []byte{'|'})
	if !ok {
		return Value{}, fmt.Errorf("%w: no end of header", ErrCorrupt)
	}
	if v.Generation, err = parseGeneration(generation); err != nil {
		return Value{}, err
	}
	v.Stored = payload
	return v, nil
}

func appendFlags(dst []byte, f Flags) []byte {
	const digits = "0123456789abcdef"
	return append(dst, Format, digits[f>>4], digits[f&15])
}

// parseFlags reads the format digit and the flags at the start of b.
func parseFlags(b []byte) (Flags, error) {
	if b[0] != Format {
		return 0, fmt.Errorf("%w: format %q; this build reads %q", ErrCorrupt, b[0], Format)
	}
	f, err := parseHex(b[1:3])
	if err != nil {
		return 0, err
	}
	if Flags(f)&^knownFlags != 0 {
		return 0, fmt.Errorf("%w: flags %02x are of a later format", ErrCorrupt, f)
	}
	return Flags(f), nil
}

// parseGeneration refuses leading zeros, so that one record has one spelling.
func parseGeneration(b []byte) (uint64, error) {
	if len(b) > 1 && b[0] == '0' {
		return 0, fmt.Errorf("%w: generation %q has a leading zero", ErrCorrupt, b)
	}
	return parseHex(b)
}

// parseHex reads 1 to 16 lower-case hexadecimal digits.
func parseHex(b []byte) (uint64, error) {
	if len(b) == 0 || len(b) > 16 {
		return 0, fmt.Errorf("%w: a number of %d digits", ErrCorrupt, len(b))
	}
	var n uint64
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, fmt.Errorf("%w: %q is not a lower-case hexadecimal digit", ErrCorrupt, c)
		}
	}
	return n, nil
}

// zstd encoders and decoders are safe for concurrent use through EncodeAll and
// DecodeAll; one of each serves the process.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true))
		if err != nil {
			panic(err) // the options above are constants
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxPayload))
		if err != nil {
			panic(err) // the options above are constants
		}
		return d
	})
)

// Compress returns the form in which a payload is stored: itself below the
// threshold or where zstd does not make it smaller, else a zstd frame. A
// threshold below zero means never.
func Compress(payload []byte, threshold int) ([]byte, Flags) {
	if threshold < 0 || len(payload) < threshold {
		return payload, 0
	}
	frame := encoder().EncodeAll(payload, make([]byte, 0, len(payload)/2))
	if len(frame) >= len(payload) {
		return payload, 0
	}
	return frame, Zstd
}

func expand(f Flags, stored []byte) ([]byte, error) {
	if f&Zstd == 0 {
		return stored, nil
	}
	out, err := decoder().DecodeAll(stored, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return out, nil
}
