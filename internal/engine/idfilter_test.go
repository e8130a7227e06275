package engine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// outage is a random history of conversations and of a store that is away for most of it.
type outage struct {
	*fixture
	s     *faulty
	rng   *rand.Rand
	talks []keys.Key
}

func (o *outage) messages() []Message {
	var msgs []Message
	for _, i := range o.rng.Perm(12)[:1+o.rng.IntN(2)] {
		m := Message{ID: fmt.Sprint("m", i), Payload: []byte("{}")}
		if o.rng.IntN(10) == 0 {
			m.Digest[0] = 1 // another content
		}
		msgs = append(msgs, m)
	}
	return msgs
}

// read is what all that the journal has of a conversation says, read anew.
func (o *outage) read(k keys.Key) *content {
	o.t.Helper()
	v := &view{content: content{byID: make(map[string]known)}}
	if done, err := o.complete(v, k, o.past(k.Org())); err != nil || !done {
		o.t.Fatal(done, err)
	}
	if !o.cfg.Clock.Time().Before(v.life) {
		clear(v.byID)
	}
	return &v.content
}

// append compares the answer to an append in the outage with what is read anew.
func (o *outage) append(k keys.Key, l Limits) {
	o.t.Helper()
	msgs := o.messages()
	before := o.read(k)
	o.views.recent.young, o.views.recent.old = nil, nil // they may remember more than the journal has by now
	conflict := slices.IndexFunc(msgs, func(m Message) bool { old, ok := before.byID[m.ID]; return ok && old.digest != m.Digest })
	res, err := o.Append(o.t.Context(), k, msgs, l)
	if conflict >= 0 {
		if !errors.Is(err, ErrConflict) || res.ConflictID != msgs[conflict].ID {
			o.t.Fatalf("%s: %v: %q, %v; want a conflict of %s", k, msgs, res.ConflictID, err, msgs[conflict].ID)
		}
		return
	}
	if err != nil || !res.Pending || len(res.Placed) != len(msgs) {
		o.t.Fatalf("%s: %v: %+v, %v", k, msgs, res, err)
	}
	for i, m := range msgs {
		want := store.Placed{Order: record.Order{Version: res.Version, Index: uint16(i)}}
		if old, ok := before.byID[m.ID]; ok {
			want = store.Placed{Order: old.Order, Duplicate: true}
		}
		if res.Placed[i] != want {
			o.t.Fatalf("%s: %s: %+v, want %+v", k, m.ID, res.Placed[i], want)
		}
	}
}

// others is what another instance does, which this one hears of only by the store.
func (o *outage) others(k keys.Key) {
	if _, err := o.s.Memory.Invalidate(o.t.Context(), k.Org(), o.Known(k.Org())); err != nil {
		o.t.Fatal(err)
	}
}

func (o *outage) step() {
	o.t.Helper()
	ctx, at := o.t.Context(), o.rng.IntN(len(o.talks))
	k, l := o.talks[at], limits
	if at == 0 {
		l.TTL = time.Nanosecond // its life is over at once
	}
	var err error
	switch n := o.rng.IntN(100); {
	case n < 50 && o.s.away:
		o.append(k, l)
	case n < 50:
		if _, err = o.Append(ctx, k, o.messages(), l); errors.Is(err, ErrConflict) {
			err = nil
		}
	case n < 56:
		_, err = o.Replace(ctx, k, o.messages(), l)
	case n < 60:
		_, err = o.Replace(ctx, k, nil, l)
	case n < 64:
		_, err = o.Invalidate(ctx, k.Org())
	case n < 70:
		if _, err = o.Messages(ctx, k, 0); o.s.away && away(err) {
			err = nil // there is nothing
		}
	case n < 75:
		o.drain(o.s)
	case n < 80:
		o.resolveOne()
	case n < 86:
		o.s.away, o.s.tells = !o.s.away, o.rng.IntN(2) == 0
	case n < 88:
		o.others(k)
	case n < 90: // for want of room
		o.filters.recent.young, o.filters.recent.old = nil, nil
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// resolveOne replays one of those that wait, and stops there.
func (o *outage) resolveOne() {
	all := o.journal.Outstanding(0, 1)
	if len(all) == 0 || all[0].Kind == journal.Invalidation {
		return
	}
	rs, err := o.journal.Read(all[0].Position)
	if err != nil || len(rs) != 1 {
		o.t.Fatal(len(rs), err)
	}
	done := &journal.Record{Kind: journal.Applied, Time: time.Now(), Op: rs[0].Op, Resolves: []journal.Position{all[0].Position}}
	if err := o.journal.Append(o.t.Context(), false, done); err != nil {
		o.t.Fatal(err)
	}
}

// TestAppendsAsRead: while the store is away each append is answered as one that reads
// all that the journal has of the conversation, whatever came before.
func TestAppendsAsRead(t *testing.T) {
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			f, s := journaled(t)
			o := &outage{fixture: f, s: s, rng: rand.New(rand.NewPCG(seed, 1))}
			for _, org := range []string{"org-1", "org-2"} {
				for n := range 3 {
					o.talks = append(o.talks, f.phone(org, fmt.Sprintf("+1604908547%d", n)))
				}
			}
			for range 500 {
				o.step()
			}
		})
	}
}

