package storetest

import (
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// past returns a merged operation whose life is over.
func (s *suite) past(t tb, op store.Op) store.Op {
	t.Helper()
	op = s.merged(op)
	op.ExpiresAt = s.storeTime(t).Add(-10 * time.Millisecond)
	return op
}

func (s *suite) expiredMessages(t *testing.T) {
	k, v := s.newConversation(t), s.versions(3)
	s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Applied)
	for _, op := range []store.Op{
		under(s.past(t, appendOp(k, v[1], msg("d", "hi"))), 1),
		under(s.past(t, replaceOp(k, v[1], msg("d", "hi"))), 1),
		s.past(t, appendOp(s.newConversation(t), v[1], msg("b", "hi"))),
		s.past(t, replaceOp(s.newConversation(t), v[1], msg("b", "hi"))),
	} {
		s.must(t, op, store.Expired)
		s.wantMessages(t, op.Key, map[bool][]string{true: {"a"}}[op.Key == k]...)
		op.Mode = store.Live
		s.must(t, op, store.Expired)
	}
	live := s.past(t, appendOp(k, v[1], msg("d", "hi")))
	live.Mode = store.Live
	s.must(t, live, store.Expired) // which others do not prolong, either
	s.must(t, appendOp(k, v[2], msg("e", "hi")), store.Applied)
	s.wantMessages(t, k, "a", "e")
}

// Others prolonged the conversation: what belongs to it comes back, and prolongs
// nothing.
func (s *suite) joinsLife(t *testing.T) {
	k, v := s.newConversation(t), s.versions(8)
	end := s.must(t, appendOp(k, v[3], msg("d", "hi")), store.Applied).ExpiresAt
	for _, c := range []struct {
		op   store.Op
		want store.Status
		now  []string
	}{
		{appendOp(k, v[0], msg("a", "hi")), store.Applied, []string{"a", "d"}},
		{appendOp(k, v[0], msg("a", "hi")), store.Unchanged, []string{"a", "d"}},
		{appendOp(k, v[2], msg("c", "hi"), msg("d", "hi")), store.Applied, []string{"a", "c", "d"}}, // d moves
		{replaceOp(k, v[1], msg("b", "hi")), store.Applied, []string{"b", "c", "d"}},
		{appendOp(k, v[0], msg("a", "hi")), store.Unchanged, []string{"b", "c", "d"}},
		{appendOp(k, v[6], msg("g", "hi")), store.Applied, []string{"b", "c", "d", "g"}},
		{replaceOp(k, v[5]), store.Applied, []string{"g"}},
	} {
		res := s.must(t, s.past(t, c.op), c.want)
		if !near(res.ExpiresAt, end) {
			t.Errorf("%s: expires at %v, want %v", describe(c.op), res.ExpiresAt, end)
		}
		s.wantMessages(t, k, c.now...)
	}
	// What is of a lower generation is of the past whatever its life.
	g := s.raise(t, k.Org(), 1)
	s.must(t, under(appendOp(k, v[7], msg("h", "hi")), g), store.Applied)
	if res := s.must(t, s.past(t, appendOp(k, v[7], msg("i", "hi"))), store.Unchanged); !res.Placed[0].Dropped {
		t.Errorf("of a lower generation: %+v, want it dropped", res.Placed[0])
	}
	s.wantMessages(t, k, "h")
}

