package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

func testAppends(t *testing.T, s *suite) {
	t.Run("in the order of versions and indexes", s.appendOrder)
	t.Run("arrivals grow", s.arrivals)
	t.Run("into the middle", s.mergeIntoMiddle)
	t.Run("imports carry an order of their own", s.imports)
	t.Run("the same operation again", s.sameAppend)
	t.Run("what is stored comes back", s.messageRoundTrips)
	t.Run("versions ahead are refused", s.aheadMessages)
	t.Run("an order belongs to one id", s.orderTaken)
	t.Run("of nothing", s.appendNothing)
	t.Run("of thousands at once", s.largeBatch)
}

func (s *suite) appendOrder(t *testing.T) {
	k, v := s.newConversation(t), s.versions(3)
	res := s.must(t, appendOp(k, v[1], msg("b0", "hi"), msg("b1", "hi"), msg("b2", "hi")), store.Applied)
	for i, p := range res.Placed {
		if want := (record.Order{Version: v[1], Index: uint16(i)}); p.Order != want || p.Duplicate || p.Dropped {
			t.Errorf("message %d is placed %+v, want a new one at %s", i, p, want)
		}
	}
	s.must(t, appendOp(k, v[2], msg("c", "hi")), store.Applied)
	// A live append whose clock lags stands before: nothing makes its order impossible.
	s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Applied)
	s.wantMessages(t, k, "a", "b0", "b1", "b2", "c")

	// Indexes are numbers: in hexadecimal, and not bound to be dense.
	op := appendOp(k, s.clock.Now(), msg("i9", "hi"), msg("i10", "hi"), msg("i255", "hi"), msg("i256", "hi"), msg("imax", "hi"))
	for i, index := range []uint16{9, 10, 255, 256, record.MaxIndex} {
		op.Messages[i].Index = index
	}
	slices.Reverse(op.Messages)
	s.must(t, op, store.Applied)
	s.wantMessages(t, k, "a", "b0", "b1", "b2", "c", "i9", "i10", "i255", "i256", "imax")
}

func (s *suite) arrivals(t *testing.T) {
	k := s.newConversation(t)
	last := int64(0)
	check := func(op store.Op, ids ...string) {
		t.Helper()
		before := s.storeTime(t)
		s.must(t, op, store.Applied)
		arrived := map[string]int64{}
		for _, m := range s.log(t, k, 0).Messages {
			arrived[m.ID] = m.Arrival
		}
		for _, id := range ids {
			if arrived[id] <= last {
				t.Errorf("%q arrived at %d, the one before at %d", id, arrived[id], last)
			}
			last = max(last, arrived[id])
		}
		if at := time.UnixMicro(last); at.Before(before.Truncate(time.Millisecond)) || at.After(before.Add(callTime)) {
			t.Errorf("arrival %v is not the store's time %v", at, before)
		}
	}
	v := s.versions(5)
	check(appendOp(k, v[1], msg("a", "hi"), msg("b", "hi")), "a", "b")
	check(appendOp(k, v[2], msg("c", "hi")), "c")
	check(s.merged(appendOp(k, v[0], msg("first", "hi"))), "first")
	check(replaceOp(k, v[3], msg("d", "hi"), msg("e", "hi")), "d", "e")
	many := make([]store.Message, 100)
	ids := make([]string, len(many))
	for i := range many {
		ids[i] = fmt.Sprint("m", i)
		many[i] = msg(ids[i], "hi")
	}
	check(appendOp(k, v[4], many...), ids...)
}

func (s *suite) mergeIntoMiddle(t *testing.T) {
	k, v := s.newConversation(t), s.versions(6)
	for _, i := range []int{3, 0, 5, 1, 4, 2} {
		res := s.must(t, s.merged(appendOp(k, v[i], msg(fmt.Sprint(i, "a"), "hi"), msg(fmt.Sprint(i, "b"), "hi"))), store.Applied)
		if want := (record.Order{Version: v[i], Index: 1}); res.Placed[1].Order != want {
			t.Errorf("placed at %s, want %s", res.Placed[1].Order, want)
		}
	}
	s.wantMessages(t, k, "0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b", "5a", "5b")
}

