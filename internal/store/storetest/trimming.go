package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func testTrimming(t *testing.T, s *suite) {
	t.Run("by count", s.trimByCount)
	t.Run("by count, in one operation", s.trimBatch)
	t.Run("by bytes", s.trimByBytes)
	t.Run("by the window of the operation", s.windowOfOperation)
	t.Run("one stays", s.oneStays)
	t.Run("a Replace is trimmed too", s.trimReplace)
	t.Run("what was trimmed does not return", s.trimmedStays)
	t.Run("ids are remembered beyond the window", s.idsBeyondWindow)
	t.Run("a floor above what was trimmed", s.clearAfterTrim)
	t.Run("merged before what is left", s.mergeAfterTrim)
	t.Run("a floor among what was trimmed", s.floorAmongTrimmed)
}

// windowed returns op with a window.
func windowed(op store.Op, w store.Window) store.Op {
	op.Window = w
	return op
}

// fill appends n messages m0, m1, … one by one and returns their operations.
func (s *suite) fill(t tb, k keys.Key, w store.Window, n int) []store.Op {
	t.Helper()
	ops := make([]store.Op, n)
	for i := range ops {
		ops[i] = windowed(appendOp(k, s.clock.Now(), msg(fmt.Sprint("m", i), "hi")), w)
		s.must(t, ops[i], store.Applied)
	}
	return ops
}

// names returns the ids m<from> … m<to-1>.
func names(from, to int) []string {
	var n []string
	for i := from; i < to; i++ {
		n = append(n, fmt.Sprint("m", i))
	}
	return n
}

func (s *suite) trimByCount(t *testing.T) {
	for _, w := range []store.Window{{Messages: 5, Slack: 3, IDs: 50}, {Messages: 1, IDs: 50}, {Messages: 4, Slack: 1, IDs: 1}} {
		k := s.newConversation(t)
		first := 0 // of what stays
		for i := range 20 {
			s.must(t, windowed(appendOp(k, s.clock.Now(), msg(fmt.Sprint("m", i), "hi")), w), store.Applied)
			if i+1-first > w.Messages+w.Slack {
				first = i + 1 - w.Messages
			}
			s.wantMessages(t, k, names(first, i+1)...)
		}
	}
}

func (s *suite) trimBatch(t *testing.T) {
	k, v := s.newConversation(t), s.clock.Now()
	var all []store.Message
	for _, n := range names(0, 30) {
		all = append(all, msg(n, "hi"))
	}
	s.must(t, windowed(appendOp(k, v, all[:8]...), store.Window{Messages: 5, Slack: 3, IDs: 50}), store.Applied)
	s.wantMessages(t, k, names(0, 8)...)
	s.must(t, windowed(appendOp(k, s.clock.Now(), all[8:]...), store.Window{Messages: 5, Slack: 3, IDs: 50}), store.Applied)
	s.wantMessages(t, k, names(25, 30)...)
}

func (s *suite) trimByBytes(t *testing.T) {
	const size = 4000 // of a payload; with what stands before it at most size+header
	w := store.Window{Messages: 1000, Slack: 100, Bytes: 20 * size, IDs: 1000}
	k := s.newConversation(t)
	trims, before := 0, 0
	for i := range 60 {
		m := msg(fmt.Sprint("m", i), "hi")
		m.Payload = []byte(strings.Repeat("x", size))
		s.must(t, windowed(appendOp(k, s.clock.Now(), m), w), store.Applied)
		n := len(s.log(t, k, 0).Messages)
		s.wantMessages(t, k, names(i+1-n, i+1)...)
		if n*size > w.Bytes*9/8 {
			t.Fatalf("%d messages of %d bytes stand, the window has %d and an eighth", n, size, w.Bytes)
		}
		if n <= before { // it was trimmed
			trims++
			if n*size > w.Bytes || (n+1)*(size+header) <= w.Bytes {
				t.Fatalf("trimmed to %d messages of %d bytes for a window of %d", n, size, w.Bytes)
			}
			if (before+1)*(size+header) <= w.Bytes*9/8 {
				t.Fatalf("trimmed at %d messages of %d bytes for a window of %d and an eighth", before+1, size, w.Bytes)
			}
		}
		before = n
	}
	if trims < 5 {
		t.Errorf("trimmed %d times", trims)
	}
}

