package journal

import (
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
)

// repeated writes segments of the first boot that hold the given records, as
// rescues leave them that could not be finished.
func repeated(t *testing.T, o Options, disk files, segments ...[]*Record) {
	t.Helper()
	id := newSalt()
	for i, records := range segments {
		var b batch
		for _, r := range records {
			e := newHasher().entryOf(r)
			e.pos = r.Position
			b.add(e, appendPayload(nil, r))
		}
		h := header{boot: 1, identity: id, salt: newSalt(), first: 1<<bootShift | Position(100+i), created: nanoseconds(o.Now()), space: o.Space.Prefix()}
		seg, err := writeSegment(disk, h, b.buf)
		if err != nil {
			t.Fatal(err)
		}
		if err := seg.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepeated: a record that stands in two segments is one record, whichever of
// them goes first.
func TestRepeated(t *testing.T) {
	o, _ := smallOptions(t)
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	at := func(n int, r *Record) *Record { r.Position = 1<<bootShift | Position(n); return r }
	resolved := at(2, setRecord(Pending, testKey(t, "leads", "a", "1"), 1))
	invalidation := at(3, &Record{Kind: Invalidation, Org: testOrg(t, "b"), Token: version(2)})
	done := at(4, &Record{Kind: Generation, Org: testOrg(t, "c"), Generation: 1})
	stuck := at(5, setRecord(Pending, testKey(t, keys.Summaries, "d", "1"), 3))
	for _, c := range []struct {
		what     string
		segments [][]*Record
		want     Position
	}{
		{"the first goes, the second stays", [][]*Record{{resolved}, {resolved, stuck}}, stuck.Position},
		{"the second goes, the first stays", [][]*Record{{invalidation}, {invalidation, done}}, invalidation.Position},
	} {
		t.Run(c.what, func(t *testing.T) {
			disk := newMemory()
			repeated(t, o, disk, c.segments...)
			for opened := range 3 {
				j, err := open(o, disk)
				if err != nil {
					t.Fatal(err)
				}
				if opened == 0 {
					appendTest(t, j, &Record{Kind: Resolved, Resolves: []Position{resolved.Position}})
				}
				fill(t, j, 9)
				if got := j.Outstanding(0, 9); len(got) != 1 || got[0].Position != c.want {
					t.Errorf("opened %d times before: outstanding %+v", opened, got)
				}
				checkState(t, j)
				closeTest(t, j)
			}
		})
	}
}
