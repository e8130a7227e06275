package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func (f *fixture) tap(filter TapFilter) *Tap {
	f.t.Helper()
	tap, err := f.Tap(filter)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(tap.Close)
	return tap
}

// waiting returns the events that a tap has now.
func waiting(t testing.TB, tap *Tap) []Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var all []Event
	for {
		page := make([]Event, 100)
		n, err := tap.Read(ctx, page)
		if all = append(all, page[:n]...); err != nil {
			return all
		}
	}
}

// phone is the key of a conversation.
func (f *fixture) phone(org, number string) keys.Key {
	f.t.Helper()
	p, err := keys.ParsePhone(number, "US")
	if err != nil {
		f.t.Fatal(err)
	}
	return f.space.Key(keys.Conversations, f.key(org, "x").Org(), p.DigitsID())
}

var (
	shared = Policy{TTL: time.Hour, Keep: time.Hour}
	local  = Policy{TTL: time.Hour, Keep: time.Hour, LocalOnly: true}
	limits = Limits{TTL: time.Hour, Window: store.Window{Messages: 10, IDs: 10}}
)

// TestTapTellsEveryOperation: each operation is told once, with what it did.
func TestTapTellsEveryOperation(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	agent, person := f.key("org-1", "agent-1"), f.phone("org-1", "+16049085474")
	other := f.key("org-1", "another")
	value := []byte(`"x"`)
	batch := []Message{{ID: "1", Payload: []byte("12345")}, {ID: "2", Payload: []byte("123")}}
	load := func(context.Context) ([]byte, error) { return value, nil }
	tap := f.tap(TapFilter{})
	for _, step := range []struct {
		name string
		call func() error
		want []Event
	}{
		{"get of nothing", func() error { return second(f.Get(ctx, agent, shared)) },
			[]Event{{Op: OpGet, ID: "ag…", Source: FromShared, Outcome: Miss}}},
		{"set", func() error { return second(f.Set(ctx, agent, value, shared, store.Condition{})) },
			[]Event{{Op: OpSet, ID: "ag…", Source: FromShared, Outcome: Done, Bytes: 3}}},
		{"get", func() error { return second(f.Get(ctx, agent, shared)) },
			[]Event{{Op: OpGet, ID: "ag…", Source: FromShared, Outcome: Hit, Bytes: 3}}},
		{"get many", func() error { return second(f.GetMany(ctx, []keys.Key{agent, other}, make([]Policy, 2))) },
			[]Event{{Op: OpGetMany, Source: FromShared, Outcome: Partial, Bytes: 3, Count: 2}}},
		{"get many of two types", func() error {
			return second(f.GetMany(ctx, []keys.Key{other, f.phone("org-1", "+16049085475")}, make([]Policy, 2)))
		},
			[]Event{{Op: OpGetMany, Type: "-", Source: FromShared, Outcome: Miss, Count: 2}}},
		{"load", func() error { return second(f.GetOrLoad(ctx, other, shared, load)) }, []Event{
			{Op: OpLoad, ID: "an…", Source: FromLoader, Outcome: Done, Bytes: 3},
			{Op: OpFill, ID: "an…", Source: FromShared, Outcome: Done, Bytes: 3},
			{Op: OpGet, ID: "an…", Source: FromLoader, Outcome: Loaded, Bytes: 3}}},
		{"no load", func() error { return second(f.GetOrLoad(ctx, other, shared, load)) },
			[]Event{{Op: OpGet, ID: "an…", Source: FromShared, Outcome: Hit, Bytes: 3}}},
		{"delete", func() error { return f.Delete(ctx, agent, shared, store.Condition{}) },
			[]Event{{Op: OpDelete, ID: "ag…", Source: FromShared, Outcome: Done}}},
		{"set in the process", func() error { return second(f.Set(ctx, agent, value, local, store.Condition{})) },
			[]Event{{Op: OpSet, ID: "ag…", Source: FromNear, Outcome: Done, Bytes: 3}}},
		{"get in the process", func() error { return second(f.Get(ctx, agent, local)) },
			[]Event{{Op: OpGet, ID: "ag…", Source: FromNear, Outcome: Hit, Bytes: 3}}},
		{"append", func() error { return second(f.Append(ctx, person, batch, limits)) },
			[]Event{{Op: OpAppend, Type: keys.Conversations, ID: "…74", Source: FromShared, Outcome: Done, Bytes: 8, Count: 2}}},
		{"messages", func() error { return second(f.Messages(ctx, person, 0)) },
			[]Event{{Op: OpMessages, Type: keys.Conversations, ID: "…74", Source: FromShared, Outcome: Hit, Bytes: 8, Count: 2}}},
		{"replace", func() error { return second(f.Replace(ctx, person, nil, limits)) },
			[]Event{{Op: OpReplace, Type: keys.Conversations, ID: "…74", Source: FromShared, Outcome: Done}}},
		{"no messages", func() error { return second(f.Messages(ctx, person, 0)) },
			[]Event{{Op: OpMessages, Type: keys.Conversations, ID: "…74", Source: FromShared, Outcome: Miss}}},
		{"import", func() error { return second(f.Import(ctx, person, batch[:1], limits)) },
			[]Event{{Op: OpImport, Type: keys.Conversations, ID: "…74", Source: FromShared, Outcome: Done, Bytes: 5, Count: 1}}},
		{"list", func() error { return second(f.List(ctx, store.Query{Type: "agentConfig", Org: agent.Org()})) },
			[]Event{{Op: OpList, Source: FromShared, Outcome: Done, Count: 1}}},
		{"invalidate", func() error { return second(f.Invalidate(ctx, agent.Org())) },
			[]Event{{Op: OpInvalidate, Type: "-", Source: FromShared, Outcome: Done}}},
	} {
		t.Run(step.name, func(t *testing.T) {
			before := time.Now()
			err := step.call()
			got := waiting(t, tap)
			if len(got) != len(step.want) {
				t.Fatalf("%d events, want %d: %+v", len(got), len(step.want), got)
			}
			for i, want := range step.want {
				if failed := want.Outcome.Failed(); failed != (err != nil) {
					t.Fatalf("the call returned %v", err)
				}
				compare(t, got[i], want, before)
			}
		})
	}
}

