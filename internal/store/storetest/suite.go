// Package storetest is the suite that every store passes: each sentence of the
// contract in package store as a test, and properties that compare a store with
// a plain model. Memory is the smallest store that passes it.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// Env is what a store is opened with.
type Env struct {
	// Space is the space of all keys that the suite uses. Organisations are new
	// in every test, so that stores that are opened may share their data.
	Space keys.Space
}

// Run runs the suite. Each call of open gives a store that works; the suite
// closes it.
func Run(t *testing.T, open func(t *testing.T, env Env) store.Store) {
	run(t, open, append(slices.Clone(sections), thorough...))
}

// RunSections is Run without what takes most of the time: for another deployment
// of a store that has passed it. Every operation is done, and every answer seen.
func RunSections(t *testing.T, open func(t *testing.T, env Env) store.Store) {
	run(t, open, sections)
}

type section struct {
	name string
	run  func(*testing.T, *suite)
}

var sections = []section{
	{"Values", testValues},
	{"Conditions", testConditions},
	{"Reads", testReads},
	{"Generations", testGenerations},
	{"Shared", testShared},
	{"Leases", testLeases},
	{"Appends", testAppends},
	{"Replaces", testReplaces},
	{"Repetitions", testRepetitions},
	{"Orders", testOrders},
	{"Trimming", testTrimming},
	{"Lives", testLives},
	{"Refreshes", testRefreshes},
	{"Listing", testListing},
	{"Calls", testCalls},
	{"Moving", testMoving},
}

// thorough is what repeats operations many times: in the organisations of others,
// at once, and at random.
var thorough = []section{
	{"Isolation", testIsolation},
	{"Concurrency", testConcurrency},
	{"MergeProperty", testMergeProperty},
	{"TrimProperty", testTrimProperty},
	{"LiveProperty", testLiveProperty},
	{"AnswersProperty", testAnswersProperty},
}

func run(t *testing.T, open func(t *testing.T, env Env) store.Store, sections []section) {
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range sections {
		t.Run(section.name, func(t *testing.T) {
			st := open(t, Env{Space: space})
			s := &suite{Store: st, space: space, clock: clock.New(nil, 1, nil), base: "org-" + rand.Text()[:8]}
			t.Cleanup(func() { s.close(t) })
			s.clock.Follow(s.storeTime(t))
			section.run(t, s)
		})
	}
}

const (
	// callTime bounds a call of the suite.
	callTime = 20 * time.Second
	// life is the TTL of what is not to expire during the suite.
	life = time.Hour
	// precision is that of the times of stores: milliseconds, rounded twice.
	precision = 2 * time.Millisecond
)

// wide is a window in which nothing is trimmed.
var wide = store.Window{Messages: 10_000, Slack: 100, IDs: 20_000}

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// suite is a store under test with what the tests of it share. Safe for
// concurrent use.
type suite struct {
	store.Store
	space keys.Space
	clock *clock.Clock
	base  string // begins the name of every organisation of this suite

	orgs   atomic.Int64 // how many were named
	closed atomic.Bool
}

