package record

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackcache/jackcache/internal/clock"
)

// The files in testdata are records as builds have written them, named by kind
// and format. They are never written again: every later build reads them.

var goldenVersion = clock.NewVersion(0x019f9a7a5b3c, 2, 1)

// goldenText is what the compressed records hold.
func goldenText() []byte {
	return bytes.Repeat([]byte(`{"role":"user","content":"Is the red one still there?"},`), 64)
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenValues(t *testing.T) {
	for _, c := range []struct {
		file    string
		want    Value
		payload string
	}{
		{"value-1-plain.bin", Value{}, `{"leadId":"lead-42"}`},
		{"value-1-generation.bin", Value{Generation: 31}, `{"text":"a|b"}`},
		{"value-1-tombstone.bin", Value{Generation: 3, Flags: Tombstone}, ""},
		{"value-1-zstd.bin", Value{Flags: Zstd}, string(goldenText())},
	} {
		b := golden(t, c.file)
		v, err := ParseValue(b)
		if err != nil || v.Version != goldenVersion || v.Generation != c.want.Generation || v.Flags != c.want.Flags || v.IsTombstone() != (c.want.Flags == Tombstone) {
			t.Errorf("%s: %+v, %v; want %+v", c.file, v, err, c.want)
			continue
		}
		if p, err := v.Payload(); err != nil || string(p) != c.payload {
			t.Errorf("%s: payload %q, %v; want %q", c.file, p, err, c.payload)
		}
		if again := v.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%s: written again as %q", c.file, again)
		}
	}
}

func TestGoldenMessages(t *testing.T) {
	const hi = `{"id":"msg-1","role":"user","content":"hi"}`
	for _, c := range []struct {
		file, id, payload string
		flags             Flags
	}{
		{"message-1-plain.bin", "msg-1", hi, 0},
		{"message-1-escaped-id.bin", "a|b%7C%", hi, 0},
		{"message-1-zstd.bin", "msg-2", string(goldenText()), Zstd},
	} {
		b := golden(t, c.file)
		m, err := ParseMessage(b)
		if err != nil || m.Order != (Order{goldenVersion, 10}) || m.Generation != 2 || m.Arrival != 1785000000000123 || m.ID != c.id || m.Flags != c.flags {
			t.Errorf("%s: %+v, %v", c.file, m, err)
			continue
		}
		if p, err := m.Payload(); err != nil || string(p) != c.payload {
			t.Errorf("%s: payload %q, %v; want %q", c.file, p, err, c.payload)
		}
		if again := m.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%s: written again as %q", c.file, again)
		}
	}
}
