package journal

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

// TestScanPassesOver: a damaged record of a segment that is in use costs itself,
// and what stands behind it up to the next one that the index knows; it is counted
// and logged once.
func TestScanPassesOver(t *testing.T) {
	h := openHurt(t, testOptions(t))
	var rs []*Record
	for i := range 200 {
		r := setRecord(Applied, testKey(t, "leads", "org", fmt.Sprint(i%150)), i)
		if i%10 == 3 {
			r.Kind = Pending
		}
		appendTest(t, h.Journal, r)
		rs = append(rs, r)
	}
	want := h.scan()
	lose := func(i ...int) {
		t.Helper()
		for _, i := range i {
			want = slices.DeleteFunc(want, func(p Position) bool { return p == rs[i].Position })
		}
		for range 3 {
			if got := h.scan(); !slices.Equal(got, want) {
				t.Fatalf("without %v: %d records, want %d", i, len(got), len(want))
			}
		}
	}
	hit := slices.IndexFunc(rs, func(r *Record) bool { _, off := h.found(r.Position); return off > 14000 }) - 1
	h.flip(h.seg, 14000)
	lose(hit)
	if n := h.log.count(passedOver); n != 1 || h.Stats().Damaged == 0 || h.Stats().Damaged > 300 {
		t.Errorf("%d lines, %d bytes damaged", n, h.Stats().Damaged)
	}
	h.destroy(rs[130].Position, true) // the index knows it, and so how long it is
	lose(130)
	h.destroy(rs[5].Position, true) // a later value made it needless: nobody knows
	lose(append(needless(rs, 5), 5)...)
	h.destroy(rs[199].Position, false) // the last one
	lose(199)
	before := h.Stats().Damaged
	appendTest(t, h.Journal, setRecord(Applied, testKey(t, "leads", "org", "behind"), 999))
	want = append(want, h.Position())
	lose()
	if h.Stats().Damaged != before || h.log.count(passedOver) != 4 {
		t.Errorf("%d bytes damaged, %d before; %d lines", h.Stats().Damaged, before, h.log.count(passedOver))
	}
}

// needless returns the records behind the i-th one that the index does not know.
func needless(rs []*Record, i int) (out []int) {
	for i++; i < 50 && rs[i].Kind == Applied; i++ {
		out = append(out, i)
	}
	return out
}

// TestScanUnknownRest: where the index knows nothing behind the damage, the rest of
// the segment is left out, and the next one is not.
func TestScanUnknownRest(t *testing.T) {
	h := openHurt(t, testOptions(t))
	org := testOrg(t, "org")
	var rs []*Record
	for n := range 9 {
		r := &Record{Kind: Generation, Org: org, Generation: uint64(n + 1)}
		appendTest(t, h.Journal, r)
		rs = append(rs, r)
	}
	turnOver(t, h.Journal)
	last := setRecord(Applied, testKey(t, "leads", "org", "1"), 1)
	appendTest(t, h.Journal, last)
	h.destroy(rs[4].Position, false)
	want := []Position{rs[0].Position, rs[1].Position, rs[2].Position, rs[3].Position, last.Position}
	if got := h.scan(); !slices.Equal(got, want) {
		t.Errorf("scanned %x, want %x", got, want)
	}
	if h.Stats().Damaged == 0 {
		t.Error("nobody is told")
	}
}

