package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// The file in testdata is a segment as the build that introduced format 1 wrote
// it. It is never written again: every later build reads it.

const goldenFile = "segment-1.jnl"

var goldenHeader = header{
	boot: 1, first: 1<<bootShift | 1, created: 1785000000000000000, since: 1784999999000000000,
	identity: [16]byte{0x0b, 0x9a, 0xd0, 0xf4, 0x98, 0xa7, 0x4d, 0x0f, 0x8f, 0x0e, 0x6d, 0x3f, 0x1f, 0x2a, 0x9c, 0x22},
	salt:     [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, space: "jack:dev:",
}

// goldenRecords are what the file holds, each field that there is at least once.
func goldenRecords(t testing.TB) []*Record {
	at := time.UnixMilli(1785000000123)
	lead, talk := testKey(t, "leads", "org-1", "lead|1"), testKey(t, keys.Conversations, "org-1", "16049085474")
	v := clock.NewVersion(0x019f9a7a5b3c, 2, 1)
	phone, err := keys.ParsePhone("+16049085474", "")
	if err != nil {
		t.Fatal(err)
	}
	ops := []store.Op{
		{Action: store.Set, Key: lead, Version: v, Generation: 7, ExpiresAt: at.Add(time.Hour), Payload: []byte(`{"leadId":"lead-42"}`)},
		{Action: store.Set, Key: lead, Version: v.Next(2), ExpiresAt: at.Add(time.Hour + 5), Flags: record.Tombstone},
		{Action: store.Set, Key: testSpace(t).Directory(phone), Version: v, ExpiresAt: at.Add(time.Hour), Flags: record.Zstd, Payload: []byte{0x28, 0xb5, 0x2f, 0xfd}},
		{Action: store.Set, Key: testSpace(t).Forgotten(lead), Version: v, ExpiresAt: at.Add(time.Hour), Payload: []byte("{}")},
		{
			Action: store.Append, Key: talk, Version: v, ExpiresAt: at.Add(time.Hour), MaxLife: 24 * time.Hour,
			Window: store.Window{Messages: 200, Slack: 50, Bytes: 1 << 20, IDs: 1000},
			Messages: []store.Message{
				{ID: "msg-1", Digest: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, Index: 3, Payload: []byte(`{"id":"msg-1"}`)},
				{ID: "m|2", At: record.Order{Version: v, Index: 9}, Flags: record.Zstd, Payload: []byte{0x28}},
			},
		},
		{Action: store.Replace, Key: talk, Version: v.Next(1), ExpiresAt: at.Add(time.Hour), Keep: 48 * time.Hour},
	}
	org := testOrg(t, "org/1 é")
	records := []*Record{
		{Kind: Generation, Time: at, Org: org, Generation: 1 << 40},
		{Kind: Invalidation, Time: at, Org: org, Generation: 3, Token: v},
		{Kind: Assigned, Org: org, Generation: 9, UpTo: 1<<bootShift | 4},
		{Kind: Resolved, Time: at, Resolves: []Position{1<<bootShift | 2, 5}},
		{Kind: Generation, Org: org, Generation: 5, Resolves: []Position{9}, origin: 77},
		{Kind: ended, Org: org, UpTo: 12, origin: 12},
		{Kind: dropped, Time: at, origin: 3},
	}
	for i, op := range ops {
		op.Mode = store.Merge
		records = append(records, &Record{Kind: Applied + Kind(i%2), Time: at, Op: op})
	}
	for i, r := range records {
		r.Position = goldenHeader.first + 1 + Position(i)
	}
	return records
}

func goldenSegment(t testing.TB) []byte {
	b := newBatch()
	var payload []byte
	for _, r := range goldenRecords(t) {
		payload = appendPayload(payload[:0], r)
		e := newHasher().entryOf(r)
		e.pos = r.Position
		b.add(e, payload)
	}
	b.seal(seedOf(goldenHeader.salt))
	return append(goldenHeader.append(nil), b.buf...)
}

func TestGolden(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("testdata", goldenFile))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := parseHeader(content); err != nil || h != goldenHeader {
		t.Errorf("header %+v, %v", h, err)
	}
	if !bytes.Equal(content, goldenSegment(t)) {
		t.Error("what is written now differs")
	}
	o := testOptions(t)
	o.Now = func() time.Time { return time.UnixMilli(1785000000123) }
	if err := os.WriteFile(filepath.Join(o.Dir, segmentName(goldenHeader.first)), content, 0o600); err != nil {
		t.Fatal(err)
	}
	j := openTest(t, o)
	want := goldenRecords(t)
	got := all(t, j)
	if len(got) != len(want)-2 || j.Stats().Damaged != 0 {
		t.Fatalf("%d records, %d damaged", len(got), j.Stats().Damaged)
	}
	for i, r := range got {
		w := want[i]
		if i >= 5 { // two are the journal's own
			w = want[i+2]
		}
		if !sameRecord(r, w) || r.Op.Mode != w.Op.Mode || r.Op.Key != w.Op.Key || !r.Time.Equal(w.Time) || !r.Op.ExpiresAt.Equal(w.Op.ExpiresAt) || r.Org != w.Org {
			t.Errorf("record %d: %+v, want %+v", i, r, w)
		}
	}
	if j.Identity() != "0b9ad0f4-98a7-4d0f-8f0e-6d3f1f2a9c22" || bootOf(j.Position()) != 2 {
		t.Errorf("identity %s, position %x", j.Identity(), j.Position())
	}
}
