package keys

import (
	"strings"
	"unicode/utf8"
)

// leastMasked is the shortest id of which a part is shown. Of a shorter one two
// characters would tell too much.
const leastMasked = 7

// Masked returns what may be shown of an id: the last two digits of a phone, the
// first two characters of any other. NoID is empty.
func (i ID) Masked() string {
	n := utf8.RuneCountInString(i.raw)
	switch {
	case n == 0:
		return ""
	case n < leastMasked:
		return "…"
	case strings.Trim(i.raw, "0123456789") == "" || strings.Trim(i.raw[1:], "0123456789") == "" && i.raw[0] == '+':
		return "…" + i.raw[len(i.raw)-2:]
	}
	end := 0
	for range 2 {
		_, size := utf8.DecodeRuneInString(i.raw[end:])
		end += size
	}
	return i.raw[:end] + "…"
}