// TestRepeatedAtOnce: what many append at the same time is known to each that comes after.
func TestRepeatedAtOnce(t *testing.T) {
	f, s := journaled(t)
	s.away, s.tells = true, true
	const callers, each = 8, 25
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			k := f.phone("org-1", fmt.Sprintf("+1604908547%d", c%2))
			for n := range each {
				msgs := []Message{{ID: fmt.Sprintf("%d-%d", c, n), Payload: []byte("{}")}}
				first, err := f.Append(t.Context(), k, msgs, limits)
				if err != nil || first.Placed[0].Duplicate {
					t.Errorf("first: %+v, %v", first, err)
					return
				}
				again, err := f.Append(t.Context(), k, msgs, limits)
				if err != nil || !again.Placed[0].Duplicate || again.Placed[0].Order != first.Placed[0].Order {
					t.Errorf("again: %+v, %v; want %+v", again, err, first)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestNewMessagesAreNotRead: an append of new messages reads nothing back, and keeps no
// view of the conversation.
func TestNewMessagesAreNotRead(t *testing.T) {
	f, s := journaled(t)
	k := f.phone("org-1", "+16049085474")
	s.away = true
	for n := range 50 {
		if _, err := f.Append(t.Context(), k, []Message{{ID: fmt.Sprint(n), Payload: []byte("{}")}}, limits); err != nil {
			t.Fatal(err)
		}
		filter := f.filters.of(k)
		if upTo, err := f.journal.EachID(k, filter.upTo, filter.early, func(id string) { t.Errorf("%s would be read", id) }); err != nil || upTo != f.journal.Position() {
			t.Fatal(upTo, err)
		}
	}
	if _, ok := f.views.peek(k); ok {
		t.Error("there is a view")
	}
	filter, old, fresh := f.filters.of(k), []store.Message{{ID: "7"}}, []store.Message{{ID: "new"}}
	for range 2 {
		if f.allNew(filter, k, old) || !f.allNew(filter, k, fresh) || filter.upTo != f.journal.Position() {
			t.Errorf("up to %x of %x: known %v, new %v", filter.upTo, f.journal.Position(), f.allNew(filter, k, old), f.allNew(filter, k, fresh))
		}
	}
	if filter.ids.n != 50 {
		t.Errorf("the filter has %d", filter.ids.n)
	}
	if err := f.journal.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.allNew(new(idFilter), k, fresh) {
		t.Error("it is new, though the journal cannot be read")
	}
}

// TestFiltersAreBounded: filters cost what is counted, and the bound holds.
func TestFiltersAreBounded(t *testing.T) {
	f, s := journaled(t)
	s.away = true
	var filters idFilters
	for i := range 3 * filterBytes / 4 / recentEntry {
		k := f.key("org-1", clock.NewVersion(int64(i), 0, 0).String())
		filter, before := filters.of(k), 0
		for n := range uint64(20) {
			filter.ids.add(n + 1)
		}
		filters.grew(filter, filter.ids.bytes()-before)
		if filters.bytes > filterBytes/2+2*recentEntry+filter.ids.bytes() {
			t.Fatalf("%d filters are counted as %d bytes", i, filters.bytes)
		}
	}
	if n, most := len(filters.young)+len(filters.old), filterBytes/(recentEntry+8*32); n > most {
		t.Errorf("%d filters are kept; want at most %d", n, most)
	}
}

// TestHashes: a set has what was added, and nothing else.
func TestHashes(t *testing.T) {
	var h hashes
	seed := maphash.MakeSeed()
	of := func(n int) uint64 { return maphash.Comparable(seed, n) }
	if h.has(0) || h.has(1) {
		t.Error("the empty one has something")
	}
	for n := range 5000 {
		if h.has(of(n)) {
			t.Fatalf("%d is there before it was added", n)
		}
		h.add(of(n))
		h.add(of(n))
	}
	for n := range 5000 {
		if !h.has(of(n)) {
			t.Fatalf("%d is missing", n)
		}
	}
	if h.n != 5000 || h.bytes() != 8*8192 {
		t.Errorf("%d in %d bytes", h.n, h.bytes())
	}
	if h.add(0); !h.has(0) {
		t.Error("zero is missing")
	}
}

// TestRefusedBeforehand: a store that tells that it is away is not asked, but for what
// only it can decide, and where an invalidation has to reach it first.
func TestRefusedBeforehand(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	s.away, s.tells = true, true
	set := func(c store.Condition) (asked int32, err error) {
		before := s.applies.Load()
		_, err = f.Set(ctx, k, []byte("1"), shared, c)
		return s.applies.Load() - before, err
	}
	if asked, err := set(store.Condition{}); asked != 0 || err != nil {
		t.Errorf("asked %d times, %v", asked, err)
	}
	if _, err := set(store.Condition{Kind: store.IfAbsent}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("conditional: %v; want ErrUnavailable", err)
	}
	if _, err := f.Invalidate(ctx, k.Org()); err != nil {
		t.Fatal(err)
	}
	if _, err := set(store.Condition{}); err != nil {
		t.Error(err)
	}
	if err := f.refused(&store.Op{Action: store.Set, Key: k}); err != nil {
		t.Errorf("%v; want an attempt, which waits for the invalidation", err)
	}
	s.away = false
	asked, err := set(store.Condition{})
	if g, gerr := s.Memory.Generation(ctx, k.Org()); asked == 0 || err != nil || g == 0 || gerr != nil {
		t.Errorf("asked %d times, %v; the store has generation %d, %v: want the invalidation there first", asked, err, g, gerr)
	}
}
