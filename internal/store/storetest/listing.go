package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func testListing(t *testing.T, s *suite) {
	t.Run("by pages", s.listPages)
	t.Run("entries", s.listEntries)
	t.Run("only what is live", s.listLive)
	t.Run("organisations whose names begin alike", s.listPrefixes)
	t.Run("all organisations", s.listAll)
}

// list reads all pages of a listing, each entry once.
func (s *suite) list(t tb, q store.Query) map[string]store.Entry {
	t.Helper()
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	entries := map[string]store.Entry{}
	for range 100_000 {
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		page, err := s.List(ctx, q)
		cancel()
		if err != nil {
			t.Fatalf("list %+v: %v", q, err)
		}
		if len(page.Entries) > 4*limit+10 {
			t.Errorf("list: a page of %d entries, the limit is %d", len(page.Entries), limit)
		}
		for _, e := range page.Entries {
			if e.Key.Type() != q.Type || !q.Org.IsZero() && e.Key.Org() != q.Org {
				t.Errorf("list of %s in %q has %s", q.Type, q.Org, e.Key)
			}
			entries[e.Key.String()] = e
		}
		if page.Cursor == "" {
			return entries
		}
		if page.Cursor == q.Cursor && len(page.Entries) == 0 {
			t.Fatalf("list: no entries and the cursor %q again", q.Cursor)
		}
		q.Cursor = page.Cursor
	}
	t.Fatalf("list %+v has no end", q)
	return nil
}

func (s *suite) listPages(t *testing.T) {
	o := s.newOrg(t)
	const n = 250
	for i := range n {
		s.must(t, set(s.key(t, "lead", o, fmt.Sprintf("%03d", i)), s.clock.Now(), "x"), store.Applied)
		s.must(t, set(s.key(t, "agentConfig", o, fmt.Sprintf("%03d", i)), s.clock.Now(), "x"), store.Applied)
	}
	for _, limit := range []int{0, 1, 7, 100, 10_000} {
		got := s.list(t, store.Query{Type: "lead", Org: o, Limit: limit})
		if len(got) != n {
			t.Errorf("limit %d: %d entries, want %d", limit, len(got), n)
		}
		for i := range n {
			if k := s.key(t, "lead", o, fmt.Sprintf("%03d", i)); got[k.String()].Key != k {
				t.Errorf("limit %d: %s is missing", limit, k)
			}
		}
	}
	if got := s.list(t, store.Query{Type: "lead", Org: s.newOrg(t)}); len(got) != 0 {
		t.Errorf("a new organisation lists %d entries", len(got))
	}
}

// listedNear is near for times that stores tell as what is left of a life.
func listedNear(a, b time.Time) bool { return a.Sub(b).Abs() <= callTime }

func (s *suite) listEntries(t *testing.T) {
	o, v := s.newOrg(t), s.versions(4)
	value, conversation := s.key(t, "lead", o, "1"), s.key(t, keys.Conversations, o, "16045550001")
	res := s.must(t, set(value, v[0], "0123456789"), store.Applied)
	e, ok := s.list(t, store.Query{Type: "lead", Org: o})[value.String()]
	if !ok || e.Version != v[0] || !listedNear(e.ExpiresAt, res.ExpiresAt) || e.Bytes < 10 || e.Bytes > 200 {
		t.Errorf("value: %+v, want version %s until %v", e, v[0], res.ExpiresAt)
	}
	s.must(t, appendOp(conversation, v[1], msg("a", "hi"), msg("b", "ho")), store.Applied)
	s.must(t, appendOp(conversation, v[3], msg("c", "hi")), store.Applied)
	res = s.must(t, s.merged(appendOp(conversation, v[2], msg("d", "hi"))), store.Applied)
	e, ok = s.list(t, store.Query{Type: keys.Conversations, Org: o})[conversation.String()]
	if !ok || e.Version != v[3] || e.Messages != 4 || !listedNear(e.ExpiresAt, res.ExpiresAt) {
		t.Errorf("conversation: %+v, want 4 messages, newest %s, until %v", e, v[3], res.ExpiresAt)
	}
	if least := 4 * len(msg("a", "hi").Payload); e.Bytes < least || e.Bytes > least+4*200 {
		t.Errorf("conversation: %d bytes, want a little more than %d", e.Bytes, least)
	}
}

