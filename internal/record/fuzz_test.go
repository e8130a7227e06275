package record

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// seed adds the golden files of a kind, whole and cut.
func seed(f *testing.F, pattern string) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		f.Fatalf("%s: %v, %v", pattern, files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
}

// FuzzParseValue: any bytes are refused as corrupt, or are what Append writes.
func FuzzParseValue(f *testing.F) {
	seed(f, "value-*")
	f.Add([]byte("01a204e47a410002000110000|x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ParseValue(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if again := v.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%q is written again as %q", b, again)
		}
		checkPayload(t, v.Payload)
	})
}

// FuzzParseMessage is FuzzParseValue for messages.
func FuzzParseMessage(f *testing.F) {
	seed(f, "message-*")
	f.Add([]byte("01a204e47a4100020001000a100|0|+1|%25|x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if again := m.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%q is written again as %q", b, again)
		}
		checkPayload(t, m.Payload)
	})
}

func checkPayload(t *testing.T, payload func() ([]byte, error)) {
	p, err := payload()
	if err != nil && !errors.Is(err, ErrCorrupt) || len(p) > MaxPayload {
		t.Fatalf("a payload of %d bytes, %v", len(p), err)
	}
}
