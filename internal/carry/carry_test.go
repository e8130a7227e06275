package carry_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/jackcache/jackcache/internal/carry"
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/filestore"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

const (
	patience = 30 * time.Second
	life     = time.Hour
)

func devSpace(t testing.TB) keys.Space {
	t.Helper()
	s, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func embedded(t testing.TB) *filestore.Store {
	t.Helper()
	s, err := filestore.Open(filepath.Join(t.TempDir(), "embedded.db"), filestore.Options{Space: devSpace(t), SweepEvery: -1})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close(context.Background())) })
	return s
}

func inRedis(t testing.TB, addr string) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(t.Context(), redisstore.Options{
		Space: devSpace(t), Mode: redisstore.Standalone, Addrs: []string{addr}, Connections: 1, InFlight: 2048, Timeout: 10 * time.Second,
		Clock: clock.New(nil, 7, nil), Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close(context.Background())) })
	return s
}

// keepOpen keeps Close from closing what the test still reads.
type keepOpen struct{ store.Shared }

func (keepOpen) Close(context.Context) error { return nil }

// here is a store that is never away, as a target.
type here struct{ store.Store }

func (here) Serves(keys.Key) bool   { return true }
func (here) Doubtful(keys.Key) bool { return false }

func (here) Raised(context.Context, uint64) ([]store.Raised, error) { return nil, nil }

func (here) Missed(keys.Key) bool { return true }

func (here) Bounds(context.Context, keys.Key) (floor clock.Version, trimmedTo record.Order, exists bool, err error) {
	return floor, trimmedTo, false, nil
}

func (h here) InvalidateOnce(ctx context.Context, o keys.Org, known uint64, _ clock.Version) (uint64, error) {
	return h.Invalidate(ctx, o, known)
}

// carryOver carries source into target and waits for the end.
func carryOver(t rapid.TB, source carry.Source, target store.Shared, space keys.Space) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := over(t, keepOpen{target}, source, space, time.Now)
	must(t, c.Wait(ctx))
	must(t, c.Close(ctx))
}

