package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

func testMoving(t *testing.T, s *suite) {
	t.Run("recall what was trimmed", s.recallTrimmed)
	t.Run("recall loses nothing that stands", s.recallBeside)
	t.Run("recall under another generation", s.recallOther)
	t.Run("recalled id stands again", s.recallSpare)
	t.Run("sweep", s.sweepRemoves)
	t.Run("sweep keeps floors", s.sweepKeepsFloors)
	t.Run("sweep of all", s.sweepAll)
	t.Run("sweep beside a writer", s.sweepBeside)
}

func (s *suite) recall(t tb, p store.Past) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if err := s.Recall(ctx, p); err != nil {
		t.Fatalf("recall %s: %v", p.Key, err)
	}
}

func (s *suite) sweep(t tb, o keys.Org) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	n, err := s.Sweep(ctx, o)
	if err != nil {
		t.Fatalf("sweep %q: %v", o, err)
	}
	return n
}

// at returns m at an order of its own, as a Past has it.
func at(m store.Message, o record.Order) store.Message {
	m.At = o
	return m
}

func (s *suite) recallTrimmed(t *testing.T) {
	k, v := s.newConversation(t), s.versions(5)
	s.must(t, appendOp(k, v[2], msg("c", "hi"), msg("d", "hi")), store.Applied)
	gone := record.Order{Version: v[0], Index: 7}
	p := store.Past{Key: k, TrimmedTo: record.Order{Version: v[1]}, Trimmed: []store.Message{at(msg("a", "hi"), gone)}}
	for range 2 {
		s.recall(t, p)
		s.wantMessages(t, k, "c", "d")
	}
	// A repetition of what was trimmed is one; what is as old and new is not
	// inserted.
	res := s.must(t, appendOp(k, v[3], msg("a", "hi")), store.Unchanged)
	if !res.Placed[0].Duplicate || res.Placed[0].Order != gone {
		t.Errorf("an id that was trimmed before the move: %+v, want a duplicate at %s", res.Placed[0], gone)
	}
	s.must(t, appendOp(k, v[4], msg("a", "other")), store.Conflict)
	res = s.must(t, s.merged(appendOp(k, v[1], msg("b", "hi"))), store.Unchanged)
	if !res.Placed[0].Dropped {
		t.Errorf("merged at trimmedTo: %+v, want it dropped", res.Placed[0])
	}
	s.must(t, appendOp(k, v[4], msg("e", "hi")), store.Applied)
	s.wantMessages(t, k, "c", "d", "e")
}

func (s *suite) recallBeside(t *testing.T) {
	k, v := s.newConversation(t), s.versions(4)
	s.must(t, appendOp(k, v[0], msg("own", "hi")), store.Applied)
	s.must(t, appendOp(k, v[2], msg("c", "hi")), store.Applied)
	s.recall(t, store.Past{Key: k, TrimmedTo: record.Order{Version: v[1]}, Trimmed: []store.Message{at(msg("own", "hi"), record.Order{Version: v[1]})}})
	s.wantMessages(t, k, "own", "c")
	// Nothing was trimmed here, so there is room for what lies between.
	s.must(t, s.merged(appendOp(k, v[1], msg("b", "hi"))), store.Applied)
	s.wantMessages(t, k, "own", "b", "c")
	s.must(t, appendOp(k, v[3], msg("own", "hi")), store.Unchanged)
}

func (s *suite) recallOther(t *testing.T) {
	k, v := s.newConversation(t), s.versions(3)
	p := store.Past{Key: k, TrimmedTo: record.Order{Version: v[1]}, Trimmed: []store.Message{at(msg("a", "hi"), record.Order{Version: v[0]})}}
	s.recall(t, p) // there is no conversation
	s.must(t, under(appendOp(k, v[2], msg("c", "hi")), 2), store.Applied)
	for _, g := range []uint64{0, 1, 3} {
		p.Generation = g
		s.recall(t, p)
	}
	s.must(t, s.merged(under(appendOp(k, v[0], msg("a", "other")), 2)), store.Applied)
	s.wantMessages(t, k, "a", "c")
}

// recallSpare: an id that left the list at one of its orders comes back at the
// next, with the content of that, when a floor is raised between them.
func (s *suite) recallSpare(t *testing.T) {
	k, v := s.newConversation(t), s.versions(5)
	s.must(t, appendOp(k, v[4], msg("c", "hi")), store.Applied)
	first, second := at(msg("a", "one"), record.Order{Version: v[0]}), at(msg("a", "two"), record.Order{Version: v[3]})
	content := second.Payload
	first.Payload = nil
	s.recall(t, store.Past{Key: k, TrimmedTo: record.Order{Version: v[1]}, Trimmed: []store.Message{first, second}})
	s.wantMessages(t, k, "c")
	s.must(t, s.merged(replaceOp(k, v[2])), store.Applied)
	s.wantMessages(t, k, "a", "c")
	if l := s.log(t, k, 0); string(l.Messages[0].Stored) != string(content) || l.Messages[0].Order != second.At {
		t.Errorf("it came back as %+v %s, want %s", l.Messages[0].Order, l.Messages[0].Stored, content)
	}
}