func (s *suite) listLive(t *testing.T) {
	o, v := s.newOrg(t), s.versions(5)
	lead := func(id string) keys.Key { return s.key(t, "lead", o, id) }
	conversation := func(id string) keys.Key { return s.key(t, keys.Conversations, o, id) }
	check := func(when string, leads []string, conversations []string) {
		t.Helper()
		got := s.list(t, store.Query{Type: "lead", Org: o})
		for _, id := range leads {
			if _, ok := got[lead(id).String()]; !ok {
				t.Errorf("%s: lead %s is not listed", when, id)
			}
		}
		logs := s.list(t, store.Query{Type: keys.Conversations, Org: o})
		for _, id := range conversations {
			if _, ok := logs[conversation(id).String()]; !ok {
				t.Errorf("%s: conversation %s is not listed", when, id)
			}
		}
		if len(got) != len(leads) || len(logs) != len(conversations) {
			t.Errorf("%s: listed are %v and %v, want %q and %q", when, got, logs, leads, conversations)
		}
	}
	s.must(t, set(lead("live"), v[0], "x"), store.Applied)
	s.must(t, set(lead("deleted"), v[0], "x"), store.Applied)
	s.must(t, tombstone(lead("deleted"), v[1]), store.Applied)
	s.must(t, tombstone(lead("never"), v[1]), store.Applied)
	s.must(t, appendOp(conversation("1"), v[0], msg("a", "hi")), store.Applied)
	s.must(t, appendOp(conversation("2"), v[0], msg("a", "hi")), store.Applied)
	s.must(t, replaceOp(conversation("2"), v[2]), store.Applied)
	s.must(t, replaceOp(conversation("3"), v[2]), store.Applied)
	check("deleted and cleared", []string{"live"}, []string{"1"})
	short := set(lead("short"), v[3], "x")
	short.TTL = shortLife
	shortAppend := appendOp(conversation("4"), v[3], msg("a", "hi"))
	shortAppend.TTL = shortLife
	s.must(t, short, store.Applied)
	res := s.must(t, shortAppend, store.Applied)
	s.awaitExpiry(t, res.ExpiresAt, func() bool {
		leads, logs := s.list(t, store.Query{Type: "lead", Org: o}), s.list(t, store.Query{Type: keys.Conversations, Org: o})
		return len(leads) > 1 || len(logs) > 1
	})
	check("expired", []string{"live"}, []string{"1"})
	g := s.invalidate(t, o, 0)
	check("invalidated", nil, nil)
	s.must(t, under(set(lead("live"), v[4], "x"), g), store.Applied)
	s.must(t, under(appendOp(conversation("1"), v[4], msg("a", "hi")), g), store.Applied)
	check("written again", []string{"live"}, []string{"1"})
	logs := s.list(t, store.Query{Type: keys.Conversations, Org: o})
	if e := logs[conversation("1").String()]; e.Messages != 1 {
		t.Errorf("written again: %d messages, want 1", e.Messages)
	}
}

func (s *suite) listPrefixes(t *testing.T) {
	for _, typ := range []keys.Type{"lead", keys.Conversations} {
		base := s.newOrg(t).String()
		want := map[string]int{base: 3, base + "0": 2, base + "-1": 1, base + ":": 4, base + "%3A": 2, "x" + base: 1}
		for name, n := range want {
			for i := range n {
				k := s.key(t, typ, org(t, name), fmt.Sprint("id", i))
				if typ == keys.Conversations {
					s.must(t, appendOp(k, s.clock.Now(), msg("a", "hi")), store.Applied)
				} else {
					s.must(t, set(k, s.clock.Now(), "x"), store.Applied)
				}
			}
		}
		for name, n := range want {
			if got := s.list(t, store.Query{Type: typ, Org: org(t, name), Limit: 2}); len(got) != n {
				t.Errorf("%s of %q: %d entries, want %d", typ, name, len(got), n)
			}
		}
	}
	// A type whose name begins like another's.
	o := s.newOrg(t)
	s.must(t, set(s.key(t, "leads", o, "1"), s.clock.Now(), "x"), store.Applied)
	if got := s.list(t, store.Query{Type: "lead", Org: o}); len(got) != 0 {
		t.Errorf("leads are listed as lead: %v", got)
	}
}

func (s *suite) listAll(t *testing.T) {
	want := map[string]bool{}
	for range 5 {
		k := s.key(t, "precomputed", s.newOrg(t), "1")
		s.must(t, set(k, s.clock.Now(), "x"), store.Applied)
		want[k.String()] = true
	}
	invalidated := s.key(t, "precomputed", s.newOrg(t), "1")
	s.must(t, set(invalidated, s.clock.Now(), "x"), store.Applied)
	s.invalidate(t, invalidated.Org(), 0)
	got := s.list(t, store.Query{Type: "precomputed", Limit: 3})
	for k := range want {
		if _, ok := got[k]; !ok {
			t.Errorf("%s is not in the listing of all organisations", k)
		}
	}
	if _, ok := got[invalidated.String()]; ok {
		t.Errorf("%s was invalidated and is listed", invalidated)
	}
}