func compare(t *testing.T, got, want Event, before time.Time) {
	t.Helper()
	if got.Time.Before(before) || got.Took <= 0 || got.Took > time.Since(before) {
		t.Errorf("at %v, took %v", got.Time, got.Took)
	}
	switch want.Type {
	case "":
		want.Type = "agentConfig"
	case "-":
		want.Type = ""
	}
	want.Org, want.Time, want.Took = "org-1", got.Time, got.Took
	if got != want {
		t.Errorf("told\n%+v, want\n%+v", got, want)
	}
}

func second[T any](_ T, err error) error { return err }

// TestTapMasks: no id is told in full, however it looks.
func TestTapMasks(t *testing.T) {
	f := newFixture(t)
	tap := f.tap(TapFilter{})
	for _, id := range []string{
		"+16049085474", "16049085474", "(604) 908-5474", "lead of Ada Lovelace", "x", "ab", "abc", "abcdef", "abcdefg",
		"\u202e4745809406", "\u200b\u200b\u200b\u200b\u200b\u200b\u200b", "……", "<script>alert(1)</script>", strings.Repeat("é", 64),
	} {
		k := f.key("org-1", id)
		if err := second(f.Get(t.Context(), k, shared)); err != nil {
			t.Fatal(err)
		}
		ev := waiting(t, tap)[0]
		if strings.Contains(fmt.Sprintf("%+v", ev), id) && !strings.HasPrefix(id, "…") || strings.Contains(ev.ID, k.String()) {
			t.Errorf("%q is told in full: %+v", id, ev)
		}
		if shown := len([]rune(strings.Trim(ev.ID, "…"))); shown > 2 {
			t.Errorf("of %q %d characters are told: %q", id, shown, ev.ID)
		}
	}
	forgotten := f.space.Forgotten(f.phone("org-1", "+16049085474"))
	if err := second(f.Set(t.Context(), forgotten, []byte("1"), shared, store.Condition{})); err != nil {
		t.Fatal(err)
	}
	if ev := waiting(t, tap)[0]; strings.Contains(fmt.Sprintf("%+v", ev), "6049085474") {
		t.Errorf("the key of a person who was forgotten is told: %+v", ev)
	}
}