func (s *suite) imports(t *testing.T) {
	k, v := s.newConversation(t), s.versions(2)
	s.must(t, appendOp(k, v[0], msg("live", "hi")), store.Applied)
	at := func(m store.Message, sec int64, index uint16) store.Message {
		m.At = record.Order{Version: clock.Historic(time.Unix(sec, 0), 9), Index: index}
		return m
	}
	op := s.merged(appendOp(k, v[1], at(msg("second", "hi"), 1_700_000_001, 0), at(msg("first", "hi"), 1_700_000_000, 3),
		at(msg("third", "hi"), 1_700_000_001, 1), msg("now", "hi")))
	op.Messages[3].Index = 3
	res := s.must(t, op, store.Applied)
	for i, p := range res.Placed[:3] {
		if p.Order != op.Messages[i].At {
			t.Errorf("placed at %s, want %s", p.Order, op.Messages[i].At)
		}
	}
	if want := (record.Order{Version: v[1], Index: 3}); res.Placed[3].Order != want {
		t.Errorf("placed at %s, want %s", res.Placed[3].Order, want)
	}
	s.wantMessages(t, k, "first", "second", "third", "live", "now")
	s.must(t, op, store.Unchanged)
	// A second import with another version changes nothing either.
	op.Version = s.clock.Now()
	op.Messages = op.Messages[:3]
	s.must(t, op, store.Unchanged)
	s.wantMessages(t, k, "first", "second", "third", "live", "now")
	s.must(t, replaceOp(k, s.clock.Now()), store.Applied)
	op.Version = s.clock.Now()
	for i, p := range s.apply(t, s.merged(op)).Placed {
		if !p.Dropped {
			t.Errorf("import after a clear: message %d is %+v, want it dropped", i, p)
		}
	}
	s.wantMessages(t, k)
}

func (s *suite) sameAppend(t *testing.T) {
	k, v := s.newConversation(t), s.versions(2)
	op := appendOp(k, v[0], msg("a", "hi"), msg("b", "hi"))
	first := s.must(t, op, store.Applied)
	s.must(t, appendOp(k, v[1], msg("c", "hi")), store.Applied)
	before := s.log(t, k, 0)
	for _, again := range []store.Op{op, s.merged(op)} {
		res := s.must(t, again, store.Unchanged)
		for i, p := range res.Placed {
			if p.Order != first.Placed[i].Order || !p.Duplicate || p.Dropped {
				t.Errorf("again: message %d is %+v, want a duplicate at %s", i, p, first.Placed[i].Order)
			}
		}
	}
	after := s.log(t, k, 0)
	for i, m := range after.Messages {
		if m.Arrival != before.Messages[i].Arrival {
			t.Errorf("%q: arrival %d was changed to %d", m.ID, before.Messages[i].Arrival, m.Arrival)
		}
	}
	s.wantMessages(t, k, "a", "b", "c")
}

func (s *suite) messageRoundTrips(t *testing.T) {
	text := bytes.Repeat([]byte("Is the red one still there? "), 2000)
	payload := make([]byte, 256)
	for i := range payload {
		payload[i] = byte(i)
	}
	compressed, zstd := record.Compress(text, 1024)
	var messages []store.Message
	for i, id := range []string{
		"a", "a|b", "%", "%7C", "%25", "|", "||", " ", "a:b", "{x}", "*", "\x00", "\r\n", "\xff\xfe", "ä", "0", "-1", "id", "floor", "trimmedTo",
		"lastArrival", "generation", strings.Repeat("x", 300),
	} {
		m := msg(id, id)
		switch i % 3 {
		case 1:
			m.Payload = payload
		case 2:
			m.Payload, m.Flags = compressed, zstd
		}
		messages = append(messages, m)
	}
	empty := msg("empty", "empty")
	empty.Payload = nil
	messages = append(messages, empty)
	k, v := s.newConversation(t), s.versions(2)
	s.must(t, appendOp(k, v[0], messages...), store.Applied)
	check := func() {
		t.Helper()
		l := s.log(t, k, 0)
		if len(l.Messages) != len(messages) {
			t.Fatalf("%d messages, want %d", len(l.Messages), len(messages))
		}
		for i, m := range l.Messages {
			want := messages[i]
			if m.ID != want.ID || m.Flags != want.Flags || !bytes.Equal(m.Stored, want.Payload) {
				t.Errorf("message %d: %q, flags %02x, %.40q; want %q, %02x, %.40q", i, m.ID, m.Flags, m.Stored, want.ID, want.Flags, want.Payload)
			}
		}
	}
	check()
	for i, p := range s.must(t, appendOp(k, v[1], messages...), store.Unchanged).Placed {
		if want := (record.Order{Version: v[0], Index: uint16(i)}); !p.Duplicate || p.Order != want {
			t.Errorf("repeated %q: %+v, want a duplicate at %s", messages[i].ID, p, want)
		}
	}
	check()
}

