package journal

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzRecord: any payload is refused, or is a record that is written as it was
// read; the index reads of it what the record says.
func FuzzRecord(f *testing.F) {
	for _, r := range goldenRecords(f) {
		b := appendPayload(nil, r)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	h := newHasher()
	space := testSpace(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, indexErr := newReader(h, space).entry(1, b, 0)
		r, err := decodeRecord(space, 1, bytes.Clone(b))
		if err != nil {
			if !errors.Is(err, errPayload) {
				t.Fatalf("%x: %v", b, err)
			}
			return
		}
		if indexErr != nil {
			t.Fatalf("%x can be read, but not indexed: %v", b, indexErr)
		}
		again := appendPayload(nil, r)
		twice, err := decodeRecord(space, 1, bytes.Clone(again))
		if err != nil || !bytes.Equal(appendPayload(nil, twice), again) {
			t.Fatalf("%x is written as %x, which is %+v, %v", b, again, twice, err)
		}
		want := h.entryOf(r)
		if e.kind != want.kind || e.key != want.key || e.version != want.version || e.generation != want.generation || e.org != want.org ||
			e.expires != want.expires || e.life != want.life || e.messages != want.messages || len(e.resolves) != len(want.resolves) {
			t.Fatalf("%x: indexed as %+v, is %+v", b, e, want)
		}
	})
}

// FuzzOpen: a journal of any bytes opens or is refused, and what it has is what
// a writer with that salt wrote: nothing after the first byte that differs.
func FuzzOpen(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", goldenFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden, uint16(0), byte(0))
	f.Add(golden[:len(golden)-7], uint16(300), byte(1))
	f.Add(append(bytes.Clone(golden), golden[headerSize:]...), uint16(170), byte(255))
	wanted := goldenRecords(f)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip byte) {
		b = bytes.Clone(b)
		if int(at) < len(b) {
			b[at] ^= flip
		}
		disk := newMemory()
		name := segmentName(goldenHeader.first)
		file, _ := disk.create(name)
		if _, err := file.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		o, err := Options{
			Memory: true, Space: testSpace(t), MaxBytes: 1 << 30, Window: 100 * 365 * 24 * time.Hour, LowWater: -1,
			Now: func() time.Time { return time.UnixMilli(1785000000123) }, Logger: slog.New(slog.DiscardHandler),
		}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		j, err := open(o, disk)
		if err != nil {
			return
		}
		defer closeTest(t, j)
		same := 0
		for same < min(len(b), len(golden)) && b[same] == golden[same] {
			same++
		}
		for _, r := range all(t, j) {
			i := int(r.Position - goldenHeader.first - 1)
			if bytes.Equal(b[:min(len(b), headerSize)], golden[:headerSize]) && (i < 0 || i >= len(wanted) || !sameRecord(r, wanted[i])) {
				t.Fatalf("%+v was invented (the first %d bytes are those of the file)", r, same)
			}
		}
		for _, o := range j.Outstanding(0, 1000) {
			if _, err := j.Read(o.Position); err != nil {
				t.Fatal(err)
			}
		}
	})
}
