package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func testReads(t *testing.T, s *suite) {
	t.Run("several keys in their order", s.getMany)
	t.Run("many keys", s.getManyKeys)
	t.Run("the newest messages", s.lastMessages)
}

func (s *suite) many(t tb, ks []keys.Key) []store.Read {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	got, err := s.GetMany(ctx, ks)
	if err != nil {
		t.Fatalf("get %d keys: %v", len(ks), err)
	}
	if len(got) != len(ks) {
		t.Fatalf("get %d keys: %d results", len(ks), len(got))
	}
	return got
}

func (s *suite) getMany(t *testing.T) {
	o, v := s.newOrg(t), s.versions(4)
	lead := func(id string) keys.Key { return s.key(t, "lead", o, id) }
	one, deleted, old, missing := lead("1"), lead("2"), lead("3"), lead("4")
	agent := s.key(t, "agentConfig", o, "1")
	organization := s.space.Key("organization", o, keys.NoID)
	s.must(t, under(set(one, v[0], "one"), 2), store.Applied)
	s.must(t, under(tombstone(deleted, v[1]), 2), store.Applied)
	s.must(t, under(set(old, v[2], "old"), 1), store.Applied)
	s.must(t, under(set(agent, v[2], "agent"), 2), store.Applied)
	s.must(t, under(set(organization, v[3], "organization"), 2), store.Applied)
	s.raise(t, o, 2)
	ks := []keys.Key{missing, organization, old, one, agent, deleted, one}
	for i, r := range s.many(t, ks) {
		single := s.get(t, ks[i])
		if r.Generation != 2 || r.Found != single.Found || r.Live() != single.Live() ||
			r.Value.Version != single.Value.Version || string(r.Value.Stored) != string(single.Value.Stored) {
			t.Errorf("result %d, %s: %+v; alone it reads %+v", i, ks[i], r, single)
		}
	}
	for i, want := range []string{"", "organization", "", "one", "agent", "", "one"} {
		s.wantValue(t, ks[i], want)
	}
	s.many(t, nil)
}

func (s *suite) getManyKeys(t *testing.T) {
	o := s.newOrg(t)
	var ks []keys.Key
	for i := range 300 {
		k := s.key(t, "lead", o, fmt.Sprint(i))
		ks = append(ks, k)
		if i%3 == 0 {
			s.must(t, set(k, s.clock.Now(), fmt.Sprint("value ", i)), store.Applied)
		}
	}
	for i, r := range s.many(t, ks) {
		if r.Live() != (i%3 == 0) || r.Live() && string(r.Value.Stored) != fmt.Sprint("value ", i) {
			t.Fatalf("result %d: %+v", i, r)
		}
	}
}

func (s *suite) lastMessages(t *testing.T) {
	k := s.newConversation(t)
	var all []string
	for i := range 7 {
		id := fmt.Sprint("m", i)
		all = append(all, id)
		s.must(t, appendOp(k, s.clock.Now(), msg(id, "hi")), store.Applied)
	}
	for last := range 10 {
		want := all
		if last > 0 && last < len(all) {
			want = all[len(all)-last:]
		}
		if got := ids(s.log(t, k, last)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("last %d: %q, want %q", last, got, want)
		}
	}
	empty := s.newConversation(t)
	if l := s.log(t, empty, 3); len(l.Messages) != 0 || l.Generation != 0 {
		t.Errorf("a conversation that was never written: %+v", l)
	}
}
