package replay_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/replay"
	"github.com/jackcache/jackcache/internal/store"
)

// life is long for every test.
const life = 2 * time.Hour

// instance is what accepts writes, and replays them from a journal on the disk.
// It stands for the engine. It lives in a bubble.
type instance struct {
	t   rapid.TB
	dir string
	s   *faulty
	clk *clock.Clock
	j   *journal.Journal
	r   *replay.Replayer

	mu    sync.Mutex
	known map[keys.Org]uint64 // guarded by mu

	// Called where the replay tells of something; nil: nothing is.
	wrote    func(keys.Key)
	observed func(keys.Org, store.Result)
	back     func()
}

var space = func() keys.Space {
	s, err := keys.NewSpace("dev")
	if err != nil {
		panic(err)
	}
	return s
}()

func newInstance(t rapid.TB, dir string, s *faulty) *instance {
	x := &instance{t: t, dir: dir, s: s, clk: clock.New(time.Now, 1, nil)}
	x.open()
	x.r.Start(s)
	return x
}

// open opens the journal, as a start does, without replaying.
func (x *instance) open() {
	x.t.Helper()
	j, err := journal.Open(journal.Options{
		Dir: filepath.Join(x.dir, "journal"), Space: space, MaxBytes: 64 << 20, Window: 24 * time.Hour, LowWater: -1,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	x.must(err)
	x.j = j
	x.mu.Lock()
	x.known = j.Generations()
	x.mu.Unlock()
	x.clk.Observe(j.Highest())
	x.r = replay.New(replay.Options{
		Journal: j, Space: space, Rate: 20000, SetAside: x.aside(), Now: time.Now, Stamp: x.clk.Now, Logger: slog.New(slog.DiscardHandler),
		Known: x.knows, Adopting: func() func(func(keys.Org) bool) { return func(func(keys.Org) bool) {} }, Adopts: func(keys.Org) {},
		Restored: func() {
			if x.back != nil {
				x.back()
			}
		},
		Wrote: func(k keys.Key) {
			if x.wrote != nil {
				x.wrote(k)
			}
		},
		Observed: func(o keys.Org, res store.Result) {
			if x.observed != nil {
				x.observed(o, res)
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			x.known[o] = max(x.known[o], res.Generation)
		},
	})
}

func (x *instance) knows(o keys.Org) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.known[o]
}

func (x *instance) aside() string { return filepath.Join(x.dir, "set-aside.ndjson") }

func (x *instance) close() {
	x.t.Helper()
	x.r.Close()
	x.must(x.j.Close(context.Background()))
}

// restart ends everything, in the middle of whatever it does, and begins anew.
func (x *instance) restart() {
	x.t.Helper()
	x.close()
	x.open()
	x.r.Start(x.s)
}

func (x *instance) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// keep writes records to the journal.
func (x *instance) keep(rs ...*journal.Record) {
	x.t.Helper()
	x.must(x.j.Append(context.Background(), false, rs...))
}

// accept acknowledges a write that waits for the store.
func (x *instance) accept(op store.Op) {
	x.t.Helper()
	op.Generation = x.knows(op.Key.Org())
	x.keep(&journal.Record{Kind: journal.Pending, Time: time.Now(), Op: op})
	x.r.Kick()
}

// invalidate acknowledges an invalidation that waits for the store.
func (x *instance) invalidate(o keys.Org) {
	x.t.Helper()
	x.keep(&journal.Record{Kind: journal.Invalidation, Time: time.Now(), Org: o, Token: x.clk.Now(), Generation: x.knows(o)})
	x.r.Kick()
}

// write makes a write that the store has, and records it.
func (x *instance) write(op store.Op) {
	x.t.Helper()
	ctx := context.Background()
	g, err := x.s.Generation(ctx, op.Key.Org())
	x.must(err)
	op.Generation = max(g, x.knows(op.Key.Org()))
	res, err := x.s.Apply(ctx, op)
	x.must(err)
	op.ExpiresAt = res.ExpiresAt
	x.keep(&journal.Record{Kind: journal.Applied, Time: time.Now(), Op: op})
}

// end invalidates an organisation that the store serves, and records it.
func (x *instance) end(o keys.Org) {
	x.t.Helper()
	g, err := x.s.InvalidateOnce(context.Background(), o, x.knows(o), x.clk.Now())
	x.must(err)
	x.mu.Lock()
	x.known[o] = max(x.known[o], g)
	x.mu.Unlock()
	x.keep(&journal.Record{Kind: journal.Generation, Time: time.Now(), Org: o, Generation: g})
}

// elapse lets the bubble's time pass.
func elapse(d time.Duration) {
	synctest.Wait()
	time.Sleep(d)
}

// within waits for something to become true, in the bubble's time.
func (x *instance) within(limit time.Duration, what string, ok func() bool) time.Duration {
	x.t.Helper()
	start := time.Now()
	for synctest.Wait(); !ok(); synctest.Wait() {
		if time.Since(start) > limit {
			x.t.Fatalf("not within %s: %s; %d pending, %+v", limit, what, x.j.PendingCount(), x.r.Stats())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}

func (x *instance) settled(limit time.Duration) time.Duration {
	x.t.Helper()
	return x.within(limit, "nothing is pending", func() bool { return x.j.PendingCount() == 0 && x.r.Stats().Restoring == 0 })
}

// suspect tells of what the store may have lost, and returns what tells that
// it was dealt with.
func (x *instance) suspect(s store.Suspicion) (done func() bool) {
	var mu sync.Mutex
	over := false
	if s.Covers == nil {
		s.Covers = func(string) bool { return true }
	}
	s.Server, s.Reason = "server", "a test"
	s.Done = func() { mu.Lock(); defer mu.Unlock(); over = true }
	x.r.Suspect(s)
	return func() bool { mu.Lock(); defer mu.Unlock(); return over }
}

func org(n int) keys.Org {
	o, err := keys.ParseOrg(fmt.Sprint("org-", n))
	if err != nil {
		panic(err)
	}
	return o
}

func key(o keys.Org, typ string, n int) keys.Key {
	t, err := keys.ParseType(typ)
	if err != nil {
		panic(err)
	}
	id, err := keys.ParseID(fmt.Sprint(n))
	if err != nil {
		panic(err)
	}
	return space.Key(t, o, id)
}

func value(o keys.Org, n int) keys.Key        { return key(o, "agentConfig", n) }
func conversation(o keys.Org, n int) keys.Key { return key(o, string(keys.Conversations), n) }

var wide = store.Window{Messages: 10000, IDs: 10000}

func (x *instance) set(k keys.Key, payload any) store.Op {
	b, err := json.Marshal(payload)
	x.must(err)
	return store.Op{Action: store.Set, Mode: store.Merge, Key: k, Version: x.clk.Now(), ExpiresAt: time.Now().Add(life), Payload: b}
}

func (x *instance) tombstone(k keys.Key) store.Op {
	op := x.set(k, nil)
	op.Flags, op.Payload = record.Tombstone, nil
	return op
}

func (x *instance) messages(a store.Action, k keys.Key, ids ...string) store.Op {
	op := store.Op{Action: a, Mode: store.Merge, Key: k, Version: x.clk.Now(), ExpiresAt: time.Now().Add(life), Window: wide}
	for i, id := range ids {
		sum := sha256.Sum256([]byte(id))
		op.Messages = append(op.Messages, store.Message{ID: id, Digest: [8]byte(sum[:8]), Index: uint16(i), Payload: fmt.Appendf(nil, `{"id":%q}`, id)})
	}
	return op
}

func (x *instance) append(k keys.Key, ids ...string) store.Op {
	return x.messages(store.Append, k, ids...)
}

// reads returns the payload of a value; empty: there is none.
func (x *instance) reads(k keys.Key) string {
	r, err := x.s.Get(context.Background(), k)
	x.must(err)
	if !r.Live() {
		return ""
	}
	return string(r.Value.Stored)
}

func (x *instance) ids(k keys.Key) []string {
	l, err := x.s.Messages(context.Background(), k, 0)
	x.must(err)
	var ids []string
	for _, m := range l.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// at is a generation that an invalidation at that time leads to.
func at(t time.Time) uint64 { return uint64(t.UnixMicro()) }

// brought has somebody else restore a generation that the store had lost.
func (x *instance) brought(o keys.Org, g uint64) {
	x.t.Helper()
	_, err := x.s.RaiseGeneration(context.Background(), o, g)
	x.must(err)
}
