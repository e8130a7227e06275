package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is
//
//	length  u32  of the payload
//	crc     u32  CRC32C of position and payload, started from salt and length
//	position u64
//	payload
//
// in little-endian. The salt of the segment decides whether bytes are a frame:
// what a payload holds, or a file held before, has another one.
const (
	frameHead  = 16
	maxPayload = 256 << 20
)

// errFrame means that bytes are not a frame.
var errFrame = errors.New("no record")

// seedOf is the start of the checksums of a segment.
func seedOf(salt [16]byte) uint32 { return crc32.Checksum(salt[:], castagnoli) }

// sealFrame writes the checksum of a frame of the segment with the given seed.
func sealFrame(frame []byte, seed uint32) {
	binary.LittleEndian.PutUint32(frame[4:], checksum(frame, seed))
}

func checksum(frame []byte, seed uint32) uint32 {
	return crc32.Update(seed^binary.LittleEndian.Uint32(frame), castagnoli, frame[8:])
}

// checkFrame returns the position of a whole frame, or errFrame.
func checkFrame(frame []byte, seed uint32) (Position, error) {
	if len(frame) <= frameHead || int(binary.LittleEndian.Uint32(frame)) != len(frame)-frameHead ||
		binary.LittleEndian.Uint32(frame[4:]) != checksum(frame, seed) {
		return 0, errFrame
	}
	return Position(binary.LittleEndian.Uint64(frame[8:])), nil
}

// readAhead is how much of a segment is read at once.
const readAhead = 1 << 20

// frames reads the frames of a segment in order.
type frames struct {
	f    io.ReaderAt
	seed uint32
	off  int64 // of the next frame
	end  int64 // where the segment ends
	buf  []byte
	left []byte // of buf, from off on
}

// next returns the next frame and its position. It returns io.EOF at the end,
// errFrame where no valid frame stands, and other errors of the file. The frame
// is valid until the next call.
func (r *frames) next() (frame []byte, p Position, err error) {
	if r.off >= r.end {
		return nil, 0, io.EOF
	}
	if err := r.fill(frameHead); err != nil {
		return nil, 0, err
	}
	size := int64(binary.LittleEndian.Uint32(r.left))
	if size == 0 || size > maxPayload || size > r.end-r.off-frameHead {
		return nil, 0, errFrame
	}
	if err := r.fill(frameHead + int(size)); err != nil {
		return nil, 0, err
	}
	frame = r.left[:frameHead+size]
	if p, err = checkFrame(frame, r.seed); err != nil {
		return nil, 0, err
	}
	r.left = r.left[len(frame):]
	r.off += int64(len(frame))
	return frame, p, nil
}

// skip goes on at an offset behind the present one.
func (r *frames) skip(to int64) {
	r.left = r.left[min(to-r.off, int64(len(r.left))):]
	r.off = to
}

// fill makes left hold at least n bytes.
func (r *frames) fill(n int) error {
	if len(r.left) >= n {
		return nil
	}
	if int64(n) > r.end-r.off {
		return errFrame
	}
	want := int(min(max(int64(n), readAhead), r.end-r.off))
	if cap(r.buf) < want {
		r.buf = make([]byte, want)
	}
	held := copy(r.buf[:want], r.left)
	got, err := r.f.ReadAt(r.buf[held:want], r.off+int64(held))
	r.left = r.buf[:held+got]
	if held+got >= n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return errFrame
	}
	return fmt.Errorf("read at %d: %w", r.off, err)
}
