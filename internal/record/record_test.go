package record

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/jackcache/jackcache/internal/clock"
)

func drawVersion(t *rapid.T) clock.Version {
	return clock.NewVersion(rapid.Int64Range(0, 1<<48-1).Draw(t, "ms"), rapid.Uint16().Draw(t, "counter"), rapid.Uint16().Draw(t, "node"))
}

func TestValueRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := Value{
			Version: drawVersion(t), Generation: rapid.Uint64().Draw(t, "generation"),
			Flags: Flags(rapid.IntRange(0, int(knownFlags)).Draw(t, "flags")), Stored: rapid.SliceOf(rapid.Byte()).Draw(t, "stored"),
		}
		text := v.Append(nil)
		if len(text)-len(v.Stored) > MaxHeader {
			t.Fatalf("a header of %d bytes, the most are %d", len(text)-len(v.Stored), MaxHeader)
		}
		got, err := ParseValue(text)
		if err != nil || got.Version != v.Version || got.Generation != v.Generation || got.Flags != v.Flags || !bytes.Equal(got.Stored, v.Stored) {
			t.Fatalf("%+v reads back as %+v, %v", v, got, err)
		}
	})
	longest := Value{Generation: math.MaxUint64}
	if got := len(longest.Append(nil)); got != MaxHeader {
		t.Errorf("the longest header has %d bytes, MaxHeader is %d", got, MaxHeader)
	}
}

func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Message{
			Order: Order{drawVersion(t), rapid.Uint16().Draw(t, "index")}, Generation: rapid.Uint64().Draw(t, "generation"),
			Arrival: rapid.Int64Range(0, math.MaxInt64).Draw(t, "arrival"), Flags: Flags(rapid.IntRange(0, int(knownFlags)).Draw(t, "flags")),
			ID:     rapid.OneOf(rapid.StringN(1, 20, -1), rapid.StringMatching(`[%|27C5]{1,9}`)).Draw(t, "id"),
			Stored: rapid.SliceOf(rapid.Byte()).Draw(t, "stored"),
		}
		got, err := ParseMessage(m.Append(nil))
		if err != nil || got.Order != m.Order || got.Generation != m.Generation || got.Arrival != m.Arrival || got.ID != m.ID ||
			got.Flags != m.Flags || !bytes.Equal(got.Stored, m.Stored) {
			t.Fatalf("%+v reads back as %+v, %v", m, got, err)
		}
		if !bytes.HasPrefix(m.Append(nil), m.AppendHead(nil)) {
			t.Fatalf("%q does not start with the head %q", m.Append(nil), m.AppendHead(nil))
		}
	})
}

func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := Order{drawVersion(t), rapid.Uint16().Draw(t, "a")}, Order{drawVersion(t), rapid.Uint16().Draw(t, "b")}
		if rapid.Bool().Draw(t, "one version") {
			b.Version = a.Version
		}
		if got, err := ParseOrder(a.String()); err != nil || got != a {
			t.Fatalf("parse %s: %s, %v", a, got, err)
		}
		if a.Compare(b) != strings.Compare(a.String(), b.String()) || a.Compare(b) != -b.Compare(a) {
			t.Fatalf("%s and %s compare as %d", a, b, a.Compare(b))
		}
	})
}

// TestCorruptRecords: what is not written by Append is refused, and says why.
func TestCorruptRecords(t *testing.T) {
	const version, order = "01a204e47a4100020001", "01a204e47a4100020001000a"
	for _, c := range []struct{ name, record, want string }{
		{"empty", "", "shorter than a header"},
		{"short", version + "10", "shorter than a header"},
		{"version in upper case", "01A204E47A4100020001" + "1000|x", "lower-case"},
		{"later format", version + "2000|x", "this build reads"},
		{"unknown flags", version + "1040|x", "later format"},
		{"flags that are no number", version + "1zz0|x", "hexadecimal"},
		{"no end of header", version + "1000", "no end of header"},
		{"no generation", version + "100|x", "a number of 0 digits"},
		{"leading zero", version + "10000|x", "leading zero"},
		{"generation in upper case", version + "100A|x", "hexadecimal"},
		{"generation too long", version + "100" + strings.Repeat("1", 17) + "|x", "a number of 17 digits"},
	} {
		if v, err := ParseValue([]byte(c.record)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("value, %s: %+v, %v", c.name, v, err)
		}
	}
	for _, c := range []struct{ name, record, want string }{
		{"empty", "", "no message header"},
		{"no header", order + "100", "no message header"},
		{"a value", version + "1000|payload that is long", ""},
		{"later format", order + "200|0|1|a|x", "this build reads"},
		{"unknown flags", order + "180|0|1|a|x", "later format"},
		{"index in upper case", version + "000A" + "100|0|1|a|x", "hexadecimal"},
		{"no generation", order + "100|", "no generation"},
		{"empty generation", order + "100||1|a|x", "a number of 0 digits"},
		{"leading zero in the generation", order + "100|01|1|a|x", "leading zero"},
		{"no arrival", order + "100|0|1", "no arrival"},
		{"arrival that is no number", order + "100|0|x|a|x", "arrival"},
		{"negative arrival", order + "100|0|-1|a|x", "arrival"},
		{"arrival with a sign", order + "100|0|+1|a|x", "arrival"},
		{"arrival with a leading zero", order + "100|0|01|a|x", "arrival"},
		{"arrival as a float", order + "100|0|1e3|a|x", "arrival"},
		{"arrival too large", order + "100|0|9223372036854775808|a|x", "arrival"},
		{"no id", order + "100|0|1|a", "no id"},
		{"empty id", order + "100|0|1||x", "no id"},
		{"id with an unknown escape", order + "100|0|1|%41|x", "message id"},
		{"id with an escape in lower case", order + "100|0|1|%7c|x", "message id"},
	} {
		if m, err := ParseMessage([]byte(c.record)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("message, %s: %+v, %v", c.name, m, err)
		}
	}
}