func (s *suite) sweepRemoves(t *testing.T) {
	o, other := s.newOrg(t), s.newOrg(t)
	v := s.versions(4)
	lead, talk := s.key(t, "lead", o, "1"), s.key(t, keys.Conversations, o, "16045550001")
	only := s.space.Key("organization", o, keys.NoID)
	stays, stays2 := s.key(t, "lead", other, "1"), s.key(t, keys.Conversations, other, "16045550001")
	for _, op := range []store.Op{
		set(lead, v[0], "old"), set(only, v[0], "old"), appendOp(talk, v[0], msg("a", "hi")),
		set(stays, v[0], "stays"), appendOp(stays2, v[0], msg("a", "hi")),
	} {
		s.must(t, op, store.Applied)
	}
	if n := s.sweep(t, o); n != 0 {
		t.Errorf("%d keys were removed, and nothing was invalid", n)
	}
	g := s.invalidate(t, o, 0)
	fresh := s.key(t, "lead", o, "2")
	s.must(t, under(set(fresh, v[1], "new"), g), store.Applied)
	if n := s.sweep(t, o); n != 3 {
		t.Errorf("%d keys were removed, want 3", n)
	}
	if r := s.get(t, lead); r.Found {
		t.Errorf("%s is still there: %+v", lead, r)
	}
	if r := s.get(t, only); r.Found {
		t.Errorf("%s is still there: %+v", only, r)
	}
	s.wantValue(t, fresh, "new")
	s.wantValue(t, stays, "stays")
	s.wantMessages(t, stays2, "a")
	if n := s.sweep(t, o); n != 0 {
		t.Errorf("the second sweep removed %d keys", n)
	}
	// Nothing of before comes back, and what is new has room.
	s.must(t, under(appendOp(talk, v[2], msg("a", "other")), g), store.Applied)
	s.wantMessages(t, talk, "a")
	s.must(t, s.merged(set(lead, v[3], "late")), store.Applied)
	s.wantValue(t, lead, "")
}

func (s *suite) sweepKeepsFloors(t *testing.T) {
	k, v := s.newConversation(t), s.versions(5)
	s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Applied)
	forget := replaceOp(k, v[2])
	forget.Keep = 2 * life
	s.must(t, forget, store.Applied)
	s.must(t, appendOp(k, v[3], msg("b", "hi")), store.Applied)
	g := s.invalidate(t, k.Org(), 0)
	s.sweep(t, k.Org())
	late := s.must(t, s.merged(under(appendOp(k, v[1], msg("a", "hi")), g)), store.Unchanged)
	if !late.Placed[0].Dropped {
		t.Errorf("below a floor that was swept: %+v, want it dropped", late.Placed[0])
	}
	s.must(t, under(appendOp(k, v[4], msg("c", "hi")), g), store.Applied)
	s.wantMessages(t, k, "c")
}

func (s *suite) sweepAll(t *testing.T) {
	v := s.versions(1)
	var orgs []keys.Org
	for range 3 {
		k := s.newValue(t)
		orgs = append(orgs, k.Org())
		s.must(t, set(k, v[0], "old"), store.Applied)
	}
	phone, err := keys.ParsePhone("+16045550009", "")
	if err != nil {
		t.Fatal(err)
	}
	directory := s.space.Directory(phone)
	s.must(t, under(set(directory, s.clock.Now(), "directory"), s.generation(t, keys.Org{})), store.Applied)
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	all, err := s.Orgs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range orgs {
		if !slices.Contains(all, o) {
			t.Errorf("organisations %v; %s is missing", all, o)
		}
	}
	if slices.ContainsFunc(all, keys.Org.IsZero) {
		t.Error("the directory is among the organisations")
	}
	s.invalidate(t, orgs[0], 0)
	s.invalidate(t, orgs[2], 0)
	if n := s.sweep(t, keys.Org{}); n < 2 { // other tests may have left more
		t.Errorf("%d keys were removed, want 2", n)
	}
	for i, o := range orgs {
		if r := s.get(t, s.key(t, "lead", o, "1")); r.Found != (i == 1) {
			t.Errorf("organisation %d: found %v", i, r.Found)
		}
	}
	s.wantValue(t, directory, "directory")
}

// sweepBeside: what is written under the new generation while it is swept
// stays.
func (s *suite) sweepBeside(t *testing.T) {
	o := s.newOrg(t)
	var ks []keys.Key
	for i := range 60 {
		k := s.key(t, "lead", o, "v"+time.Duration(i).String())
		c := s.key(t, keys.Conversations, o, "c"+time.Duration(i).String())
		s.must(t, set(k, s.clock.Now(), "old"), store.Applied)
		s.must(t, appendOp(c, s.clock.Now(), msg("old", "hi")), store.Applied)
		ks = append(ks, k, c)
	}
	g := s.invalidate(t, o, 0)
	swept := make(chan error, 1)
	go func() {
		_, err := s.Sweep(context.Background(), o)
		swept <- err
	}()
	for i := len(ks) - 2; i >= 0; i -= 2 {
		s.must(t, under(set(ks[i], s.clock.Now(), "new"), g), store.Applied)
		s.must(t, under(appendOp(ks[i+1], s.clock.Now(), msg("new", "hi")), g), store.Applied)
	}
	if err := <-swept; err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(ks); i += 2 {
		s.wantValue(t, ks[i], "new")
		s.wantMessages(t, ks[i+1], "new")
	}
}
