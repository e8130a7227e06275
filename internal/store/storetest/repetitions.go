package storetest

import (
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

func testRepetitions(t *testing.T, s *suite) {
	t.Run("answered with what is stored", s.repetitions)
	t.Run("within one operation", s.repeatedInBatch)
	t.Run("live conflicts leave nothing", s.liveConflicts)
	t.Run("merged conflicts go on", s.mergedConflicts)
}

func (s *suite) repetitions(t *testing.T) {
	k, v := s.newConversation(t), s.versions(4)
	s.must(t, appendOp(k, v[0], msg("a", "hi"), msg("b", "hi")), store.Applied)
	s.must(t, appendOp(k, v[1], msg("c", "hi")), store.Applied)
	res := s.must(t, appendOp(k, v[2], msg("d", "hi"), msg("b", "hi"), msg("c", "hi"), msg("e", "hi")), store.Applied)
	want := []store.Placed{
		{Order: record.Order{Version: v[2], Index: 0}},
		{Order: record.Order{Version: v[0], Index: 1}, Duplicate: true},
		{Order: record.Order{Version: v[1], Index: 0}, Duplicate: true},
		{Order: record.Order{Version: v[2], Index: 3}},
	}
	for i, p := range res.Placed {
		if p != want[i] {
			t.Errorf("message %d is %+v, want %+v", i, p, want[i])
		}
	}
	s.wantMessages(t, k, "a", "b", "c", "d", "e")
	// The bytes of a repetition may differ where the digest does not.
	again := msg("a", "hi")
	again.Payload = []byte(`{"id":"a","role":"user","content":"hi","retry":1}`)
	s.must(t, appendOp(k, v[3], again), store.Unchanged)
	s.wantMessages(t, k, "a", "b", "c", "d", "e")
}

func (s *suite) repeatedInBatch(t *testing.T) {
	for _, mode := range []store.Mode{store.Live, store.Merge} {
		k, v := s.newConversation(t), s.clock.Now()
		op := appendOp(k, v, msg("a", "hi"), msg("b", "hi"), msg("a", "hi"))
		op.Mode = mode
		res := s.must(t, op, store.Applied)
		if p, want := res.Placed[2], (store.Placed{Order: record.Order{Version: v}, Duplicate: true}); p != want {
			t.Errorf("the second a is %+v, want %+v", p, want)
		}
		s.wantMessages(t, k, "a", "b")
	}
}

func (s *suite) liveConflicts(t *testing.T) {
	k, v := s.newConversation(t), s.versions(4)
	s.must(t, appendOp(k, v[0], msg("a", "hi"), msg("b", "hi")), store.Applied)
	res := s.must(t, appendOp(k, v[2], msg("c", "hi"), msg("b", "other"), msg("a", "other")), store.Conflict)
	if res.ConflictID != "b" {
		t.Errorf("conflict of %q, want the first, b", res.ConflictID)
	}
	s.wantMessages(t, k, "a", "b")
	if got, want := string(s.log(t, k, 0).Messages[1].Stored), string(msg("b", "hi").Payload); got != want {
		t.Errorf("after a conflict b is %s, want %s", got, want)
	}
	// Neither c nor an order was remembered.
	res = s.must(t, appendOp(k, v[3], msg("c", "another")), store.Applied)
	if res.Placed[0].Duplicate {
		t.Errorf("c after a conflict: %+v, want a new message", res.Placed[0])
	}
	s.must(t, appendOp(k, v[1], msg("a", "other")), store.Conflict)
	s.wantMessages(t, k, "a", "b", "c")
	// A Replace brings its own contents: what is below it is no conflict.
	s.must(t, replaceOp(k, s.clock.Now(), msg("a", "other")), store.Applied)
	s.wantMessages(t, k, "a")
	// What is too late is told before what conflicts: with a new version it may not.
	s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Superseded)
}

func (s *suite) mergedConflicts(t *testing.T) {
	v := s.versions(4)
	for _, c := range []struct {
		name  string
		order []int // in which the operations below are merged
	}{
		{"lower first", []int{0, 1}},
		{"higher first", []int{1, 0}},
		{"repeated", []int{1, 1, 0, 0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := s.newConversation(t)
			ops := []store.Op{
				s.merged(appendOp(k, v[0], msg("a", "one"), msg("b", "hi"))),
				s.merged(appendOp(k, v[2], msg("c", "hi"), msg("a", "two"), msg("d", "hi"))),
			}
			for _, i := range c.order {
				s.apply(t, ops[i])
			}
			s.wantContent(t, k, "a", "one")
			s.wantMessages(t, k, "a", "b", "c", "d")
			// A floor between the two leaves the other one.
			s.must(t, s.merged(replaceOp(k, v[1])), store.Applied)
			s.wantMessages(t, k, "c", "a", "d")
			s.wantContent(t, k, "a", "two")
			s.must(t, appendOp(k, v[3], msg("a", "two")), store.Unchanged)
			s.must(t, appendOp(k, v[3], msg("a", "one")), store.Conflict)
		})
	}
}

// wantContent checks the content of one message.
func (s *suite) wantContent(t tb, k keys.Key, id, content string) {
	t.Helper()
	for _, m := range s.log(t, k, 0).Messages {
		if m.ID == id {
			if want := msg(id, content); string(m.Stored) != string(want.Payload) || m.Flags != want.Flags {
				t.Fatalf("%q is %s, want %s", id, m.Stored, want.Payload)
			}
			return
		}
	}
	t.Fatalf("%q is not there", id)
}
