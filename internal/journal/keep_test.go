package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// smallOptions is a journal of a few small segments, and its clock.
func smallOptions(t testing.TB) (Options, *atomic.Int64) {
	t.Helper()
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	o := testOptions(t)
	o.MaxBytes, o.Window = 32<<10, time.Hour
	o.Now = func() time.Time { return time.Unix(0, now.Load()) }
	return o, &now
}

// fill appends records that matter to nobody until so many segments went.
func fill(t testing.TB, j *Journal, segments int) {
	t.Helper()
	oldest := func() Position {
		j.state.mu.RLock()
		defer j.state.mu.RUnlock()
		for _, seg := range j.state.segments {
			if seg.pending == 0 && seg.size > seg.carried+headerSize { // what is only taken over stays for its time
				return seg.first
			}
		}
		return 0
	}
	for n := 0; segments > 0; n++ {
		before := oldest()
		for range 20 {
			r := setRecord(Applied, testKey(t, "leads", "filler", fmt.Sprint(n)), n)
			r.Time = j.o.Now()
			r.Op.ExpiresAt = r.Time.Add(10 * time.Hour)
			r.Op.Payload = make([]byte, 300)
			if err := j.Append(context.Background(), false, r); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, func() bool { return j.state.bytes.Load() <= j.o.MaxBytes })
		if oldest() != before {
			segments--
		}
	}
}

