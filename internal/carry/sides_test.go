package carry_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/filestore"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// sides are an embedded store and a redis that both have something of one
// organisation.
type sides struct {
	t            *testing.T
	space        keys.Space
	clock        *clock.Clock
	org          keys.Org
	source       *filestore.Store
	target       store.Shared
	value, other keys.Key
	talk         keys.Key
}

func newSides(t *testing.T) *sides {
	t.Helper()
	s := &sides{
		t: t, space: devSpace(t), clock: clock.New(nil, 1, nil), source: embedded(t), target: inRedis(t, redistest.Start(t).Addr()),
	}
	var err error
	s.org, err = keys.ParseOrg("org")
	must(t, err)
	s.value, s.other, s.talk = s.key("lead", "1"), s.key("lead", "2"), s.key(keys.Conversations, "16045550001")
	return s
}

func (s *sides) key(typ keys.Type, id string) keys.Key {
	s.t.Helper()
	i, err := keys.ParseID(id)
	must(s.t, err)
	return s.space.Key(typ, s.org, i)
}

// write applies op under the generation that the store has.
func (s *sides) write(in store.Store, op store.Op) {
	s.t.Helper()
	g, err := in.Generation(context.Background(), op.Key.Org())
	must(s.t, err)
	op.Version, op.Generation, op.Window = s.clock.Now(), g, untrimmed
	if op.TTL == 0 {
		op.TTL = life
	}
	res, err := in.Apply(context.Background(), op)
	must(s.t, err)
	if res.Status != store.Applied {
		s.t.Fatalf("write %s: status %d", op.Key, res.Status)
	}
}

var untrimmed = store.Window{Messages: 1000, IDs: 1000}

func (s *sides) set(in store.Store, k keys.Key, payload string) {
	s.t.Helper()
	s.write(in, store.Op{Action: store.Set, Key: k, Payload: []byte(payload)})
}

func (s *sides) say(in store.Store, id string) {
	s.t.Helper()
	s.write(in, store.Op{Action: store.Append, Key: s.talk, Messages: []store.Message{message(id, "hi")}})
}

func (s *sides) invalidate(in store.Store, times int) {
	s.t.Helper()
	for range times {
		_, err := in.Invalidate(context.Background(), s.org, 0)
		must(s.t, err)
	}
}

func (s *sides) carry() {
	s.t.Helper()
	carryOver(s.t, s.source, s.target, s.space)
}

// wantValue checks what redis shows; nothing stands for none.
func (s *sides) wantValue(k keys.Key, want string) {
	s.t.Helper()
	r, err := s.target.Get(context.Background(), k)
	must(s.t, err)
	got := ""
	if r.Live() {
		got = string(r.Value.Stored)
	}
	if got != want {
		s.t.Errorf("%s holds %q, want %q", k, got, want)
	}
}

func (s *sides) wantMessages(want ...string) {
	s.t.Helper()
	l, err := s.target.Messages(context.Background(), s.talk, 0)
	must(s.t, err)
	got := ""
	for _, m := range l.Messages {
		got += m.ID + " "
	}
	text := ""
	for _, id := range want {
		text += id + " "
	}
	if got != text {
		s.t.Errorf("the conversation has %q, want %q", got, text)
	}
}

// TestNothingOfEitherSideIsLost: the stores counted different invalidations.
// What is live in either is live afterwards, in the order of its versions.
func TestNothingOfEitherSideIsLost(t *testing.T) {
	for name, times := range map[string][2]int{"neither": {0, 0}, "the embedded store": {3, 0}, "redis": {0, 3}, "both": {2, 3}} {
		t.Run(name+" was invalidated", func(t *testing.T) {
			s := newSides(t)
			s.set(s.source, s.other, "invalidated")
			s.invalidate(s.source, times[0])
			s.invalidate(s.target, times[1])
			if times[0] == 0 {
				s.set(s.source, s.other, "old")
			}
			s.say(s.source, "a")
			s.say(s.target, "b")
			s.set(s.target, s.other, "new")
			s.set(s.source, s.value, "carried")
			s.say(s.source, "c")
			s.carry()
			s.wantValue(s.value, "carried")
			s.wantValue(s.other, "new")
			s.wantMessages("a", "b", "c")
			// What is invalidated afterwards stays so when it is carried again.
			s.invalidate(s.target, 1)
			s.carry()
			s.wantValue(s.value, "")
			s.wantMessages()
		})
	}
}

