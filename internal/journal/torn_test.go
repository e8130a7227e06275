package journal

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

// onlySegment returns the path of the segment that has records.
func onlySegment(t testing.TB, dir string) (path string, content []byte) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > headerSize {
			if path != "" {
				t.Fatalf("two segments have records: %s, %s", path, p)
			}
			path, content = p, b
		}
	}
	return path, content
}

// all returns what a journal holds.
func all(t testing.TB, j *Journal) []*Record {
	t.Helper()
	var out []*Record
	err := j.Scan(context.Background(), 0, j.Position(), func(r *Record) error { out = append(out, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameRecord(a, b *Record) bool {
	return a.Position == b.Position && bytes.Equal(appendPayload(nil, a), appendPayload(nil, b))
}

// TestCutAnywhere cuts a segment after every record, and at every byte of the
// last two: what was whole is there, and nothing else.
func TestCutAnywhere(t *testing.T) {
	o := testOptions(t)
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var records []*Record
	var ends []int64
	for i := range 40 {
		group := []*Record{appendRecord(Pending, testKey(t, keys.Conversations, "org", fmt.Sprint(i%5)), i)}
		if i%4 == 3 {
			group = append(group, setRecord(Applied, testKey(t, "leads", "org", fmt.Sprint(i)), i))
		}
		appendTest(t, j, group...)
		records = append(records, group...)
		for range group {
			ends = append(ends, j.Stats().Bytes)
		}
	}
	closeTest(t, j)
	path, content := onlySegment(t, o.Dir)
	o, err = o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	cuts := []int64{headerSize}
	cuts = append(cuts, ends...)
	for at := ends[len(ends)-4]; at < int64(len(content)); at++ {
		cuts = append(cuts, at)
	}
	for _, cut := range cuts {
		want := 0
		for want < len(ends) && ends[want] <= cut {
			want++
		}
		j, err := open(o, diskWith(t, filepath.Base(path), content[:cut]))
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		got := all(t, j)
		if len(got) != want || j.Stats().Damaged != 0 {
			t.Fatalf("cut at %d: %d records, want %d; %d damaged", cut, len(got), want, j.Stats().Damaged)
		}
		for i, r := range got {
			if !sameRecord(r, records[i]) {
				t.Fatalf("cut at %d: record %d is %+v, want %+v", cut, i, r, records[i])
			}
		}
		closeTest(t, j)
	}
}

// diskWith returns a disk in memory with one file.
func diskWith(t testing.TB, name string, content []byte) files {
	t.Helper()
	disk := newMemory()
	f, err := disk.create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	return disk
}

// TestFlippedBits changes one byte: no record changes.
func TestFlippedBits(t *testing.T) {
	o := testOptions(t)
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var records []*Record
	for i := range 10 {
		r := setRecord(Pending, testKey(t, "leads", "org", fmt.Sprint(i)), i)
		appendTest(t, j, r)
		records = append(records, r)
	}
	closeTest(t, j)
	path, content := onlySegment(t, o.Dir)
	o, err = o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		b := bytes.Clone(content)
		at := headerSize + rng.IntN(len(b)-headerSize)
		b[at] ^= byte(1 + rng.IntN(255))
		j, err := open(o, diskWith(t, filepath.Base(path), b))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range all(t, j) {
			if !sameRecord(r, records[i]) {
				t.Fatalf("seed %d, byte %d: record %d is %+v", seed, at, i, r)
			}
		}
		closeTest(t, j)
	}
}

// TestRecordInPayload: a payload that has the bytes of a record is no record,
// even where the journal is cut in the middle of it.
func TestRecordInPayload(t *testing.T) {
	o := testOptions(t)
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	victim := setRecord(Applied, testKey(t, "leads", "victim", "1"), 1)
	appendTest(t, j, victim)
	_, content := onlySegment(t, o.Dir)
	evil := setRecord(Applied, testKey(t, "leads", "evil", "1"), 2)
	// The bytes as they stand in the file, and as they would in one without salt.
	evil.Op.Payload = bytes.Clone(content[headerSize:])
	bare := bytes.Clone(content[headerSize:])
	sealFrame(bare, 0)
	evil.Op.Payload = append(evil.Op.Payload, bare...)
	appendTest(t, j, evil, setRecord(Applied, testKey(t, "leads", "evil", "2"), 3))
	closeTest(t, j)
	path, content := onlySegment(t, o.Dir)
	at := bytes.Index(content, evil.Op.Payload)
	content[at-1] ^= 1 // the record around it is damaged
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	again := openTest(t, o)
	if got := all(t, again); len(got) != 1 || !sameRecord(got[0], victim) {
		t.Errorf("records %+v", got)
	}
}

// TestDamage: what cannot be read of a segment that is not the last is kept
// beside it, counted once, and concerns no other segment.
func TestDamage(t *testing.T) {
	o := testOptions(t)
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var records []*Record
	for i := range 10 {
		r := setRecord(Pending, testKey(t, "leads", "org", fmt.Sprint(i)), i)
		appendTest(t, j, r)
		records = append(records, r)
	}
	path, _ := onlySegment(t, o.Dir)
	closeTest(t, j)
	j, err = Open(o) // begins a second segment
	if err != nil {
		t.Fatal(err)
	}
	later := setRecord(Pending, testKey(t, "leads", "org", "later"), 11)
	appendTest(t, j, later)
	closeTest(t, j)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(content, records[5].Op.Payload)
	content[at] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err = Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if got := j.Outstanding(0, 100); len(got) != 6 || got[5].Position != later.Position || j.Stats().Damaged == 0 {
		t.Errorf("outstanding %+v, %d damaged", got, j.Stats().Damaged)
	}
	kept, err := os.ReadFile(path + damagedSuffix)
	if err != nil || !bytes.HasSuffix(content, kept) || len(kept) < 5*len(records[5].Op.Payload) {
		t.Errorf("kept %d bytes, %v", len(kept), err)
	}
	closeTest(t, j)
	again := openTest(t, o)
	if st := again.Stats(); st.Damaged != 0 || st.PendingRecords != 6 {
		t.Errorf("opened again: %+v", st)
	}
}

func TestOpenRefuses(t *testing.T) {
	o := testOptions(t)
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	appendTest(t, j, setRecord(Applied, testKey(t, "leads", "org", "1"), 1))
	closeTest(t, j)
	path, content := onlySegment(t, o.Dir)
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want string) {
		t.Helper()
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open: %v, want %q", err, want)
		}
	}
	newer := bytes.Clone(content)
	newer[8] = 2
	write(newer)
	refused("format 2; this build reads 1")
	write(content)
	other, err := Open(testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	h := header{boot: 1, identity: other.identity, salt: newSalt(), first: 1<<bootShift | 99, space: o.Space.Prefix()}
	closeTest(t, other)
	stranger := filepath.Join(o.Dir, segmentName(h.first))
	if err := os.WriteFile(stranger, h.append(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("another journal")
	if err := os.Remove(stranger); err != nil {
		t.Fatal(err)
	}
	prod, err := keys.NewSpace(keys.Prod)
	if err != nil {
		t.Fatal(err)
	}
	o.Space = prod
	refused(`keys that start with "jack:dev:"`)
	if _, err := Open(Options{}); err == nil || !strings.Contains(err.Error(), "MaxBytes is 0") {
		t.Errorf("no options: %v", err)
	}
}

// waitFor waits for what the journal does in the background.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
		<-time.After(time.Millisecond)
	}
}