// close closes the store, once.
func (s *suite) close(t *testing.T) {
	if s.closed.Swap(true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// newOrg returns an organisation that no other test has.
func (s *suite) newOrg(t tb) keys.Org {
	t.Helper()
	return org(t, fmt.Sprintf("%s-%d", s.base, s.orgs.Add(1)))
}

func org(t tb, name string) keys.Org {
	t.Helper()
	o, err := keys.ParseOrg(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return o
}

// key returns a key of a type in an organisation.
func (s *suite) key(t tb, typ keys.Type, o keys.Org, id string) keys.Key {
	t.Helper()
	i, err := keys.ParseID(id)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s.space.Key(typ, o, i)
}

// newValue returns a key for a value in an organisation of its own.
func (s *suite) newValue(t tb) keys.Key {
	t.Helper()
	return s.key(t, "lead", s.newOrg(t), "1")
}

// newConversation returns a key for a conversation in an organisation of its own.
func (s *suite) newConversation(t tb) keys.Key {
	t.Helper()
	return s.key(t, keys.Conversations, s.newOrg(t), "16045550001")
}

// versions returns n versions, each higher than the one before.
func (s *suite) versions(n int) []clock.Version {
	v := make([]clock.Version, n)
	for i := range v {
		v[i] = s.clock.Now()
	}
	return v
}

// storeTime returns the store's time: the answer to an operation that does
// nothing. It waits for a store that a busy machine has not let connect yet.
func (s *suite) storeTime(t tb) time.Time {
	t.Helper()
	op := store.Op{
		Action: store.Set, Key: s.key(t, "probe", org(t, "probe"), "1"),
		Version: clock.Historic(time.Unix(1, 0), 0), ExpiresAt: time.Unix(1, 0),
	}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for begun := time.Now(); time.Since(begun) < callTime; <-again.C {
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		_, err := s.Apply(ctx, op)
		cancel()
		if !errors.Is(err, store.ErrUnavailable) {
			break
		}
	}
	return s.must(t, op, store.Expired).StoreTime
}

// apply applies op; only its status is up to the caller.
func (s *suite) apply(t tb, op store.Op) store.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	res, err := s.Apply(ctx, op)
	if err != nil {
		t.Fatalf("apply %s: %v", describe(op), err)
	}
	if len(res.Placed) != len(op.Messages) && (res.Status == store.Applied || res.Status == store.Unchanged) {
		t.Fatalf("apply %s: %d messages placed, want %d", describe(op), len(res.Placed), len(op.Messages))
	}
	if res.Status == store.Stale && op.Mode == store.Live && res.Generation <= op.Generation {
		t.Fatalf("apply %s: stale under generation %d, answered %d", describe(op), op.Generation, res.Generation)
	}
	return res
}

// must is apply with a status that is wanted.
func (s *suite) must(t tb, op store.Op, want store.Status) store.Result {
	t.Helper()
	res := s.apply(t, op)
	if res.Status != want {
		t.Fatalf("apply %s: %s, want %s; version %s, generation %d", describe(op), name(res.Status), name(want), res.Version, res.Generation)
	}
	return res
}

// get reads a value.
func (s *suite) get(t tb, k keys.Key) store.Read {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	r, err := s.Get(ctx, k)
	if err != nil {
		t.Fatalf("get %s: %v", k, err)
	}
	return r
}

// log reads a conversation and checks what holds for every one.
func (s *suite) log(t tb, k keys.Key, last int) store.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	l, err := s.Messages(ctx, k, last)
	if err != nil {
		t.Fatalf("messages of %s: %v", k, err)
	}
	ids, arrivals := map[string]bool{}, map[int64]bool{}
	for i, m := range l.Messages {
		if i > 0 && l.Messages[i-1].Order.Compare(m.Order) >= 0 {
			t.Fatalf("messages of %s: %s stands after %s", k, m.Order, l.Messages[i-1].Order)
		}
		if m.Generation < l.Generation {
			t.Fatalf("messages of %s: %q is of generation %d, the organisation of %d", k, m.ID, m.Generation, l.Generation)
		}
		if ids[m.ID] || arrivals[m.Arrival] || m.Arrival <= 0 {
			t.Fatalf("messages of %s: id %q or arrival %d is there twice", k, m.ID, m.Arrival)
		}
		ids[m.ID], arrivals[m.Arrival] = true, true
	}
	return l
}

// wantMessages checks which messages a conversation shows.
func (s *suite) wantMessages(t tb, k keys.Key, want ...string) {
	t.Helper()
	if got := ids(s.log(t, k, 0)); !slices.Equal(got, want) {
		t.Fatalf("messages of %s: %q, want %q", k, got, want)
	}
}

// wantValue checks the live value of a key; nothing stands for none.
func (s *suite) wantValue(t tb, k keys.Key, want string) {
	t.Helper()
	r := s.get(t, k)
	got := ""
	if r.Live() {
		p, err := r.Value.Payload()
		if err != nil {
			t.Fatalf("payload of %s: %v", k, err)
		}
		got = string(p)
	}
	if got != want {
		t.Fatalf("%s holds %.80q, want %.80q (%+v)", k, got, want, r.Value.Version)
	}
}

func ids(l store.Log) []string {
	got := make([]string, len(l.Messages))
	for i, m := range l.Messages {
		got[i] = m.ID
	}
	return got
}

// generation, raise and invalidate are the store's, with their errors checked.
func (s *suite) generation(t tb, o keys.Org) uint64 {
	t.Helper()
	g, err := s.Generation(context.Background(), o)
	if err != nil {
		t.Fatalf("generation of %q: %v", o, err)
	}
	return g
}

func (s *suite) raise(t tb, o keys.Org, to uint64) uint64 {
	t.Helper()
	g, err := s.RaiseGeneration(context.Background(), o, to)
	if err != nil {
		t.Fatalf("raise generation of %q to %d: %v", o, to, err)
	}
	return g
}

func (s *suite) invalidate(t tb, o keys.Org, known uint64) uint64 {
	t.Helper()
	g, err := s.Invalidate(context.Background(), o, known)
	if err != nil {
		t.Fatalf("invalidate %q: %v", o, err)
	}
	return g
}

// eventually polls until done; what a store does by its own clock is awaited.
func eventually(t tb, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	deadline := time.Now().Add(callTime)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, callTime)
		}
		<-poll.C
	}
}
