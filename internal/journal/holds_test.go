package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// TestHolds: the journal expects something at a key only where a reader of an
// undamaged store would see it, or that it was deleted.
func TestHolds(t *testing.T) {
	lead, talk := testKey(t, "leads", "org", "1"), testKey(t, keys.Conversations, "org", "2")
	org := testOrg(t, "org")
	now := time.Now().Truncate(time.Millisecond)
	set := func(n int, life time.Duration) *Record {
		r := setRecord(Applied, lead, n)
		r.Op.ExpiresAt = now.Add(life)
		return r
	}
	say := func(n int, life time.Duration) *Record {
		r := appendRecord(Applied, talk, n)
		r.Op.ExpiresAt = now.Add(life)
		return r
	}
	deleted := func(n int) *Record {
		r := set(n, 24*time.Hour)
		r.Op.Flags, r.Op.Payload = record.Tombstone, nil
		return r
	}
	floor := func(r *Record, messages int) *Record {
		r.Op.Action, r.Op.Keep, r.Op.Messages = store.Replace, 48*time.Hour, r.Op.Messages[:messages]
		return r
	}
	in := func(generation uint64, r *Record) *Record { r.Op.Generation = generation; return r }
	pending := func(r *Record) *Record { r.Kind = Pending; return r }
	for _, c := range []struct {
		what       string
		key        keys.Key
		records    []*Record
		generation uint64
		holds      int // the record that says so, counted from one; 0: none
	}{
		{"nothing", lead, nil, 0, 0},
		{"a value", lead, []*Record{set(1, time.Hour)}, 0, 1},
		{"a pending one", lead, []*Record{pending(set(1, time.Hour))}, 0, 0},
		{"deleted", lead, []*Record{set(1, time.Hour), deleted(2)}, 0, 2},
		{"set again", lead, []*Record{deleted(2), set(3, time.Hour)}, 0, 2},
		{"an older one after it was deleted", lead, []*Record{deleted(2), set(1, time.Hour)}, 0, 1},
		{"expired", lead, []*Record{set(1, -time.Second)}, 0, 0},
		{"about to expire", lead, []*Record{set(1, holdsMargin)}, 0, 0},
		{"a longer life before", lead, []*Record{set(1, 10*time.Hour), set(2, -time.Second)}, 0, 0},
		{"a pending one with a longer life", lead, []*Record{set(1, -time.Second), pending(set(2, time.Hour))}, 0, 0},
		{"invalidated, as the caller knows", lead, []*Record{set(1, time.Hour)}, 1, 0},
		{"invalidated, as the journal knows", lead, []*Record{set(1, time.Hour), {Kind: Generation, Org: org, Generation: 3}}, 0, 0},
		{"set after that", lead, []*Record{{Kind: Generation, Org: org, Generation: 3}, in(3, set(1, time.Hour))}, 3, 2},
		{"a message", talk, []*Record{say(1, time.Hour)}, 0, 1},
		{"a pending message", talk, []*Record{pending(say(1, time.Hour))}, 0, 0},
		{"prolonged", talk, []*Record{say(1, -time.Second), say(2, time.Hour)}, 0, 2},
		{"over", talk, []*Record{say(1, -time.Second)}, 0, 0},
		{"over, with a pending message", talk, []*Record{say(1, -time.Second), pending(say(2, time.Hour))}, 0, 0},
		{"cleared", talk, []*Record{say(1, time.Hour), floor(say(2, 24*time.Hour), 0)}, 0, 0},
		{"cleared, then a message", talk, []*Record{say(1, time.Hour), floor(say(2, time.Hour), 0), say(3, time.Hour)}, 0, 3},
		{"cleared, then a message of before", talk, []*Record{floor(say(2, time.Hour), 0), say(1, time.Hour)}, 0, 0},
		{"cleared below a message", talk, []*Record{say(3, time.Hour), floor(say(2, time.Hour), 0)}, 0, 1},
		{"replaced", talk, []*Record{say(1, time.Hour), floor(say(2, time.Hour), 1)}, 0, 2},
		{"replaced, with a shorter life", talk, []*Record{say(1, time.Hour), floor(say(2, -time.Second), 1)}, 0, 0},
		{"a conversation that was invalidated", talk, []*Record{say(1, time.Hour)}, 2, 0},
		{"a message after that", talk, []*Record{say(1, time.Hour), in(2, say(2, time.Hour))}, 2, 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := testOptions(t)
			j, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.records) > 0 {
				appendTest(t, j, c.records...)
			}
			check := func(j *Journal) {
				t.Helper()
				var want, got Held
				if c.holds > 0 {
					r := c.records[c.holds-1]
					want = Held{r.Position, r.Op.Generation, r.Op.Version, r.Op.Flags&record.Tombstone != 0}
				}
				if c.key == lead {
					got = j.Latest(c.key, c.generation, now)
				} else {
					j.EachHeld(c.key, c.generation, now, func(h Held) { got = h })
				}
				if got != want {
					t.Errorf("%+v holds, want %+v", got, want)
				}
			}
			check(j)
			closeTest(t, j)
			check(openTest(t, o))
		})
	}
}