func known(t testing.TB, j *Journal, k keys.Key) []*Record {
	t.Helper()
	rs, err := j.Known(k)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// TestWhatOutlives: floors, tombstones and generations survive any number of
// segments, and the bound holds.
func TestWhatOutlives(t *testing.T) {
	o, now := smallOptions(t)
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	lead, talk := testKey(t, "leads", "org", "1"), testKey(t, keys.Conversations, "org", "2")
	life := time.Unix(0, now.Load()).Add(30 * time.Minute)
	floor := appendRecord(Applied, talk, 10)
	floor.Op.Action, floor.Op.Keep, floor.Op.ExpiresAt, floor.Op.Generation = store.Replace, 2*time.Hour, life, 6
	tomb := setRecord(Applied, lead, 11)
	tomb.Op.Flags, tomb.Op.Payload, tomb.Op.ExpiresAt, tomb.Op.Generation = record.Tombstone, nil, life, 6
	org := testOrg(t, "org")
	appendTest(t, j, floor, tomb, &Record{Kind: Generation, Org: org, Generation: 6})
	since := j.Stats().Since
	fill(t, j, 12)
	check := func(j *Journal, dead bool) {
		t.Helper()
		if got := known(t, j, talk); len(got) != 1 || got[0].Op.Version != floor.Op.Version || len(got[0].Op.Messages) != 0 || !got[0].Time.Equal(floor.Time) {
			t.Errorf("floor %+v", got)
		}
		if got := known(t, j, lead); (len(got) == 0) != dead || !dead && got[0].Op.Flags != record.Tombstone {
			t.Errorf("tombstone %+v, want none: %t", got, dead)
		}
		if j.Generations()[org] != 6 {
			t.Errorf("generations %v", j.Generations())
		}
		checkState(t, j)
	}
	check(j, false)
	if st := j.Stats(); !st.Since.After(since) || j.state.bytes.Load() > o.MaxBytes {
		t.Errorf("since %s, before %s; %d bytes of %d", st.Since, since, j.state.bytes.Load(), o.MaxBytes)
	}
	until := j.Stats().Since
	closeTest(t, j)
	again := openTest(t, o)
	check(again, false)
	if got := again.Stats().Since; !got.Equal(until) {
		t.Errorf("since %s after opening, %s before", got, until)
	}
	now.Add(int64(time.Hour)) // the tombstone's life is over; the floor is kept
	fill(t, again, 12)
	check(again, true)
}

// TestWindow: segments go when they are older than the window. That a life is over
// is no reason: another instance may have prolonged the conversation.
func TestWindow(t *testing.T) {
	o, now := smallOptions(t)
	j := openTest(t, o)
	pending := setRecord(Pending, testKey(t, "leads", "org", "stuck"), 1)
	appendTest(t, j, pending)
	short := appendRecord(Applied, testKey(t, keys.Conversations, "org", "short"), 2)
	short.Time = o.Now()
	short.Op.ExpiresAt = short.Time.Add(time.Minute)
	next := func() {
		j.mu.Lock()
		j.rotate = true
		j.work.Signal()
		j.mu.Unlock()
		waitFor(t, func() bool {
			j.state.mu.RLock()
			defer j.state.mu.RUnlock()
			return j.state.newestLocked().records == 0
		})
	}
	next()
	since := j.Stats().Since
	appendTest(t, j, short)
	next()
	now.Add(int64(2 * time.Minute))
	for range 2 { // the second one is taken when the keeper is done with the first
		j.keepSoon()
		waitFor(t, func() bool { return len(j.kick) == 0 })
	}
	scanned := slices.ContainsFunc(all(t, j), func(r *Record) bool { return r.Position == short.Position })
	if !scanned || !j.Stats().Since.Equal(since) || len(known(t, j, short.Op.Key)) != 1 {
		t.Errorf("a conversation whose life was over: scanned %t, known %v, since %s, want %s", scanned, known(t, j, short.Op.Key), j.Stats().Since, since)
	}
	long := setRecord(Applied, testKey(t, "leads", "org", "long"), 3)
	long.Time = o.Now()
	long.Op.ExpiresAt = long.Time.Add(100 * time.Hour)
	appendTest(t, j, long)
	next()
	now.Add(int64(2 * time.Hour))
	waitFor(t, func() bool { j.keepSoon(); return len(known(t, j, long.Op.Key)) == 0 })
	if st := j.Stats(); st.Since.Before(long.Time.Truncate(time.Millisecond)) || st.PendingRecords != 1 {
		t.Errorf("stats %+v", st)
	}
	if got := j.Outstanding(0, 9); len(got) != 1 || got[0].Key != pending.Op.Key {
		t.Errorf("outstanding %+v", got)
	}
}

// TestFull: only pending records fill a journal, what shrinks them is never
// refused for it, and room comes back.
func TestFull(t *testing.T) {
	o, _ := smallOptions(t)
	j := openTest(t, o)
	fill(t, j, 3)
	var kept []*Record
	var err error
	for n := 0; ; n++ {
		r := setRecord(Pending, testKey(t, "leads", "org", fmt.Sprint(n)), n)
		r.Op.Payload = make([]byte, 200)
		if err = j.Append(context.Background(), false, r); err != nil {
			break
		}
		kept = append(kept, r)
	}
	st := j.Stats()
	if !errors.Is(err, ErrFull) || st.PendingBytes < o.MaxBytes*3/4 || !strings.Contains(st.Problem, "journal is full") {
		t.Fatalf("after %d records: %v, %+v", len(kept), err, st)
	}
	waitFor(t, func() bool { return j.state.bytes.Load() <= o.MaxBytes })
	for n := 0; err == nil || n == 0; n++ { // smaller ones, until they are too much, too
		r := &Record{Kind: Invalidation, Org: testOrg(t, fmt.Sprint("other", n))}
		if err = j.Append(context.Background(), true, r); err == nil {
			kept = append(kept, r)
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("invalidation: %v", err)
	}
	for i, r := range kept {
		done := &Record{Kind: Resolved, Resolves: []Position{r.Position}}
		if i%2 == 0 && r.Kind == Pending {
			done.Kind, done.Op = Applied, r.Op
		}
		if err := j.Append(context.Background(), false, done); err != nil {
			t.Fatalf("resolve: %v", err)
		}
	}
	waitFor(t, func() bool { return j.state.bytes.Load() <= o.MaxBytes })
	appendTest(t, j, setRecord(Pending, testKey(t, "leads", "org", "again"), 1))
	if st := j.Stats(); st.PendingRecords != 1 || st.Problem != "" {
		t.Errorf("after there was room again: %+v", st)
	}
	large := setRecord(Pending, testKey(t, "leads", "org", "large"), 1)
	large.Op.Payload = make([]byte, o.MaxBytes)
	if err := j.Append(context.Background(), false, large); !errors.Is(err, ErrFull) || j.Stats().Problem != "" {
		t.Errorf("one that is too large: %v, problem %q", err, j.Stats().Problem)
	}
	checkState(t, j)
}

// TestResolutionOutlives: what was resolved by a record in a segment that went
// is not pending again while its own segment stays.
func TestResolutionOutlives(t *testing.T) {
	o, _ := smallOptions(t)
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var rs []*Record
	for i := range 6 {
		org := []string{"a", "a", "b", "c", "c", "d"}[i]
		r := setRecord(Pending, testKey(t, "leads", org, fmt.Sprint(i)), i)
		r.Op.ExpiresAt = o.Now().Add(100 * time.Hour)
		rs = append(rs, r)
	}
	appendTest(t, j, rs...)
	fill(t, j, 1)
	invalidation := &Record{Kind: Invalidation, Org: testOrg(t, "b"), Token: version(9)}
	appendTest(t, j, invalidation)
	appendTest(t, j,
		&Record{Kind: Resolved, Resolves: []Position{rs[0].Position}},
		&Record{Kind: Assigned, Org: testOrg(t, "c"), Generation: 4, UpTo: rs[3].Position},
		&Record{Kind: Generation, Org: testOrg(t, "b"), Generation: 8, Resolves: []Position{invalidation.Position}})
	fill(t, j, 9)
	appendTest(t, j, &Record{Kind: Assigned, Org: testOrg(t, "c"), Generation: 5, UpTo: rs[4].Position})
	fill(t, j, 9)
	check := func(j *Journal) {
		t.Helper()
		got := j.Outstanding(0, 99)
		want := []struct {
			r          *Record
			generation uint64
		}{{rs[1], 0}, {rs[3], 4}, {rs[4], 5}, {rs[5], 0}}
		if len(got) != len(want) {
			t.Fatalf("outstanding %+v", got)
		}
		for i, w := range want {
			if g := got[i]; g.Position != w.r.Position || g.Generation != w.generation || g.Assigned != (w.generation > 0) {
				t.Errorf("outstanding %+v, want %x in generation %d", g, w.r.Position, w.generation)
			}
		}
		read, err := j.Read(rs[3].Position)
		if err != nil || len(read) != 1 || read[0].Op.Generation != 4 {
			t.Errorf("read %+v, %v", read, err)
		}
		checkState(t, j)
	}
	check(j)
	closeTest(t, j)
	check(openTest(t, o))
}

// TestLowWater: a disk with little room left is not written to, and the journal
// goes on by itself once there is some.
func TestLowWater(t *testing.T) {
	disk := newFaulty()
	o, err := testOptions(t).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	o.LowWater = 1 << 20
	disk.freeLeft = 1<<20 - 1
	j, err := open(o, disk)
	if err != nil {
		t.Fatal(err)
	}
	defer closeTest(t, j)
	r := setRecord(Pending, testKey(t, "leads", "org", "1"), 1)
	err = j.Append(context.Background(), true, r)
	if want := "journal cannot be written: the disk has 1048575 bytes left; the journal needs 1048576 to be left"; !errors.Is(err, ErrDisk) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if j.Stats().Problem == "" || j.PendingCount() != 0 {
		t.Errorf("stats %+v", j.Stats())
	}
	disk.set(func() { disk.freeLeft = 1 << 30 })
	waitFor(t, func() bool { return j.Stats().Problem == "" })
	appendTest(t, j, r)
}

// TestFailedSync: what a failed sync should have made durable is made durable in
// another segment; where that fails, too, callers are told, and it is kept.
func TestFailedSync(t *testing.T) {
	j, disk := openFaulty(t)
	failures := 1
	disk.set(func() { disk.failSync = func() bool { failures--; return failures >= 0 } })
	a := setRecord(Pending, testKey(t, "leads", "org", "1"), 1)
	appendTest(t, j, a)
	if st := j.Stats(); st.Problem != "" || st.Records != 1 {
		t.Errorf("after a failed sync: %+v", st)
	}
	disk.set(func() { failures = 2 })
	b := setRecord(Pending, testKey(t, "leads", "org", "2"), 2)
	err := j.Append(context.Background(), true, b)
	if !errors.Is(err, ErrSlow) || errors.Is(err, ErrDisk) {
		t.Errorf("sync and rescue failed: %v", err)
	}
	if got := j.Outstanding(0, 9); len(got) != 2 || got[1].Position != b.Position {
		t.Errorf("outstanding %+v", got)
	}
	waitFor(t, func() bool { return j.Stats().Problem == "" })
	checkState(t, j)
	closeTest(t, j)
	after := &faulty{names: disk.durable, durable: disk.durable, room: -1, freeLeft: 1 << 40}
	for _, f := range after.names {
		f.data, f.d, f.lost = f.synced, after, false
	}
	again, err := open(j.o, after)
	if err != nil {
		t.Fatal(err)
	}
	defer closeTest(t, again)
	if got := again.Outstanding(0, 9); len(got) != 2 || got[0].Position != a.Position || got[1].Position != b.Position {
		t.Errorf("outstanding after the power went: %+v", got)
	}
}
