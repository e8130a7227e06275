package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

// P5: while the store is reachable and the holder lives, callers of several
// processes who miss the same key cause one load; otherwise one per process. The
// processes are engines over one store in memory, in a bubble whose time is exact.

// line is how one process reaches the store.
type line struct {
	*storetest.Memory
	away    atomic.Bool // nothing reaches it
	refuses atomic.Bool // it gives no leases
	deaf    atomic.Bool // it prolongs no lives
	slow    atomic.Bool // what prolongs a life gets no answer
	// unanswered is how many reads from now on get no answer.
	unanswered atomic.Int64
	asked      atomic.Int64 // how often a lease was asked for
	// before is called before a lease is asked for; nil: nothing is.
	before func()
	// applied is called after each attempt of a write; nil: nothing is.
	applied func()
	// applying is called with what is written; nil: nothing is.
	applying func(store.Op)
	// reading is called during each read of one value; nil: nothing is.
	reading func()
	// unread are keys that are not read among several; nil: all are.
	unread map[keys.Key]error
	// answered is called after the store has answered a read of one key; nil: nothing is.
	answered func()
	hangs    atomic.Bool  // it does not answer
	trips    atomic.Int64 // reads of values
}

var errAway = fmt.Errorf("%w: cut off", store.ErrUnavailable)

func (l *line) Get(ctx context.Context, k keys.Key) (store.Read, error) {
	l.trips.Add(1)
	if l.hangs.Load() {
		<-ctx.Done()
		return store.Read{}, errAway
	}
	if l.away.Load() || l.unanswered.Add(-1) >= 0 {
		return store.Read{}, errAway
	}
	if l.reading != nil {
		l.reading()
	}
	r, err := l.Memory.Get(ctx, k)
	r.Left = 0 // it was not asked for
	if l.answered != nil {
		l.answered()
	}
	return r, err
}

func (l *line) Messages(ctx context.Context, k keys.Key, last int) (store.Log, error) {
	l.trips.Add(1)
	if l.hangs.Load() {
		<-ctx.Done()
		return store.Log{}, errAway
	}
	log, err := l.Memory.Messages(ctx, k, last)
	if l.answered != nil {
		l.answered()
	}
	return log, err
}

func (l *line) GetMany(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	l.trips.Add(1)
	if l.away.Load() {
		return nil, errAway
	}
	rs, err := l.Memory.GetMany(ctx, ks)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(ks))
	for i, k := range ks {
		rs[i].Left = 0 // it was not asked for
		if errs[i] = l.unread[k]; errs[i] != nil {
			rs[i] = store.Read{}
		}
	}
	return rs, store.JoinErrors(errs)
}

func (l *line) Apply(ctx context.Context, op store.Op) (store.Result, error) {
	if l.away.Load() {
		return store.Result{}, errAway
	}
	if l.applied != nil {
		defer l.applied()
	}
	if l.applying != nil {
		l.applying(op)
	}
	return l.Memory.Apply(ctx, op)
}

func (l *line) LeaseLoad(ctx context.Context, k keys.Key, token string, life time.Duration) (bool, time.Duration, error) {
	l.asked.Add(1)
	if l.before != nil {
		l.before()
	}
	switch {
	case l.away.Load():
		return false, 0, errAway
	case l.refuses.Load():
		return false, 0, fmt.Errorf("%w: no permission", store.ErrRejected)
	}
	return l.Memory.LeaseLoad(ctx, k, token, life)
}

func (l *line) ReleaseLoad(ctx context.Context, k keys.Key, token string) error {
	if l.away.Load() {
		return errAway
	}
	return l.Memory.ReleaseLoad(ctx, k, token)
}

func (l *line) Refresh(ctx context.Context, r store.Refresh) (time.Duration, error) {
	switch {
	case l.deaf.Load():
		return 0, errAway
	case l.slow.Load():
		<-ctx.Done()
		return 0, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	return l.Memory.Refresh(ctx, r)
}

// Close leaves the store to the other processes.
func (l *line) Close(context.Context) error { return nil }

// process is an engine with its line to the store.
type process struct {
	*Engine
	line *line
}

// fleet is processes over one store.
type fleet struct {
	t         *testing.T
	store     *storetest.Memory
	processes []process
	key       keys.Key
	space     keys.Space
	loads     atomic.Int32 // loader calls
	underway  atomic.Int32 // loader calls
	most      atomic.Int32 // of underway
}

const loadTimeout = 10 * time.Second

// plain values are not compressed: the compressor waits outside of bubbles.
var plain = Policy{TTL: time.Hour, Keep: time.Hour, CompressAbove: -1}

// newFleet must be called in a bubble.
func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	org, err := keys.ParseOrg("org")
	if err != nil {
		t.Fatal(err)
	}
	// The time of bubbles is one that versions count as historic.
	now := func() time.Time { return time.Now().AddDate(30, 0, 0) }
	f := &fleet{t: t, store: storetest.NewMemory(now), space: space, key: space.Key("agentConfig", org, keys.NoID)}
	for i := range n {
		l := &line{Memory: f.store}
		f.add(i, l, l, nil)
	}
	return f
}