// TestTapTellsFailures: what went wrong is told by class, and alone if so asked.
func TestTapTellsFailures(t *testing.T) {
	f := newFixture(t)
	ctx, k, person := t.Context(), f.key("org-1", "agent-1"), f.phone("org-1", "+16049085474")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := second(f.Append(ctx, person, []Message{{ID: "1", Payload: []byte("1")}}, limits)); err != nil {
		t.Fatal(err)
	}
	tap := f.tap(TapFilter{Errors: true})
	for _, tt := range []struct {
		want Outcome
		call func() error
	}{
		{Conflict, func() error {
			return second(f.Append(ctx, person, []Message{{ID: "1", Digest: [8]byte{1}, Payload: []byte("2")}}, limits))
		}},
		{ConditionFailed, func() error {
			return second(f.Set(ctx, k, nil, shared, store.Condition{Kind: store.IfVersion, Version: clock.NewVersion(1, 0, 1)}))
		}},
		{Full, func() error { return second(f.Set(ctx, k, make([]byte, 2<<20), local, store.Condition{})) }},
		{GivenUp, func() error { return second(f.Get(ended, k, shared)) }},
		{LoadFailed, func() error {
			return second(f.GetOrLoad(ctx, k, shared, func(context.Context) ([]byte, error) { return nil, errors.New("no") }))
		}},
	} {
		if err := second(f.Get(ctx, f.key("org-1", "fine"), shared)); err != nil {
			t.Fatal(err)
		}
		err := tt.call()
		got := waiting(t, tap)
		if err == nil || len(got) == 0 {
			t.Fatalf("%v: %v, told %+v", tt.want, err, got)
		}
		for _, ev := range got {
			if ev.Outcome != tt.want {
				t.Errorf("%v is told as %v", err, ev.Outcome)
			}
		}
	}
}

