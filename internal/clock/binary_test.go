package clock

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestVersionBinary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := versions().Draw(t, "a"), versions().Draw(t, "b")
		first, second := a.AppendBinary([]byte("x"))[1:], b.AppendBinary(nil)
		if len(first) != BinaryLen || FromBinary([BinaryLen]byte(first)) != a {
			t.Fatalf("%s is %x", a, first)
		}
		if bytes.Compare(first, second) != a.Compare(b) {
			t.Fatalf("%s and %s are %x and %x", a, b, first, second)
		}
	})
}