func over(t rapid.TB, target store.Shared, source carry.Source, space keys.Space, now func() time.Time) *carry.Store {
	t.Helper()
	return carry.Over(target, source, carry.Options{
		Space: space, Now: now, Begin: func() func() { return func() {} }, Keep: func(context.Context, store.Op) error { return nil }, Finish: func(context.Context) error { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
}

// TestMain bounds the properties: every operation on a file is synced.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", "25"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// world draws what an instance wrote. Few keys, ids and contents make
// collisions frequent, small windows make messages leave them.
type world struct {
	t             *rapid.T
	space         keys.Space
	clock         *clock.Clock
	orgs          []keys.Org
	values        []keys.Key
	conversations []keys.Key
}

func newWorld(t *rapid.T, space keys.Space, wall func() time.Time) *world {
	w := &world{t: t, space: space, clock: clock.New(wall, 1, nil)}
	for i := range 2 {
		o, err := keys.ParseOrg(fmt.Sprintf("org-%s-%d", rand.Text()[:8], i))
		must(t, err)
		id, err := keys.ParseID("16045550001")
		must(t, err)
		w.orgs = append(w.orgs, o)
		lead := space.Key("lead", o, id)
		w.values = append(w.values, lead, space.Key("organization", o, keys.NoID), space.Forgotten(space.Key(keys.Summaries, o, id)))
		w.conversations = append(w.conversations, space.Key(keys.Conversations, o, id))
	}
	return w
}

var window = store.Window{Messages: 4, Slack: 2, IDs: 30}

func message(id, content string) store.Message {
	sum := sha256.Sum256([]byte(content))
	return store.Message{ID: id, Digest: [8]byte(sum[:8]), Payload: fmt.Appendf(nil, `{"id":%q,"content":%q}`, id, content)}
}

// op draws one operation that a caller, a replay or an import would bring.
func (w *world) op() store.Op {
	expires := w.clock.Time().Add(life).Truncate(time.Millisecond)
	op := store.Op{Mode: store.Merge, Version: w.clock.Now(), ExpiresAt: expires, Window: window}
	what := rapid.SampledFrom([]string{"append", "append", "append", "append", "old", "replace", "forget", "set", "delete"}).Draw(w.t, "what")
	switch what {
	case "set", "delete":
		op.Action, op.Key = store.Set, rapid.SampledFrom(w.values).Draw(w.t, "value")
		if what == "delete" {
			op.Flags = record.Tombstone
			return op
		}
		op.Payload = fmt.Appendf(nil, `"%d"`, rapid.IntRange(1, 99).Draw(w.t, "payload"))
		return op
	}
	op.Action, op.Key = store.Append, rapid.SampledFrom(w.conversations).Draw(w.t, "conversation")
	if what == "replace" || what == "forget" {
		op.Action = store.Replace
	}
	if what == "forget" {
		op.Keep = 2 * life
		return op
	}
	// Of an id that comes twice in one operation stores may tell different things.
	ids := rapid.SliceOfNDistinct(rapid.IntRange(1, 12), 1, 4, rapid.ID[int]).Draw(w.t, "ids")
	for i, id := range ids {
		m := message(fmt.Sprint(id), rapid.SampledFrom([]string{"one", "one", "two"}).Draw(w.t, "content"))
		m.Index = uint16(i)
		if what == "old" {
			back := time.Duration(rapid.IntRange(1, 3000).Draw(w.t, "back")) * time.Microsecond
			m.At = record.Order{Version: clock.NewVersion(w.clock.Time().Add(-back).UnixMilli(), 0, 9), Index: uint16(id)<<8 | uint16(m.Digest[0])}
		}
		op.Messages = append(op.Messages, m)
	}
	return op
}

// show writes down everything that readers see.
func (w *world) show(s store.Store) string {
	var b strings.Builder
	ctx := context.Background()
	for _, k := range w.values {
		r, err := s.Get(ctx, k)
		must(w.t, err)
		if r.Live() {
			fmt.Fprintf(&b, "%s = %s at %s\n", k, r.Value.Stored, r.Value.Version)
		}
	}
	for _, k := range w.conversations {
		l, err := s.Messages(ctx, k, 0)
		must(w.t, err)
		for _, m := range l.Messages {
			fmt.Fprintf(&b, "%s: %s %q %s\n", k, m.Order, m.ID, m.Stored)
		}
	}
	for _, o := range w.orgs {
		for _, typ := range []keys.Type{keys.Conversations, "lead", "organization"} {
			p, err := s.List(ctx, store.Query{Type: typ, Org: o, Limit: 100})
			must(w.t, err)
			for _, e := range p.Entries {
				// Redis tells what is left of a life, so the instant is known to some
				// milliseconds.
				fmt.Fprintf(&b, "%s lives %s\n", e.Key, e.ExpiresAt.Round(20*time.Second).Sub(time.Now().Round(20*time.Second)).Round(time.Minute))
			}
		}
	}
	return b.String()
}

func (w *world) apply(s store.Store, op store.Op) store.Result {
	g, err := s.Generation(context.Background(), op.Key.Org())
	must(w.t, err)
	op.Generation = g
	res, err := s.Apply(context.Background(), op)
	must(w.t, err)
	return res
}

// told is what an answer promises: of a message that was dropped only that.
func told(placed []store.Placed) []store.Placed {
	placed = slices.Clone(placed)
	for i := range placed {
		if placed[i].Dropped {
			placed[i] = store.Placed{Dropped: true}
		}
	}
	return placed
}

// TestCarriedIsTheSame is the promise: what was carried over looks the same, a
// second time changes nothing, and what is written afterwards has the same
// effect as it would have had before: repetitions are found, floors hold.
func TestCarriedIsTheSame(t *testing.T) {
	server := redistest.Start(t)
	space := devSpace(t)
	targets := map[string]func(t testing.TB) store.Shared{
		"memory":   func(testing.TB) store.Shared { return storetest.NewMemory(nil) },
		"embedded": func(t testing.TB) store.Shared { return here{embedded(t)} },
		"redis":    func(t testing.TB) store.Shared { return inRedis(t, server.Addr()) },
	}
	for name, open := range targets {
		t.Run(name, func(t *testing.T) {
			source, target := embedded(t), open(t)
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t, space, nil)
				for range rapid.IntRange(1, 25).Draw(t, "operations") {
					if rapid.IntRange(0, 14).Draw(t, "invalidate") == 0 {
						_, err := source.Invalidate(context.Background(), rapid.SampledFrom(w.orgs).Draw(t, "org"), 0)
						must(t, err)
					}
					w.apply(source, w.op())
				}
				before := w.show(source)
				for round := range 2 {
					carryOver(t, source, target, space)
					if got := w.show(target); got != before {
						t.Fatalf("round %d: carried over\n%s\nwant\n%s", round+1, got, before)
					}
				}
				for range rapid.IntRange(0, 6).Draw(t, "later") {
					op := w.op()
					a, b := w.apply(source, op), w.apply(target, op)
					if a.Status != b.Status || !slices.Equal(told(a.Placed), told(b.Placed)) {
						t.Fatalf("after it %d %+v\nis answered %d %+v\nwant        %d %+v", op.Action, op.Messages, b.Status, b.Placed, a.Status, a.Placed)
					}
				}
				if got, want := w.show(target), w.show(source); got != want {
					t.Fatalf("what was written afterwards made\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}