func TestCompress(t *testing.T) {
	text := bytes.Repeat([]byte("Is the red one still there? "), 100)
	for _, c := range []struct {
		name      string
		payload   []byte
		threshold int
		want      Flags
	}{
		{"below the threshold", text, len(text) + 1, 0},
		{"at the threshold", text, len(text), Zstd},
		{"never", text, -1, 0},
		{"always", text, 0, Zstd},
		{"nothing", nil, 0, 0},
		{"not made smaller", []byte("abc"), 0, 0},
	} {
		before := bytes.Clone(c.payload)
		stored, flags := Compress(c.payload, c.threshold)
		if flags != c.want || flags == Zstd && len(stored) >= len(c.payload) || flags == 0 && !bytes.Equal(stored, c.payload) {
			t.Errorf("%s: flags %02x, %d bytes of %d", c.name, flags, len(stored), len(c.payload))
		}
		if got, err := (Value{Flags: flags, Stored: stored}).Payload(); err != nil || !bytes.Equal(got, before) {
			t.Errorf("%s: %d bytes come back, %v", c.name, len(got), err)
		}
		again, _ := Compress(c.payload, c.threshold)
		if !bytes.Equal(again, stored) {
			t.Errorf("%s: one payload is compressed in two ways", c.name)
		}
	}
}

// TestConcurrentCompress: one encoder and one decoder serve the process, and
// never mix payloads.
func TestConcurrentCompress(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 100 {
				payload := bytes.Repeat(fmt.Appendf(nil, "payload %d of %d; ", n, i), 50+n)
				stored, flags := Compress(payload, 100)
				again, _ := Compress(payload, 100)
				got, err := Message{Flags: flags, Stored: stored}.Payload()
				if err != nil || flags != Zstd || !bytes.Equal(got, payload) || !bytes.Equal(again, stored) {
					t.Errorf("payload %d of %d: flags %02x, %d bytes of %d, %v", n, i, flags, len(got), len(payload), err)
				}
			}
		})
	}
	wg.Wait()
}

// TestBombs: a small frame that claims or holds more than MaxPayload is refused.
func TestBombs(t *testing.T) {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, MaxPayload+1)
	half := e.EncodeAll(zeros[:MaxPayload/2+1], nil)
	var streamed bytes.Buffer // a frame that does not say how long it is
	w, err := zstd.NewWriter(&streamed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(zeros); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		fits  bool
	}{
		{"as much as fits", e.EncodeAll(zeros[:MaxPayload], nil), true},
		{"one byte more", e.EncodeAll(zeros, nil), false},
		{"of unknown length", streamed.Bytes(), false},
		{"two frames", append(bytes.Clone(half), half...), false},
	} {
		got, err := expand(Zstd, c.frame)
		if c.fits && (err != nil || len(got) != MaxPayload) {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
		if !c.fits && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %d bytes from a frame of %d, %v", c.name, len(got), len(c.frame), err)
		}
	}
}

func TestBrokenFrames(t *testing.T) {
	payload := bytes.Repeat([]byte("text "), 1000)
	frame, flags := Compress(payload, 0)
	if flags != Zstd {
		t.Fatal("not compressed")
	}
	for i := range frame {
		flipped := bytes.Clone(frame)
		flipped[i] ^= 0x10
		// One bit of the header means nothing; any other is noticed.
		if got, err := expand(Zstd, flipped); !errors.Is(err, ErrCorrupt) && !bytes.Equal(got, payload) {
			t.Errorf("byte %d flipped: %d bytes, %v", i, len(got), err)
		}
		if got, err := expand(Zstd, frame[:i]); i > 0 && !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at byte %d: %d bytes, %v", i, len(got), err)
		}
	}
}
