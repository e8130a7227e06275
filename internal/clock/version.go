// Package clock gives every operation its place in one order that all
// instances agree on: a hybrid logical clock whose readings are versions of 20
// lower-case hexadecimal digits.
//
// See Kulkarni et al., "Logical Physical Clocks" (OPODIS 2014).
package clock

import (
	"encoding/hex"
	"errors"
	"time"
)

// VersionLen is the length of a version in its stored, textual form.
const VersionLen = 20

// historicLimit separates versions of live writes from historic ones (loads
// and imports), whose millisecond field holds whole seconds since 1970 and is
// therefore lower than that of any live write.
const historicLimit = 1 << 40

// MaxAhead is how far a version may lie ahead of the shared store's time
// before it is refused, so that one wrong clock cannot poison a key.
const MaxAhead = 60 * time.Second

// ErrVersion means that a text is not a version.
var ErrVersion = errors.New("a version is 20 lower-case hexadecimal digits")

// Version is a point in the order of operations: 48 bits of milliseconds since
// 1970, 16 bits of counter, 16 bits of instance. The zero Version is lower than
// every other and means "none". Versions can be compared with ==.
type Version struct {
	tick uint64 // milliseconds << 16 | counter
	node uint16
}

// NewVersion builds a version from its parts; ms is cut to 48 bits.
func NewVersion(ms int64, counter, node uint16) Version {
	return Version{tick: uint64(ms)<<16 | uint64(counter), node: node}
}

// Historic returns a version for data that is older than every live write but
// newer than what a Historic call with an earlier time gave: loads of a missing
// value, and imported values. Times before 1970 or past the year 36000 are
// broken timestamps and taken as the bounds of what it can express.
func Historic(at time.Time, node uint16) Version {
	seconds := min(max(at.Unix(), 1), historicLimit-1)
	return NewVersion(seconds, uint16(at.Nanosecond()/int(time.Millisecond)), node)
}

// Absence returns a version for the record that a loader found nothing. It is lower
// than that of any write, historic ones included, so that every write takes its place.
func Absence(node uint16) Version { return NewVersion(0, 1, node) }

// IsAbsence reports whether v is one that Absence returns.
func (v Version) IsAbsence() bool { return v.tick == 1 }

// Parse reads the textual form. It is the inverse of String.
func Parse[T string | []byte](s T) (Version, error) {
	if len(s) != VersionLen {
		return Version{}, ErrVersion
	}
	var tick uint64
	for i := range 16 {
		d, ok := digit(s[i])
		if !ok {
			return Version{}, ErrVersion
		}
		tick = tick<<4 | d
	}
	var node uint64
	for i := 16; i < VersionLen; i++ {
		d, ok := digit(s[i])
		if !ok {
			return Version{}, ErrVersion
		}
		node = node<<4 | d
	}
	return Version{tick: tick, node: uint16(node)}, nil
}

func digit(c byte) (uint64, bool) {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0'), true
	case c >= 'a' && c <= 'f':
		return uint64(c-'a') + 10, true
	}
	return 0, false
}

// Append adds the textual form of v to dst.
func (v Version) Append(dst []byte) []byte {
	b := [10]byte{
		byte(v.tick >> 56), byte(v.tick >> 48), byte(v.tick >> 40), byte(v.tick >> 32),
		byte(v.tick >> 24), byte(v.tick >> 16), byte(v.tick >> 8), byte(v.tick),
		byte(v.node >> 8), byte(v.node),
	}
	return hex.AppendEncode(dst, b[:])
}

// String returns the stored form: 20 lower-case hexadecimal digits. The order
// of the strings is the order of the versions.
func (v Version) String() string { return string(v.Append(make([]byte, 0, VersionLen))) }

// IsZero reports whether v is "none".
func (v Version) IsZero() bool { return v == Version{} }

// Compare returns -1, 0 or +1.
func (v Version) Compare(o Version) int {
	switch {
	case v.tick < o.tick:
		return -1
	case v.tick > o.tick:
		return 1
	case v.node < o.node:
		return -1
	case v.node > o.node:
		return 1
	}
	return 0
}

// Millis returns the millisecond part as it is stored.
func (v Version) Millis() int64 { return int64(v.tick >> 16) }

// Node returns the instance part.
func (v Version) Node() uint16 { return v.node }

// WrittenAt returns the time at which what carries v was written, to the
// millisecond; the zero time for the zero Version.
func (v Version) WrittenAt() time.Time {
	ms := v.Millis()
	switch {
	case v.IsZero():
		return time.Time{}
	case ms < historicLimit:
		return time.Unix(ms, int64(uint16(v.tick))*int64(time.Millisecond))
	}
	return time.UnixMilli(ms)
}

// Next returns the lowest version of the given instance that is higher than v.
func (v Version) Next(node uint16) Version {
	if node > v.node {
		return Version{tick: v.tick, node: node}
	}
	return Version{tick: v.tick + 1, node: node}
}
