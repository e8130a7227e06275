package redisstore

import "unsafe"

// unsafeBytes returns the bytes of a string that nobody else has.
func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