// names returns keys of the fleet's type.
func (f *fleet) names(n int) []keys.Key {
	f.t.Helper()
	all := make([]keys.Key, n)
	for i := range all {
		id, err := keys.ParseID(fmt.Sprint(i))
		if err != nil {
			f.t.Fatal(err)
		}
		all[i] = f.space.Key("agentConfig", f.key.Org(), id)
	}
	return all
}

// bubbleTime is a time of bubbles that versions do not count as historic.
func bubbleTime() time.Time { return time.Now().AddDate(30, 0, 0) }

// add adds the i-th process, with a store that leads to its line.
func (f *fleet) add(i int, s store.Store, l *line, tier *near.Tier) {
	f.t.Helper()
	e, err := New(Config{
		Store: s, Clock: clock.New(bubbleTime, uint16(i+1), nil), Timeout: 20 * time.Millisecond, LoadTimeout: loadTimeout,
		LocalBytes: 1 << 20, OwnTime: true, Logger: slog.New(slog.DiscardHandler), Near: tier,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.processes = append(f.processes, process{Engine: e, line: l})
}

// close closes all processes, in the bubble.
func (f *fleet) close() {
	for _, p := range f.processes {
		if err := p.Close(context.Background()); err != nil {
			f.t.Error(err)
		}
	}
}

// loader returns one that takes a time.
func (f *fleet) loader(value string, takes time.Duration) Loader {
	return func(ctx context.Context) ([]byte, error) {
		f.loads.Add(1)
		n := f.underway.Add(1)
		defer f.underway.Add(-1)
		for old := f.most.Load(); n > old && !f.most.CompareAndSwap(old, n); old = f.most.Load() {
		}
		select {
		case <-time.After(takes):
			return []byte(value), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// hangs is a loader that heeds its context and nothing else.
func (f *fleet) hangs(ctx context.Context) ([]byte, error) {
	f.loads.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// answer is what a caller got, and after which time.
type answer struct {
	value string
	took  time.Duration
	err   error
}

// call starts callers of a process and returns where their answers come.
func (f *fleet) call(p process, callers int, load Loader) <-chan answer {
	answers := make(chan answer, callers)
	for range callers {
		go func() {
			began := time.Now()
			v, err := p.GetOrLoad(context.Background(), f.key, plain, load)
			answers <- answer{string(v.Payload), time.Since(began), err}
		}()
	}
	return answers
}

// wants fails the test unless all answers are a value, and came within a time.
func (f *fleet) wants(answers <-chan answer, value string, within time.Duration) {
	f.t.Helper()
	for range cap(answers) {
		if a := <-answers; a.err != nil || a.value != value || a.took > within {
			f.t.Errorf("got %q after %v, %v; want %q within %v", a.value, a.took, a.err, value, within)
		}
	}
}

// loaded fails the test unless the loader was called so often.
func (f *fleet) loaded(want int32) {
	f.t.Helper()
	if n := f.loads.Load(); n != want {
		f.t.Errorf("%d loads, want %d", n, want)
	}
}

// free fails the test if somebody has the lease once all is quiet.
func (f *fleet) free() {
	f.t.Helper()
	synctest.Wait()
	token := store.LoadToken(store.Read{}, "test")
	held, left, err := f.store.LeaseLoad(context.Background(), f.key, token, time.Minute)
	if err != nil || !held {
		f.t.Errorf("the lease is another's for %v, %v", left, err)
	}
	if err := f.store.ReleaseLoad(context.Background(), f.key, token); err != nil {
		f.t.Error(err)
	}
}

func inFleet(t *testing.T, n int, test func(*testing.T, *fleet)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, n)
		defer f.close()
		test(t, f)
	})
}

// elapse lets time pass in a bubble.
func elapse(d time.Duration) { time.Sleep(d) }