func (s *suite) aheadMessages(t *testing.T) {
	k := s.newConversation(t)
	s.must(t, appendOp(k, s.clock.Now(), msg("a", "hi")), store.Applied)
	ahead := clock.NewVersion(s.storeTime(t).Add(clock.MaxAhead+5*time.Second).UnixMilli(), 0, 1)
	for _, op := range []store.Op{
		appendOp(k, ahead, msg("b", "hi")), replaceOp(k, ahead), replaceOp(k, ahead, msg("c", "hi")),
		under(appendOp(k, ahead, msg("b", "hi")), 1),
	} {
		s.must(t, op, store.Ahead)
		s.must(t, s.merged(op), store.Ahead)
		s.wantMessages(t, k, "a")
	}
}

// orderTaken: only a broken clock gives one version to two operations.
func (s *suite) orderTaken(t *testing.T) {
	k, v := s.newConversation(t), s.versions(2)
	s.must(t, appendOp(k, v[0], msg("a", "hi"), msg("b", "hi")), store.Applied)
	res := s.must(t, appendOp(k, v[0], msg("c", "hi")), store.Conflict)
	if res.ConflictID != "c" {
		t.Errorf("conflict of %q, want c", res.ConflictID)
	}
	s.wantMessages(t, k, "a", "b")
	// Also where the id stands under another order.
	res = s.must(t, appendOp(k, v[0], msg("b", "hi")), store.Conflict)
	if res.ConflictID != "b" {
		t.Errorf("conflict of %q, want b", res.ConflictID)
	}
	taken := s.merged(appendOp(k, v[0], msg("d", "hi"), msg("b", "hi"), msg("e", "hi")))
	res = s.must(t, taken, store.Applied)
	if !res.Placed[0].Dropped || res.Placed[1].Dropped || res.Placed[2].Dropped {
		t.Errorf("merged: %+v, want the first one dropped", res.Placed)
	}
	s.wantMessages(t, k, "a", "b", "e")
	s.must(t, appendOp(k, v[1], msg("c", "hi")), store.Applied)
	s.wantMessages(t, k, "a", "b", "e", "c")
}

func (s *suite) appendNothing(t *testing.T) {
	k := s.newConversation(t)
	s.must(t, appendOp(k, s.clock.Now()), store.Unchanged)
	s.wantMessages(t, k)
	if got := s.list(t, store.Query{Type: k.Type(), Org: k.Org()}); len(got) != 0 {
		t.Errorf("an append of nothing made an entry: %v", got)
	}
}

// largeBatch: no limit of a server's on arguments or stack is met.
func (s *suite) largeBatch(t *testing.T) {
	k := s.newConversation(t)
	many := make([]store.Message, 3000)
	want := make([]string, len(many))
	for i := range many {
		want[i] = fmt.Sprint("m", i)
		many[i] = msg(want[i], "hi")
	}
	op := appendOp(k, s.clock.Now(), many...)
	s.must(t, op, store.Applied)
	s.wantMessages(t, k, want...)
	s.must(t, s.merged(op), store.Unchanged)
	s.must(t, appendOp(k, s.clock.Now(), many...), store.Unchanged)
	for _, by := range [][]store.Message{nil, many, many[:1], nil} {
		s.must(t, replaceOp(k, s.clock.Now(), by...), store.Applied)
		s.wantMessages(t, k, want[:len(by)]...)
	}
	for i, p := range s.must(t, appendOp(k, s.clock.Now(), many...), store.Applied).Placed {
		if p.Duplicate {
			t.Fatalf("message %d after a clear: %+v", i, p)
		}
	}
	s.must(t, windowed(appendOp(k, s.clock.Now(), msg("last", "hi")), store.Window{Messages: 1}), store.Applied)
	s.wantMessages(t, k, "last")
}