// A Replace that has to be remembered is, whether or not the conversation is there
// yet: what it forgot must not come back with the life that others give it.
func (s *suite) floorWithoutLife(t *testing.T) {
	for _, messages := range [][]store.Message{nil, {msg("c", "hi")}} {
		k, v := s.newConversation(t), s.versions(4)
		op := s.past(t, under(replaceOp(k, v[1], messages...), 1))
		op.Keep = life
		res := s.must(t, op, store.Applied)
		s.must(t, op, store.Unchanged)
		for _, p := range res.Placed {
			if !p.Dropped {
				t.Errorf("%+v, want it dropped", p)
			}
		}
		s.wantMessages(t, k)
		s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Superseded)
		s.must(t, s.merged(appendOp(k, v[2], msg("b", "hi"))), store.Applied)
		if res := s.must(t, s.past(t, appendOp(k, v[0], msg("a", "hi"))), store.Unchanged); !res.Placed[0].Dropped {
			t.Errorf("what was forgotten: %+v, want it dropped", res.Placed[0])
		}
		s.wantMessages(t, k, "b")
		// Under a generation that nobody else knows it raises the floor, and empties nothing.
		op = under(s.past(t, replaceOp(k, v[2])), 2)
		op.Keep = life
		s.must(t, op, store.Applied)
		s.wantMessages(t, k, "b")
		s.must(t, appendOp(k, v[3], msg("d", "hi")), store.Applied)
		s.wantMessages(t, k, "b", "d")
	}
}

// A conversation that is merged again is as old as what is in it.
func (s *suite) creationReturns(t *testing.T) {
	const bound = 10 * time.Minute
	ago := func(d time.Duration) clock.Version {
		return clock.NewVersion(s.clock.Time().Add(-d).UnixMilli(), uint16(d/time.Minute), 1)
	}
	bounded := func(op store.Op, ttl time.Duration) store.Op {
		op = s.merged(op)
		op.ExpiresAt, op.MaxLife = s.clock.Time().Add(ttl), bound
		return op
	}
	end := func(v clock.Version) time.Time { return time.UnixMilli(v.Millis()).Add(bound) }
	old, older, historic := ago(4*time.Minute), ago(7*time.Minute), clock.Historic(s.clock.Time().Add(-9*time.Minute), 1)
	for name, ops := range map[string]func(k keys.Key) []store.Op{
		"in order": func(k keys.Key) []store.Op {
			return []store.Op{appendOp(k, older, msg("a", "hi")), appendOp(k, old, msg("b", "hi"))}
		},
		"the other way round": func(k keys.Key) []store.Op {
			return []store.Op{appendOp(k, old, msg("b", "hi")), appendOp(k, older, msg("a", "hi"))}
		},
		"in one": func(k keys.Key) []store.Op {
			first := msg("a", "hi")
			first.At = record.Order{Version: older}
			return []store.Op{appendOp(k, old, first, msg("b", "hi"))}
		},
		"a message that moves": func(k keys.Key) []store.Op {
			return []store.Op{appendOp(k, old, msg("a", "hi")), appendOp(k, older, msg("a", "hi"))}
		},
		"a clear": func(k keys.Key) []store.Op {
			return []store.Op{replaceOp(k, older), appendOp(k, old, msg("a", "hi"))}
		},
		"historic": func(k keys.Key) []store.Op {
			return []store.Op{appendOp(k, older, msg("b", "hi")), appendOp(k, historic, msg("a", "hi"))}
		},
	} {
		k := s.newConversation(t)
		for _, op := range ops(k) {
			s.must(t, bounded(op, time.Minute), store.Applied)
		}
		last := lived(appendOp(k, s.clock.Now(), msg("last", "hi")), life)
		last.MaxLife = bound
		if res := s.must(t, last, store.Applied); !near(res.ExpiresAt, end(older)) {
			t.Errorf("%s: expires at %v, want %v", name, res.ExpiresAt, end(older))
		}
	}
	// What comes above all that is stored may be of before the creation, too.
	k := s.newConversation(t)
	s.must(t, lived(appendOp(k, older, msg("a", "hi")), time.Minute), store.Applied)
	s.must(t, bounded(appendOp(k, old, msg("b", "hi")), time.Minute), store.Applied)
	last := lived(appendOp(k, s.clock.Now(), msg("last", "hi")), life)
	last.MaxLife = bound
	if res := s.must(t, last, store.Applied); !near(res.ExpiresAt, end(old)) {
		t.Errorf("created now: expires at %v, want %v", res.ExpiresAt, end(old))
	}
}
