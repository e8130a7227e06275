package storetest

import (
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func testGenerations(t *testing.T, s *suite) {
	t.Run("raised by max", s.raiseIsMax)
	t.Run("invalidate exceeds what is known", s.invalidateExceeds)
	t.Run("hides values", s.generationHidesValues)
	t.Run("hides conversations", s.generationHidesMessages)
	t.Run("conversation under a higher generation", s.higherGeneration)
	t.Run("conversation under a lower generation", s.lowerGeneration)
}

func (s *suite) raiseIsMax(t *testing.T) {
	o := s.newOrg(t)
	if g := s.generation(t, o); g != 0 {
		t.Errorf("missing generation = %d, want 0", g)
	}
	for _, c := range []struct{ to, want uint64 }{
		{0, 0}, {3, 3}, {3, 3}, {1, 3}, {0, 3}, {9, 9}, {10, 10}, {9, 10}, {1 << 40, 1 << 40}, {1<<52 + 1, 1<<52 + 1}, {1 << 52, 1<<52 + 1},
	} {
		if g := s.raise(t, o, c.to); g != c.want {
			t.Errorf("raise to %d gives %d, want %d", c.to, g, c.want)
		}
		if g := s.generation(t, o); g != c.want {
			t.Errorf("after raise to %d it reads %d, want %d", c.to, g, c.want)
		}
	}
}

func (s *suite) invalidateExceeds(t *testing.T) {
	o := s.newOrg(t)
	var stored uint64
	for _, known := range []uint64{0, 0, 1, 5, 5, 6, 100, 3, 1 << 40} {
		g := s.invalidate(t, o, known)
		if g <= known || g <= stored {
			t.Errorf("invalidate(known %d) with %d stored gives %d", known, stored, g)
		}
		if read := s.generation(t, o); read != g {
			t.Errorf("after invalidate it reads %d, want %d", read, g)
		}
		stored = g
	}
}

func (s *suite) generationHidesValues(t *testing.T) {
	k, v := s.newValue(t), s.versions(3)
	s.must(t, set(k, v[0], "old"), store.Applied)
	g := s.invalidate(t, k.Org(), 0)
	s.wantValue(t, k, "")
	if r := s.get(t, k); r.Generation != g {
		t.Errorf("read with generation %d, want %d", r.Generation, g)
	}
	// A writer that does not know of it yet is told, and applies again.
	res := s.must(t, set(k, v[1], "new"), store.Applied)
	if res.Generation != g {
		t.Fatalf("answers generation %d, want %d", res.Generation, g)
	}
	s.wantValue(t, k, "")
	s.must(t, under(set(k, v[1], "new"), g), store.Applied)
	s.wantValue(t, k, "new")
	// The condition looks at what is live under the operation's generation.
	g = s.invalidate(t, k.Org(), g)
	absent := under(set(k, v[2], "absent"), g)
	absent.If = store.Condition{Kind: store.IfAbsent}
	s.must(t, absent, store.Applied)
	s.wantValue(t, k, "absent")
}

func (s *suite) generationHidesMessages(t *testing.T) {
	k, v := s.newConversation(t), s.versions(2)
	s.must(t, appendOp(k, v[0], msg("a", "hi")), store.Applied)
	g := s.invalidate(t, k.Org(), 0)
	l := s.log(t, k, 0)
	if len(l.Messages) != 0 || l.Generation != g {
		t.Errorf("invalidated: %q of generation %d, want none of %d", ids(l), l.Generation, g)
	}
	if l := s.log(t, k, 1); len(l.Messages) != 0 {
		t.Errorf("the last one of an invalidated conversation: %q", ids(l))
	}
	op := appendOp(k, v[1], msg("b", "hello"))
	if res := s.must(t, op, store.Applied); res.Generation != g {
		t.Errorf("answers generation %d, want %d", res.Generation, g)
	}
	s.wantMessages(t, k)
	res := s.must(t, under(op, g), store.Applied)
	if res.Placed[0].Duplicate || res.Placed[0].Order != op.Messages[0].Order(v[1]) {
		t.Errorf("applied again under %d: %+v", g, res.Placed[0])
	}
	s.wantMessages(t, k, "b")
}

func (s *suite) higherGeneration(t *testing.T) {
	k, v := s.newConversation(t), s.versions(5)
	s.must(t, appendOp(k, v[0], msg("a", "hi"), msg("b", "ho")), store.Applied)
	s.must(t, replaceOp(k, v[1], msg("c", "hi")), store.Applied)
	s.must(t, appendOp(k, v[3], msg("d", "hi")), store.Applied)
	before := s.log(t, k, 0)
	s.raise(t, k.Org(), 2)
	// An id of before is new, with any content; the floor stays.
	res := s.must(t, under(appendOp(k, v[2], msg("a", "other"), msg("d", "other")), 2), store.Applied)
	for i, p := range res.Placed {
		if p.Duplicate || p.Dropped {
			t.Errorf("message %d under a new generation: %+v", i, p)
		}
	}
	s.wantMessages(t, k, "a", "d")
	after := s.log(t, k, 0)
	if newest := before.Messages[1].Arrival; after.Messages[0].Arrival <= newest {
		t.Errorf("arrival %d under a new generation, %d before it", after.Messages[0].Arrival, newest)
	}
	s.must(t, under(appendOp(k, v[0], msg("e", "hi")), 2), store.Superseded)
	dropped := s.must(t, s.merged(under(appendOp(k, v[0], msg("e", "hi")), 2)), store.Unchanged)
	if !dropped.Placed[0].Dropped {
		t.Errorf("below the floor of before: %+v, want it dropped", dropped.Placed[0])
	}
	s.wantMessages(t, k, "a", "d")
	s.must(t, under(replaceOp(k, v[4]), 2), store.Applied)
	s.wantMessages(t, k)
}

func (s *suite) lowerGeneration(t *testing.T) {
	k, v := s.newConversation(t), s.versions(6)
	s.raise(t, k.Org(), 3)
	s.must(t, under(appendOp(k, v[1], msg("a", "hi")), 3), store.Applied)
	s.must(t, under(appendOp(k, v[3], msg("b", "hi")), 3), store.Applied)
	for _, op := range []store.Op{
		appendOp(k, v[4], msg("late", "hi")), replaceOp(k, v[4], msg("late", "hi")), replaceOp(k, v[4]),
		appendOp(k, v[4], msg("a", "other")), appendOp(k, v[0], msg("late", "hi")),
	} {
		res := s.must(t, under(op, 2), store.Stale)
		if res.Generation != 3 {
			t.Errorf("stale answers generation %d, want 3", res.Generation)
		}
	}
	s.wantMessages(t, k, "a", "b")
	res := s.apply(t, s.merged(under(appendOp(k, v[4], msg("late", "hi")), 2)))
	if !res.Placed[0].Dropped {
		t.Errorf("merged under a lower generation: %+v, want it dropped", res.Placed[0])
	}
	s.wantMessages(t, k, "a", "b")
	// A Replace of a lower generation still says that what is older has gone.
	res = s.apply(t, s.merged(under(replaceOp(k, v[2], msg("late", "hi")), 2)))
	if !res.Placed[0].Dropped {
		t.Errorf("merged under a lower generation: %+v, want it dropped", res.Placed[0])
	}
	s.wantMessages(t, k, "b")
	s.must(t, under(appendOp(k, v[1], msg("a", "hi")), 3), store.Superseded)
	s.must(t, under(appendOp(k, v[5], msg("c", "hi")), 3), store.Applied)
	s.wantMessages(t, k, "b", "c")
}

// lookAlikes are organisations that a store which builds or matches keys by
// text would mix up.
var lookAlikes = []string{
	"a", "a:b", "a%3Ab", "a%253Ab", "a:b:c", "a*", "*", "?", "[a-z]", "{x}", "x", "{", "}", "global", "+16045550000", "16045550000",
	"%", "%2A", "A", "a b", "a ", "ａ", "__gen", "__meta:{a}", "a|b", "a|", "-", "a\\", "lead", "ä", "a\u0308", "null", "0",
}

func testIsolation(t *testing.T, s *suite) {
	var orgs []keys.Org
	for _, name := range lookAlikes {
		orgs = append(orgs, org(t, name))
	}
	phone, err := keys.ParsePhone("+16045550000", "")
	if err != nil {
		t.Fatal(err)
	}
	v := s.versions(3)
	value := func(o keys.Org) keys.Key { return s.space.Key(keys.PhoneToLead, o, phone.PlusID()) }
	lead := func(o keys.Org) keys.Key { return s.key(t, "lead", o, "a") }
	conversation := func(o keys.Org) keys.Key { return s.space.Key(keys.Conversations, o, phone.DigitsID()) }
	directory := s.space.Directory(phone)
	check := func(t *testing.T, without keys.Org, directoryLive string) {
		t.Helper()
		for _, o := range orgs {
			if o != without {
				s.wantValue(t, value(o), "lead of "+o.String())
				s.wantValue(t, lead(o), "data of "+o.String())
				s.wantMessages(t, conversation(o), "of "+o.String())
			}
		}
		s.wantValue(t, directory, directoryLive)
	}
	write := func(t *testing.T, o keys.Org) {
		t.Helper()
		// The organisations are not new where stores share their data.
		g := s.generation(t, o)
		s.must(t, under(set(value(o), s.clock.Now(), "lead of "+o.String()), g), store.Applied)
		s.must(t, under(set(lead(o), s.clock.Now(), "data of "+o.String()), g), store.Applied)
		s.must(t, under(replaceOp(conversation(o), s.clock.Now(), msg("of "+o.String(), "hi")), g), store.Applied)
	}
	for _, o := range orgs {
		write(t, o)
	}
	s.must(t, under(set(directory, v[2], "directory"), s.generation(t, keys.Org{})), store.Applied)
	check(t, keys.Org{}, "directory")
	for _, o := range orgs {
		t.Run(o.String(), func(t *testing.T) {
			s.invalidate(t, o, s.generation(t, o))
			s.wantValue(t, value(o), "")
			s.wantValue(t, lead(o), "")
			s.wantMessages(t, conversation(o))
			check(t, o, "directory")
			write(t, o)
			s.onlyOwn(t, o, value(o), lead(o), conversation(o))
		})
	}
	s.invalidate(t, keys.Org{}, s.generation(t, keys.Org{}))
	check(t, keys.Org{}, "")
}

// onlyOwn checks that the listings of an organisation have its own keys only.
func (s *suite) onlyOwn(t *testing.T, o keys.Org, own ...keys.Key) {
	t.Helper()
	for _, k := range own {
		for _, e := range s.list(t, store.Query{Type: k.Type(), Org: o, Limit: 10}) {
			if e.Key != k {
				t.Errorf("the listing of %q has %s", o, e.Key)
			}
		}
	}
}