// TestEachHeld: all of a conversation that is expected, in order, and the floor below
// which nothing is.
func TestEachHeld(t *testing.T) {
	j := openTest(t, testOptions(t))
	talk, now := testKey(t, keys.Conversations, "org", "2"), time.Now()
	var all []Position
	add := func(n int, change func(*Record)) Position {
		r := appendRecord(Applied, talk, n)
		r.Op.ExpiresAt = now.Add(time.Hour)
		change(r)
		appendTest(t, j, r)
		return r.Position
	}
	as := func(*Record) {}
	check := func(want []Position, floor Position) {
		t.Helper()
		all = nil
		got := j.EachHeld(talk, 0, now, func(h Held) { all = append(all, h.Position) })
		if !slices.Equal(all, want) || got.Position != floor {
			t.Errorf("%x above %x, want %x above %x", all, got.Position, want, floor)
		}
	}
	check(nil, 0)
	first, second := add(1, as), add(3, as)
	late := add(2, as) // it waited
	check([]Position{first, second, late}, 0)
	replaced := add(4, func(r *Record) { r.Op.Action = store.Replace })
	next := add(5, as)
	check([]Position{replaced, next}, replaced)
	cleared := add(6, func(r *Record) { r.Op.Action, r.Op.Messages = store.Replace, nil })
	check(nil, cleared)
	if got := j.EachHeld(talk, 1, now, func(Held) {}); got.Position != 0 {
		t.Errorf("a floor of an older generation: %+v", got)
	}
}

// TestEachPending: each pending record, once and in order, also beyond a page, and
// although the caller resolves and appends meanwhile.
func TestEachPending(t *testing.T) {
	j := openTest(t, testOptions(t))
	var want []Position
	for i := range 2500 {
		r := setRecord(Pending, testKey(t, "leads", "org", fmt.Sprint(i)), i)
		if i%100 == 0 {
			r = &Record{Kind: Invalidation, Org: testOrg(t, fmt.Sprint("org-", i)), Token: version(i)}
		}
		if err := j.Append(context.Background(), false, r); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.Position)
	}
	var got []Position
	j.EachPending(func(o Outstanding) {
		got = append(got, o.Position)
		if !j.Waits(o.Position) {
			t.Errorf("%x does not wait", o.Position)
		}
		late := setRecord(Pending, testKey(t, "leads", "org", "late"), len(got))
		err := j.Append(context.Background(), false, late, &Record{Kind: Resolved, Resolves: []Position{o.Position}})
		if err != nil {
			t.Error(err)
		}
		if j.Waits(o.Position) || !j.Waits(late.Position) {
			t.Error("the wrong one waits")
		}
	})
	if !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	if j.Waits(0) || j.Waits(j.Position()+1) {
		t.Error("what is not there waits")
	}
	j.EachPending(func(o Outstanding) {
		if o.Position <= want[len(want)-1] {
			t.Errorf("%x was resolved", o.Position)
		}
	})
}

// TestSettleBehindAnother: who settles while another does is not held beyond his
// own context.
func TestSettleBehindAnother(t *testing.T) {
	var u underway
	turn := u.begin()
	patient, enough := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- u.settle(patient) }()
	waitFor(t, func() bool { return u.turn.Load() > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := u.settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("settled with a write under way: %v", err)
	}
	enough()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("settled with a write under way: %v", err)
	}
	u.counts[turn%2].Add(-1)
}

// What is not indexed any more because there is no room is not taken for held.
func TestHoldsWithoutRoom(t *testing.T) {
	o := testOptions(t)
	o.IndexKeys = 10
	j := openTest(t, o)
	now := time.Now()
	add := func(n int, k keys.Key) *Record {
		r := appendRecord(Applied, k, n)
		r.Op.ExpiresAt = now.Add(time.Hour)
		appendTest(t, j, r)
		return r
	}
	others := func(from int) {
		for i := range 60 {
			add(from+i, testKey(t, keys.Conversations, "org", fmt.Sprint(100+i%3)))
		}
	}
	talk, lead := testKey(t, keys.Conversations, "org", "2"), testKey(t, "leads", "org", "7")
	early := add(1, talk)
	set := setRecord(Applied, lead, 2)
	appendTest(t, j, set)
	appendTest(t, j, setRecord(Pending, lead, 3))
	others(10)
	late := add(100, talk)
	for what, r := range map[string]*Record{"the first message": early, "the last": late, "a value": set} {
		if j.Holds(r, 5) {
			t.Errorf("%s is not under the generation, and taken for held", what)
		}
	}
}
