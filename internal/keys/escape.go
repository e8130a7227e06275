package keys

import (
	"fmt"
	"strings"
)

const upperHex = "0123456789ABCDEF"

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '.' || c == '_' || c == '~' || c == '-'
}

// escape writes every byte outside [A-Za-z0-9._~-] as %XX, so that different
// inputs never give the same text and no separator is ever part of it.
func escape(s string) string {
	extra := 0
	for i := range len(s) {
		if !plain(s[i]) {
			extra += 2
		}
	}
	if extra == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+extra)
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// unescape is the inverse of escape. It refuses what escape cannot have
// written, so that one key has one spelling.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		for i := range len(s) {
			if !plain(s[i]) {
				return "", fmt.Errorf("byte %q is not escaped", s[i])
			}
		}
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plain(c) {
			b = append(b, c)
			continue
		}
		if c != '%' || i+2 >= len(s) {
			return "", fmt.Errorf("byte %q is not escaped", c)
		}
		hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
		if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
			return "", fmt.Errorf("%q is not an escape that is written here", s[i:i+3])
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), nil
}