// TestForgottenIsNotCarried: a person whom redis knows as forgotten does not come
// back, also where an invalidation has ended the deletion itself.
func TestForgottenIsNotCarried(t *testing.T) {
	s := newSides(t)
	s.set(s.source, s.value, "personal")
	s.say(s.source, "a")
	s.set(s.target, s.space.Forgotten(s.value), "true")
	s.write(s.target, store.Op{Action: store.Set, Key: s.value, Flags: record.Tombstone})
	s.write(s.target, store.Op{Action: store.Replace, Key: s.talk, Keep: 2 * life})
	s.invalidate(s.target, 1)
	s.set(s.source, s.other, "somebody else's")
	s.carry()
	s.wantValue(s.value, "")
	s.wantMessages()
	s.wantValue(s.other, "somebody else's")
}

// TestForgottenIsCarried: what was forgotten before stays forgotten.
func TestForgottenIsCarried(t *testing.T) {
	s := newSides(t)
	s.set(s.target, s.value, "personal")
	s.say(s.target, "a")
	s.set(s.source, s.space.Forgotten(s.value), "true")
	s.write(s.source, store.Op{Action: store.Set, Key: s.value, Flags: record.Tombstone})
	s.write(s.source, store.Op{Action: store.Replace, Key: s.talk, Keep: 2 * life, TTL: time.Minute})
	s.carry()
	s.wantValue(s.space.Forgotten(s.value), "true")
	s.wantValue(s.value, "")
	s.wantMessages()
}

// TestClocksApart: lives are carried by what is left of them, and a version of a
// clock that was ahead does not keep its value out.
func TestClocksApart(t *testing.T) {
	for _, apart := range []time.Duration{-5 * time.Hour, 5 * time.Hour} {
		t.Run(apart.String(), func(t *testing.T) {
			s := newSides(t)
			wall := func() time.Time { return time.Now().Add(apart) }
			source, err := filestore.Open(filepath.Join(t.TempDir(), "embedded.db"), filestore.Options{Space: s.space, Now: wall, SweepEvery: -1})
			must(t, err)
			t.Cleanup(func() { must(t, source.Close(context.Background())) })
			s.source, s.clock = source, clock.New(wall, 1, nil)
			s.set(source, s.value, "carried")
			s.say(source, "a")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c := over(t, keepOpen{s.target}, source, s.space, wall)
			must(t, c.Wait(ctx))
			must(t, c.Close(ctx))
			s.wantValue(s.value, "carried")
			s.wantMessages("a")
			page, err := s.target.List(ctx, store.Query{Type: "lead", Org: s.org})
			must(t, err)
			if len(page.Entries) != 1 {
				t.Fatalf("%d entries", len(page.Entries))
			}
			if left := time.Until(page.Entries[0].ExpiresAt); left > life+time.Second || left < life-patience {
				t.Errorf("%v of the life are left, want %v", left, life)
			}
		})
	}
}

// TestEnvironmentsShareAFile: what is of another environment stays.
func TestEnvironmentsShareAFile(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "embedded.db")
	prod, err := keys.NewSpace(keys.Prod)
	must(t, err)
	for _, space := range []keys.Space{devSpace(t), prod} {
		f, err := filestore.Open(path, filestore.Options{Space: space, SweepEvery: -1})
		must(t, err)
		s := newSides(t)
		s.source, s.space = f, space
		s.value = s.key("lead", "1")
		s.set(f, s.value, "of "+space.Prefix())
		only, err := f.Only(ctx)
		must(t, err)
		if only != (space != prod) {
			t.Errorf("%s alone: %v", space.Prefix(), only)
		}
		if space == prod {
			must(t, f.Drop(ctx))
			if n, err := f.Count(ctx); n != 0 || err != nil || f.Health().Keys != 0 {
				t.Errorf("after Drop %d keys, %d in health, %v", n, f.Health().Keys, err)
			}
		}
		must(t, f.Close(ctx))
	}
	f, err := filestore.Open(path, filestore.Options{Space: devSpace(t)})
	must(t, err)
	if n, err := f.Count(ctx); n != 1 || err != nil {
		t.Errorf("the other environment has %d keys, %v", n, err)
	}
	must(t, f.Close(ctx))
}