// TestScanMovedRest: what stood behind damage and was moved to another segment while
// a scan was at it, because a sync failed, is not left out with it.
func TestScanMovedRest(t *testing.T) {
	j, disk := openFaulty(t)
	defer closeTest(t, j)
	h := hurt{Journal: j, t: t, log: new(lines)}
	generation := func(n uint64) *Record { return &Record{Kind: Generation, Org: testOrg(t, "org"), Generation: n} }
	first, bad, moved := generation(1), generation(2), generation(3)
	appendTest(t, j, first, bad)
	h.destroy(bad.Position, false)
	failures := 1
	disk.set(func() { disk.failSync = func() bool { failures--; return failures >= 0 } })
	if err := j.Append(context.Background(), false, moved); err != nil {
		t.Fatal(err)
	}
	var got []Position
	err := j.Scan(context.Background(), 0, j.Position(), func(r *Record) error {
		if got = append(got, r.Position); len(got) == 1 {
			return j.Append(context.Background(), true, generation(4))
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []Position{first.Position, moved.Position}) {
		t.Errorf("scanned %x, %v", got, err)
	}
}

// turnOver starts another segment.
func turnOver(t *testing.T, j *Journal) {
	t.Helper()
	j.mu.Lock()
	before := j.seg
	j.rotate = true
	j.work.Signal()
	j.mu.Unlock()
	waitFor(t, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.seg != before
	})
}

// TestDamagedPending: a pending record that cannot be read keeps none of the others
// from being read, and its key from being asked for.
func TestDamagedPending(t *testing.T) {
	h := openHurt(t, testOptions(t))
	k := testKey(t, keys.Conversations, "org", "1")
	var ps []Position
	for i := range 20 {
		r := appendRecord(Pending, k, i)
		appendTest(t, h.Journal, r)
		ps = append(ps, r.Position)
	}
	for _, i := range []int{3, 4, 5, 6, 7, 19} {
		h.destroy(ps[i], i%2 == 0)
	}
	left := slices.Concat(ps[:3], ps[8:19])
	for range 2 {
		read, err := h.Read(ps...)
		if got := positionsOf(read); err != nil || !slices.Equal(got, left) {
			t.Errorf("read %x, %v", got, err)
		}
		if got := positionsOf(known(t, h.Journal, k)); !slices.Equal(got, left) {
			t.Errorf("known %x", got)
		}
		// Pages of two: one of them would have nothing but damaged records.
		var got []Position
		for after := Position(0); ; {
			page := h.Outstanding(after, 2)
			for _, o := range page {
				after = o.Position
				got = append(got, o.Position)
			}
			if len(page) < 2 {
				break
			}
		}
		if !slices.Equal(got, left) {
			t.Errorf("outstanding %x, want %x", got, left)
		}
		if waiting := h.Waiting(0, 99); len(waiting) != len(ps) || waiting[4].Position != ps[4] {
			t.Errorf("waiting %+v, want %x", waiting, ps)
		}
		var each []Position
		h.EachPending(func(o Outstanding) { each = append(each, o.Position) })
		if !slices.Equal(each, left) {
			t.Errorf("each of %x, want %x", each, left)
		}
	}
	if st := h.Stats(); st.PendingRecords != 20 || st.Damaged == 0 || h.log.count(passedOver) != 6 {
		t.Errorf("stats %+v, %d lines", st, h.log.count(passedOver))
	}
	if !h.Waits(ps[4]) || !h.HasPending(k) {
		t.Error("what cannot be read is not pending any more")
	}
}

func positionsOf(rs []*Record) (ps []Position) {
	for _, r := range rs {
		ps = append(ps, r.Position)
	}
	return ps
}

// TestDamagedSegmentGoes: a segment with damage goes when its time has come, and
// what it said of pending records in segments that stay is kept.
func TestDamagedSegmentGoes(t *testing.T) {
	o, _ := smallOptions(t)
	h := openHurt(t, o)
	var rs []*Record
	for i, org := range []string{"a", "a", "b", "c", "c"} {
		r := setRecord(Pending, testKey(t, "leads", org, fmt.Sprint(i)), i)
		r.Op.ExpiresAt = h.o.Now().Add(100 * time.Hour)
		rs = append(rs, r)
	}
	appendTest(t, h.Journal, rs...)
	turnOver(t, h.Journal)
	resolved := &Record{Kind: Resolved, Resolves: []Position{rs[0].Position}}
	ended := &Record{Kind: Invalidation, Org: testOrg(t, "b"), Token: version(9)}
	assigned := &Record{Kind: Assigned, Org: testOrg(t, "c"), Generation: 4, UpTo: rs[3].Position}
	appendTest(t, h.Journal, resolved, ended, assigned)
	appendTest(t, h.Journal, &Record{Kind: Generation, Org: testOrg(t, "b"), Generation: 8, Resolves: []Position{ended.Position}})
	h.destroy(assigned.Position, false)
	h.destroy(ended.Position, false)
	h.destroy(resolved.Position, false)
	turnOver(t, h.Journal)
	fill(t, h.Journal, 9)
	check := func(j *Journal) {
		t.Helper()
		got := j.Outstanding(0, 99)
		if len(got) != 3 || got[0].Position != rs[1].Position || got[1].Position != rs[3].Position || got[2].Position != rs[4].Position {
			t.Fatalf("outstanding %+v", got)
		}
		if !got[1].Assigned || got[1].Generation != 4 || got[2].Assigned || j.Generations()[testOrg(t, "b")] != 8 {
			t.Errorf("outstanding %+v, generations %v", got, j.Generations())
		}
		checkState(t, j)
	}
	check(h.Journal)
	if h.Stats().Damaged == 0 {
		t.Error("nobody is told")
	}
	closeTest(t, h.Journal)
	again, err := open(h.o, h.disk)
	if err != nil {
		t.Fatal(err)
	}
	check(again)
	closeTest(t, again)
}

// TestDamageAnywhere: whatever is damaged, a scan ends, in order, and gives nothing
// that was not written.
func TestDamageAnywhere(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		h := openHurt(t, testOptions(t))
		written := map[Position]*Record{}
		for i := range 60 {
			r := setRecord(Applied+Kind(i%2), testKey(t, "leads", "org", fmt.Sprint(rng.IntN(40))), i)
			appendTest(t, h.Journal, r)
			written[r.Position] = r
		}
		for range 1 + rng.IntN(20) {
			h.flip(h.seg, headerSize+rng.Int64N(h.seg.size-headerSize))
		}
		last := Position(0)
		err := h.Scan(context.Background(), 0, h.Position(), func(r *Record) error {
			if w := written[r.Position]; w == nil || !sameRecord(r, w) || r.Position <= last {
				t.Errorf("seed %d: scanned %+v after %x, wrote %+v", seed, r, last, w)
			}
			last = r.Position
			return nil
		})
		if err != nil || last == 0 && h.Stats().Damaged == 0 {
			t.Errorf("seed %d: scan: %v", seed, err)
		}
		if st := h.Stats(); st.Damaged > st.Bytes {
			t.Errorf("seed %d: %d of %d bytes are damaged", seed, st.Damaged, st.Bytes)
		}
	}
}

// TestBadSector: what the disk does not give is passed over like what is wrong.
func TestBadSector(t *testing.T) {
	h := openHurt(t, testOptions(t))
	var rs []*Record
	for i := range 60 {
		r := setRecord(Pending, testKey(t, "leads", "org", fmt.Sprint(i)), i)
		appendTest(t, h.Journal, r)
		rs = append(rs, r)
	}
	seg, off := h.found(rs[20].Position)
	_, end := h.found(rs[30].Position)
	seg.mu.Lock()
	seg.f = &badSector{seg.f, off + 1, end - 1}
	seg.mu.Unlock()
	want := slices.Concat(positionsOf(rs[:20]), positionsOf(rs[30:]))
	if got := h.scan(); !slices.Equal(got, want) {
		t.Errorf("scanned %d records, want %d", len(got), len(want))
	}
	read, err := h.Read(positionsOf(rs)...)
	if err != nil || !slices.Equal(positionsOf(read), want) {
		t.Errorf("read %d records, want %d: %v", len(read), len(want), err)
	}
	if st := h.Stats(); st.Damaged != end-off {
		t.Errorf("%d bytes damaged, want %d", st.Damaged, end-off)
	}
}
