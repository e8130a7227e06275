package clock

import "encoding/binary"

// BinaryLen is the length of a version in its binary form.
const BinaryLen = 10

// AppendBinary adds the binary form of v to dst: BinaryLen bytes, whose order is
// the order of the versions. String is the same in hexadecimal.
func (v Version) AppendBinary(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, v.tick)
	return binary.BigEndian.AppendUint16(dst, v.node)
}

// FromBinary is the inverse of AppendBinary; every array is a version.
func FromBinary(b [BinaryLen]byte) Version {
	return Version{tick: binary.BigEndian.Uint64(b[:]), node: binary.BigEndian.Uint16(b[8:])}
}