func TestOutcomeOf(t *testing.T) {
	ctx := t.Context()
	for err, want := range map[error]Outcome{
		fmt.Errorf("get: %w", store.ErrUnavailable):                           Unavailable,
		fmt.Errorf("get: %w", context.DeadlineExceeded):                       Unavailable,
		fmt.Errorf("set: %w: %w", store.ErrUnknown, context.DeadlineExceeded): Unknown,
		fmt.Errorf("%w: %w", store.ErrRejected, store.ErrFull):                Full,
		fmt.Errorf("set: %w", store.ErrRejected):                              Rejected,
		fmt.Errorf("get: %w", store.ErrCorrupt):                               Corrupt,
		fmt.Errorf("load: %w", &LoadError{Err: store.ErrUnavailable}):         LoadFailed,
		errors.New("something"):                                               OtherFailed,
	} {
		if got := outcomeOf(ctx, err); got != want || !got.Failed() {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
	for o := range outcomes {
		if o > 0 && o.String() == "" {
			t.Errorf("outcome %d has no name", o)
		}
	}
}

// TestTapPanic: a loader that panics is not told as one that is done.
func TestTapPanic(t *testing.T) {
	f := newFixture(t)
	tap := f.tap(TapFilter{Op: "load"})
	err := second(f.GetOrLoad(t.Context(), f.key("org-1", "agent-1"), shared, func(context.Context) ([]byte, error) { panic("no") }))
	if got := waiting(t, tap); err == nil || len(got) != 1 || got[0].Outcome != LoadFailed {
		t.Errorf("%v, told %+v", err, got)
	}
}

// TestTapFilters: a filter lets through what it names and nothing else.
func TestTapFilters(t *testing.T) {
	f := newFixture(t)
	taps := map[string]*Tap{
		"org": f.tap(TapFilter{Org: "org-1"}), "type": f.tap(TapFilter{Type: "conversationContexts"}),
		"op": f.tap(TapFilter{Op: "set"}), "both": f.tap(TapFilter{Org: "org-2", Op: "get"}), "none": f.tap(TapFilter{Org: "org"}),
	}
	for _, org := range []string{"org-1", "org-2"} {
		k := f.key(org, "agent-1")
		for _, err := range []error{
			second(f.Set(t.Context(), k, nil, shared, store.Condition{})), second(f.Get(t.Context(), k, shared)),
			second(f.Messages(t.Context(), f.phone(org, "+16049085474"), 0)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range map[string]string{
		"org": "set org-1, get org-1, messages org-1", "type": "messages org-1, messages org-2",
		"op": "set org-1, set org-2", "both": "get org-2", "none": "",
	} {
		var got []string
		for _, ev := range waiting(t, taps[name]) {
			got = append(got, ev.Op.String()+" "+ev.Org)
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s lets through %q, want %q", name, s, want)
		}
	}
}

// TestSlowTap: who does not read costs nobody anything, and is told what was
// missed.
func TestSlowTap(t *testing.T) {
	const more = 100
	f := newFixture(t)
	tap := f.tap(TapFilter{})
	k := f.key("org-1", "agent-1")
	get := func(n int) {
		for range n {
			if err := second(f.Get(t.Context(), k, local)); err != nil {
				t.Fatal(err)
			}
		}
	}
	get(tapBuffer + more)
	if got := waiting(t, tap); len(got) != tapBuffer || got[len(got)-1].Dropped != 0 {
		t.Fatalf("%d events, want %d, and none of them after what was dropped", len(got), tapBuffer)
	}
	get(2)
	if got := waiting(t, tap); len(got) != 2 || got[0].Dropped != more || got[1].Dropped != 0 {
		t.Errorf("told %+v, want %d dropped before the first", got, more)
	}
	sum := tap.Tally()
	if sum.Operations != tapBuffer+more+2 || sum.Dropped != more || sum.Errors != 0 || sum.Max <= 0 || sum.Over <= 0 {
		t.Errorf("tally %+v", sum)
	}
	if sum = tap.Tally(); sum.Operations != 0 || sum.Dropped != 0 || sum.Max != 0 {
		t.Errorf("the next tally is %+v", sum)
	}
}

// TestTapSamples: of every group of calls exactly one is told, and of calls that
// come in turn not always the same.
func TestTapSamples(t *testing.T) {
	const every, groups = 4, 200
	f := newFixture(t)
	tap := f.tap(TapFilter{Every: every})
	k := f.key("org-1", "agent-1")
	byOp := map[Operation]int{}
	var sampledOut uint64
	for i := range groups {
		for range every / 2 {
			if err := errors.Join(second(f.Set(t.Context(), k, nil, local, store.Condition{})), second(f.Get(t.Context(), k, local))); err != nil {
				t.Fatal(err)
			}
		}
		got := waiting(t, tap)
		if len(got) != 1 {
			t.Fatalf("group %d: %d events", i, len(got))
		}
		byOp[got[0].Op]++
		sampledOut += got[0].SampledOut
	}
	if byOp[OpGet] < groups/4 || byOp[OpSet] < groups/4 {
		t.Errorf("told were %v: one of the two operations hides the other", byOp)
	}
	sum := tap.Tally()
	if rest := uint64(groups*(every-1)) - sampledOut; rest >= every || sum.SampledOut != groups*(every-1) || sum.Operations != groups*every {
		t.Errorf("%d were sampled out by the events, tally %+v", sampledOut, sum)
	}
}

// TestTapsAreBounded: there are so many and no more, and who ends makes room.
func TestTapsAreBounded(t *testing.T) {
	f := newFixture(t)
	var taps []*Tap
	for range MaxTaps {
		taps = append(taps, f.tap(TapFilter{}))
	}
	if _, err := f.Tap(TapFilter{}); !errors.Is(err, ErrTaps) {
		t.Fatalf("one more: %v, want ErrTaps", err)
	}
	taps[3].Close()
	taps[3].Close()
	taps[3] = f.tap(TapFilter{})
	for _, tap := range taps {
		tap.Close()
	}
	if f.taps.list.Load() != nil {
		t.Error("operations still look for somebody who listens")
	}
	if err := second(taps[0].Read(t.Context(), make([]Event, 1))); !errors.Is(err, ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

// TestTapEnds: with the engine, and not before what was told has been read.
func TestTapEnds(t *testing.T) {
	f := newFixture(t)
	tap := f.tap(TapFilter{})
	if err := second(f.Get(t.Context(), f.key("org-1", "agent-1"), local)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	page := make([]Event, 10)
	if n, err := tap.Read(t.Context(), page); n != 1 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
	if n, err := tap.Read(t.Context(), page); n != 0 || !errors.Is(err, ErrClosed) {
		t.Errorf("at the end: %d events, %v", n, err)
	}
	if _, err := f.Tap(TapFilter{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a tap of a closed engine: %v", err)
	}
}

// TestTapsAtWork: taps come and go while calls are under way, and what they are
// told adds up.
func TestTapsAtWork(t *testing.T) {
	const callers, calls = 4, 2000
	f := newFixture(t)
	tap := f.tap(TapFilter{Every: 3})
	k := f.key("org-1", "agent-1")
	var work sync.WaitGroup
	for range callers {
		work.Go(func() {
			for range calls {
				if err := second(f.Get(t.Context(), k, local)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	for under := true; under; {
		select {
		case <-done:
			under = false
		default:
			f.tap(TapFilter{}).Close()
		}
	}
	sum, told := tap.Tally(), uint64(0)
	for range waiting(t, tap) {
		told++
	}
	if sum.Operations != callers*calls || told+sum.Dropped+sum.SampledOut != callers*calls {
		t.Errorf("%d told, tally %+v, want %d in all", told, sum, callers*calls)
	}
}
