package jackcache_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackcache/jackcache"
)

// A string with a control character anywhere is not JSON, whatever is around it.
func TestValidJSON(t *testing.T) {
	for at := range 40 {
		for c := range 256 {
			b := []byte(`{"k":"` + strings.Repeat("a", 40) + `"}`)
			b[6+at] = byte(c)
			if c >= 0x80 {
				continue // UTF-8 is below
			}
			if got, want := jackcache.ValidJSON(b), json.Valid(b); got != want {
				t.Fatalf("byte %#x at %d: valid %v, want %v", c, at, got, want)
			}
		}
	}
	for text, want := range map[string]bool{
		`{"a":"é😀"}`: true, "\"\xff\"": false, "\"\xed\xa0\x80\"": false, `"\ud800"`: true, `"\x"`: false,
		"{\n\t\"a\" : [1, 2.5e-3, -0]\r\n}": true, ``: false, `01`: false, `[1,]`: false, `{} {}`: false, `nul`: false,
	} {
		if got := jackcache.ValidJSON([]byte(text)); got != want {
			t.Errorf("%q: valid %v, want %v", text, got, want)
		}
	}
	deep := bytes.Repeat([]byte("["), 1<<20)
	if jackcache.ValidJSON(append(deep, bytes.Repeat([]byte("]"), 1<<20)...)) {
		t.Error("a million brackets are valid")
	}
}

func FuzzValidJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,"x\n"]}`))
	f.Add([]byte(`"00000000000000000000000000000000`)) // no end
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := jackcache.ValidJSON(b), json.Valid(b) && utf8.Valid(b); got != want {
			t.Errorf("%q: valid %v, want %v", b, got, want)
		}
	})
}
