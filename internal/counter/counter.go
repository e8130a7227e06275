// Package counter counts what goroutines on several cores do at the same time,
// without any of them waiting for another one's cache line.
package counter

import (
	"sync/atomic"
	"unsafe"
)

// Size is how many counters a Set has.
const Size = 8

// Set is a few counters that are raised together or in turn. It takes 2 KiB. The
// zero Set is at zero; it must not be copied. Safe for concurrent use.
type Set struct{ parts [1 << partBits]part }

const partBits = 4

type part struct {
	of [Size]atomic.Uint64
	_  [128 - Size*8]byte // two lines: they are fetched in pairs
}

// Add raises the i-th counter by one, 0 to Size-1.
func (s *Set) Add(i int) { s.parts[own()].of[i].Add(1) }

// Load returns what the i-th counter has. What others count meanwhile may be part
// of it.
func (s *Set) Load(i int) (sum uint64) {
	for p := range s.parts {
		sum += s.parts[p].of[i].Load()
	}
	return sum
}

// own returns the part of the goroutine that calls, by the place of its stack: those
// that run at the same time have different ones, mostly. A stack is 2 KiB at least, and
// the bits below tell the depth of the call only.
func own() uint64 {
	var here byte
	return uint64(uintptr(unsafe.Pointer(&here))) >> 11 * 0x9e3779b97f4a7c15 >> (64 - partBits)
}