// windowOfOperation: a window that was made smaller takes effect with the next
// message, and one that was made larger does not bring anything back.
func (s *suite) windowOfOperation(t *testing.T) {
	k := s.newConversation(t)
	s.fill(t, k, wide, 12)
	for i, c := range []struct {
		window store.Window
		first  int // of what stands after it
	}{
		{store.Window{Messages: 8, Slack: 20, IDs: 50}, 0}, {store.Window{Messages: 8, Slack: 2, IDs: 50}, 6},
		{wide, 6}, {store.Window{Messages: 3, Slack: 2, IDs: 50}, 13},
	} {
		s.must(t, windowed(appendOp(k, s.clock.Now(), msg(fmt.Sprint("m", 12+i), "hi")), c.window), store.Applied)
		s.wantMessages(t, k, names(c.first, 13+i)...)
	}
}

func (s *suite) oneStays(t *testing.T) {
	w := store.Window{Messages: 10, Bytes: 100, IDs: 100}
	k := s.newConversation(t)
	for i := range 3 {
		m := msg(fmt.Sprint("m", i), strings.Repeat("long", 300))
		s.must(t, windowed(appendOp(k, s.clock.Now(), m), w), store.Applied)
		s.wantMessages(t, k, m.ID)
	}
	both := []store.Message{msg("a", strings.Repeat("long", 300)), msg("b", strings.Repeat("long", 300))}
	s.must(t, windowed(appendOp(k, s.clock.Now(), both...), w), store.Applied)
	s.wantMessages(t, k, "b")
}

func (s *suite) trimReplace(t *testing.T) {
	k, v := s.newConversation(t), s.versions(3)
	var all []store.Message
	for _, n := range names(0, 20) {
		all = append(all, msg(n, "hi"))
	}
	w := store.Window{Messages: 5, Slack: 2, IDs: 100}
	s.must(t, windowed(replaceOp(k, v[1], all...), w), store.Applied)
	s.wantMessages(t, k, names(15, 20)...)
	again := s.apply(t, s.merged(windowed(replaceOp(k, v[1], all...), w)))
	for i, p := range again.Placed {
		if p.Dropped != (i < 15) {
			t.Errorf("merged again: message %d is %+v", i, p)
		}
	}
	s.wantMessages(t, k, names(15, 20)...)
	s.must(t, windowed(replaceOp(k, v[2], all[:3]...), w), store.Applied)
	s.wantMessages(t, k, names(0, 3)...)
}

func (s *suite) trimmedStays(t *testing.T) {
	w := store.Window{Messages: 4, Slack: 2, IDs: 100}
	k := s.newConversation(t)
	ops := s.fill(t, k, w, 13) // trimmed to four at the seventh, tenth and thirteenth
	s.wantMessages(t, k, names(9, 13)...)
	for i, op := range ops {
		res := s.apply(t, s.merged(op))
		if res.Placed[0].Dropped != (i < 9) || !res.Placed[0].Dropped && !res.Placed[0].Duplicate {
			t.Errorf("m%d merged again: %+v", i, res.Placed[0])
		}
	}
	last := ops[8] // exactly what was trimmed last: its place is not to be had
	res := s.must(t, windowed(last, w), store.Superseded)
	if res.Version.Compare(last.Version) < 0 {
		t.Errorf("superseded by %s, what was trimmed reaches to %s", res.Version, last.Version)
	}
	other := s.merged(ops[8])
	other.Messages = []store.Message{msg("other", "hi")}
	other.Messages[0].Index = 1 // above m8 and so above what was trimmed
	if res := s.must(t, other, store.Applied); res.Placed[0].Dropped {
		t.Errorf("just above what was trimmed: %+v", res.Placed[0])
	}
	s.wantMessages(t, k, append([]string{"other"}, names(9, 13)...)...)
	// A live append there is told which version to exceed.
	lagging := appendOp(k, ops[3].Version, msg("lagging", "hi"))
	lagging.Messages[0].Index = 7
	res = s.must(t, windowed(lagging, w), store.Superseded)
	if res.Version.Compare(ops[8].Version) < 0 {
		t.Errorf("superseded by %s, what was trimmed reaches to %s", res.Version, ops[8].Version)
	}
	lagging.Version = res.Version.Next(1)
	s.must(t, windowed(lagging, w), store.Applied)
	if got := ids(s.log(t, k, 0)); !slices.Contains(got, "lagging") {
		t.Errorf("an acknowledged message is missing: %q", got)
	}
}

