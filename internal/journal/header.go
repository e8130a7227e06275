package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// Format is what this build writes, and the latest that it reads.
const format = 1

const (
	magic      = "jackjnl\n"
	headerSize = 160
	maxSpace   = 63 // bytes of a key prefix
	finalAt    = 152

	suffix        = ".jnl"
	unfinished    = ".new" // a segment that has no place yet
	damagedSuffix = ".damaged"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errHeader means that bytes are not the header of a segment.
var errHeader = errors.New("no segment header")

// header is the start of a segment. Times are nanoseconds since 1970.
type header struct {
	boot     uint32
	identity [16]byte
	salt     [16]byte
	first    Position // names the segment; no earlier segment has a higher one
	created  int64
	since    int64 // Stats.Since when it was created
	// before is the segment that it follows, and end up to where that one was whole
	// then. Zero: there is none. final: what stands after end does not count.
	before Position
	end    int64
	final  bool
	space  string // prefix of the keys
}

// newSalt returns bytes that nobody can foresee, so that no payload can be made
// to look like a record.
func newSalt() (salt [16]byte) {
	_, _ = rand.Read(salt[:]) // never fails
	return salt
}

func (h header) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, format)
	dst = binary.LittleEndian.AppendUint32(dst, h.boot)
	dst = append(dst, h.identity[:]...)
	dst = append(dst, h.salt[:]...)
	for _, n := range []uint64{uint64(h.first), uint64(h.created), uint64(h.since), uint64(h.before), uint64(h.end)} {
		dst = binary.LittleEndian.AppendUint64(dst, n)
	}
	dst = append(dst, byte(len(h.space)))
	dst = append(dst, h.space...)
	dst = append(dst, make([]byte, start+finalAt-len(dst))...)
	if h.final {
		dst = append(dst, 1)
	}
	dst = append(dst, make([]byte, start+headerSize-4-len(dst))...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseHeader reads the start of a segment. It returns errHeader for what is
// none, and another error for one of a later format.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic)) {
		return header{}, errHeader
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	whole := binary.LittleEndian.Uint32(b[headerSize-4:]) == crc32.Checksum(b[:headerSize-4], castagnoli)
	switch f := binary.LittleEndian.Uint32(b[8:]); {
	case f != format && f != 0 && f < 1<<16:
		return header{}, fmt.Errorf("it has format %d; this build reads %d", f, format)
	case f != format || !whole:
		return header{}, errHeader
	}
	h.boot = binary.LittleEndian.Uint32(b[12:])
	copy(h.identity[:], b[16:])
	copy(h.salt[:], b[32:])
	h.first, h.created, h.since = Position(u64(48)), int64(u64(56)), int64(u64(64))
	h.before, h.end = Position(u64(72)), int64(u64(80))
	h.final = b[finalAt] == 1
	if n := int(b[88]); n <= maxSpace {
		h.space = string(b[89 : 89+n])
	}
	return h, nil
}

// segmentName is the name of the segment with the given first position.
func segmentName(first Position) string { return fmt.Sprintf("%016x", uint64(first)) + suffix }

// parseName is the inverse of segmentName. It ignores what damaged segments have
// after their name.
func parseName(name string) (first Position, ok bool) {
	name = strings.TrimSuffix(name, damagedSuffix)
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	var n uint64
	if _, err := fmt.Sscanf(hex, "%016x", &n); err != nil {
		return 0, false
	}
	return Position(n), segmentName(Position(n)) == hex+suffix
}

// Positions: the boot in 24 bits, the number within the boot in 40.
const (
	bootShift = 40
	maxBoot   = 1<<(64-bootShift) - 1
)

func bootOf(p Position) uint32 { return uint32(p >> bootShift) }