func (s *suite) idsBeyondWindow(t *testing.T) {
	w := store.Window{Messages: 4, Slack: 2, IDs: 12}
	k := s.newConversation(t)
	ops := s.fill(t, k, w, 13)
	s.wantMessages(t, k, names(9, 13)...)
	for i := range ops {
		again := windowed(appendOp(k, s.clock.Now(), msg(fmt.Sprint("m", i), "hi")), w)
		if i == 0 {
			continue // the thirteenth: it may be forgotten
		}
		res := s.must(t, again, store.Unchanged)
		want := store.Placed{Order: ops[i].Messages[0].Order(ops[i].Version), Duplicate: true}
		if res.Placed[0] != want {
			t.Errorf("m%d again: %+v, want %+v", i, res.Placed[0], want)
		}
		again.Version, again.Messages = s.clock.Now(), batch([]store.Message{msg(fmt.Sprint("m", i), "other")})
		if res := s.must(t, again, store.Conflict); res.ConflictID != fmt.Sprint("m", i) {
			t.Errorf("m%d with another content: conflict of %q", i, res.ConflictID)
		}
	}
	s.wantMessages(t, k, names(9, 13)...)
	// The order of a repetition is not remembered where the id stays: a floor
	// between them makes the id new.
	s.must(t, replaceOp(k, s.clock.Now()), store.Applied)
	s.must(t, windowed(appendOp(k, s.clock.Now(), msg("m5", "other")), w), store.Applied)
	s.wantMessages(t, k, "m5")

	// At least Messages+Slack ids are remembered, whatever IDs says.
	few := store.Window{Messages: 6, Slack: 2, IDs: 1}
	k = s.newConversation(t)
	s.fill(t, k, few, 9)
	for i := 1; i < 9; i++ {
		s.must(t, windowed(appendOp(k, s.clock.Now(), msg(fmt.Sprint("m", i), "hi")), few), store.Unchanged)
	}
	s.wantMessages(t, k, names(3, 9)...)
}

func (s *suite) clearAfterTrim(t *testing.T) {
	w := store.Window{Messages: 2, IDs: 10}
	k := s.newConversation(t)
	ops := s.fill(t, k, w, 6)
	s.must(t, windowed(replaceOp(k, s.clock.Now()), w), store.Applied)
	s.wantMessages(t, k)
	for _, op := range ops {
		if res := s.apply(t, s.merged(op)); !res.Placed[0].Dropped {
			t.Errorf("%s after a clear: %+v", describe(op), res.Placed[0])
		}
	}
	s.must(t, windowed(appendOp(k, s.clock.Now(), msg("m0", "hi")), w), store.Applied)
	s.wantMessages(t, k, "m0")
}

// mergeAfterTrim: what is merged between the messages that are left stands
// there, and what was trimmed moves on.
func (s *suite) mergeAfterTrim(t *testing.T) {
	w := store.Window{Messages: 3, Slack: 1, IDs: 100}
	k := s.newConversation(t)
	early, v := s.versions(2), s.versions(9)
	for i, at := range []int{0, 2, 4, 6, 8} {
		s.must(t, windowed(appendOp(k, v[at], msg(fmt.Sprint("m", i), "hi")), w), store.Applied)
	}
	s.wantMessages(t, k, "m2", "m3", "m4")
	s.must(t, s.merged(windowed(appendOp(k, v[5], msg("between", "hi")), w)), store.Applied)
	s.wantMessages(t, k, "m2", "between", "m3", "m4")
	s.must(t, s.merged(windowed(appendOp(k, v[3], msg("first", "hi")), w)), store.Applied)
	s.wantMessages(t, k, "between", "m3", "m4")
	for _, version := range append(early, v[3:5]...) {
		res := s.must(t, s.merged(windowed(appendOp(k, version, msg("late", "hi")), w)), store.Unchanged)
		if !res.Placed[0].Dropped {
			t.Errorf("at %s: %+v, want it dropped", version, res.Placed[0])
		}
	}
	s.wantMessages(t, k, "between", "m3", "m4")
}

// floorAmongTrimmed: ids that were trimmed are remembered as long as their
// orders are above the floor.
func (s *suite) floorAmongTrimmed(t *testing.T) {
	w := store.Window{Messages: 4, Slack: 2, IDs: 100}
	k := s.newConversation(t)
	ops := s.fill(t, k, w, 13)
	s.must(t, s.merged(windowed(replaceOp(k, ops[5].Version), w)), store.Applied)
	s.wantMessages(t, k, names(9, 13)...)
	for i := 5; i < 13; i++ {
		again := windowed(appendOp(k, s.clock.Now(), msg(fmt.Sprint("m", i), "hi")), w)
		s.must(t, again, store.Unchanged)
	}
	s.must(t, windowed(appendOp(k, s.clock.Now(), msg("m4", "other")), w), store.Applied)
	s.wantMessages(t, k, append(names(9, 13), "m4")...)
}
