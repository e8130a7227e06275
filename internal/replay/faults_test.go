package replay_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

// call is one that the Replayer makes.
type call struct {
	what string // apply, generation, raise, invalidate
	org  keys.Org
	key  string // of apply
}

// fault is what becomes of a call. The zero value: it is done and answered.
type fault struct {
	err error
	// done: it has happened although err is returned.
	done bool
	// hangs: there is no answer until the context ends.
	hangs bool
	// takes is how long the answer takes.
	takes time.Duration
	// late is how long after it was done the answer comes.
	late time.Duration
}

// faulty is a shared store that fails as it is told. It keeps a log of what was
// done, so that it can lose the end of it.
type faulty struct {
	store.Shared // nil: what the Replayer must not call

	mu     sync.Mutex
	memory *storetest.Memory         // guarded by mu
	done   []func(*storetest.Memory) // guarded by mu
	fate   func(call) fault          // guarded by mu; nil: all goes well
	away   func(keys.Key) bool       // guarded by mu: it does not serve these; nil: all
	state  store.State               // guarded by mu
	calls  map[string]int            // guarded by mu
	behind time.Duration             // guarded by mu: how far its clock is
	notes  []store.Raised            // guarded by mu: beside those of the memory
}

func newFaulty() *faulty {
	f := &faulty{state: store.Up, calls: make(map[string]int)}
	f.memory = storetest.NewMemory(f.now)
	return f
}

// now is its time; the caller holds mu, or nobody else knows f.
func (f *faulty) now() time.Time { return time.Now().Add(-f.behind) }

// is changes how calls end from now on.
func (f *faulty) is(fate func(call) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fate = fate
}

// serves changes which keys it does not serve, and its state.
func (f *faulty) serves(s store.State, away func(keys.Key) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.away = s, away
}

// well ends all faults.
func (f *faulty) well() {
	f.is(nil)
	f.serves(store.Up, nil)
}

// length is how much was done.
func (f *faulty) length() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.done)
}

// lose forgets what was done after the first n.
func (f *faulty) lose(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.memory = storetest.NewMemory(f.now)
	f.done = f.done[:n:n]
	for _, do := range f.done {
		do(f.memory)
	}
}

// setBehind moves its clock.
func (f *faulty) setBehind(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = d
}

func (f *faulty) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[what]
}

// answer makes a call end as it has to; do is what it does.
func answer[T any](ctx context.Context, f *faulty, c call, do func(*storetest.Memory) (T, error)) (res T, err error) {
	f.mu.Lock()
	f.calls[c.what]++
	var end fault
	if f.fate != nil {
		end = f.fate(c)
	}
	f.mu.Unlock()
	var none T
	if end.takes > 0 {
		select {
		case <-time.After(end.takes):
		case <-ctx.Done():
			return none, fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
		}
	}
	if end.err == nil && !end.hangs || end.done {
		f.mu.Lock()
		res, err = do(f.memory)
		f.done = append(f.done, func(m *storetest.Memory) { _, _ = do(m) })
		f.mu.Unlock()
	}
	if end.late > 0 {
		<-time.After(end.late)
	}
	if end.hangs {
		<-ctx.Done()
		return none, fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
	}
	if end.err != nil {
		return none, end.err
	}
	return res, err
}

// The calls are done without the caller's context: what was sent may happen
// after he has given up.

func (f *faulty) Apply(ctx context.Context, op store.Op) (store.Result, error) {
	return answer(ctx, f, call{"apply", op.Key.Org(), op.Key.String()}, func(m *storetest.Memory) (store.Result, error) {
		return m.Apply(context.Background(), op)
	})
}

func (f *faulty) Generation(ctx context.Context, o keys.Org) (uint64, error) {
	return answer(ctx, f, call{what: "generation", org: o}, func(m *storetest.Memory) (uint64, error) {
		return m.Generation(context.Background(), o)
	})
}

func (f *faulty) RaiseGeneration(ctx context.Context, o keys.Org, to uint64) (uint64, error) {
	return answer(ctx, f, call{what: "raise", org: o}, func(m *storetest.Memory) (uint64, error) {
		return m.RaiseGeneration(context.Background(), o, to)
	})
}

func (f *faulty) GetLives(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	return answer(ctx, f, call{"get", ks[0].Org(), ks[0].String()}, func(m *storetest.Memory) ([]store.Read, error) {
		return m.GetLives(context.Background(), ks)
	})
}

func (f *faulty) Raised(ctx context.Context, after uint64) ([]store.Raised, error) {
	return answer(ctx, f, call{what: "raised"}, func(m *storetest.Memory) ([]store.Raised, error) {
		all, err := m.Raised(context.Background(), after)
		for _, n := range f.notes {
			if n.Note > after {
				all = append(all, n)
			}
		}
		return all, err
	})
}

// noted has somebody note a generation that he is about to restore, at a time by the
// clock of the server.
func (f *faulty) noted(o keys.Org, g uint64, by time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notes = append(f.notes, store.Raised{Org: o, Generation: g, Note: uint64(by.UnixMicro())})
}

func (f *faulty) InvalidateOnce(ctx context.Context, o keys.Org, known uint64, token clock.Version) (uint64, error) {
	return answer(ctx, f, call{what: "invalidate", org: o}, func(m *storetest.Memory) (uint64, error) {
		return m.InvalidateOnce(context.Background(), o, known, token)
	})
}

// bounds is the answer of Bounds.
type bounds struct {
	floor     clock.Version
	trimmedTo record.Order
	exists    bool
}

func (f *faulty) Bounds(ctx context.Context, k keys.Key) (clock.Version, record.Order, bool, error) {
	b, err := answer(ctx, f, call{"bounds", k.Org(), k.String()}, func(m *storetest.Memory) (b bounds, err error) {
		b.floor, b.trimmedTo, b.exists, err = m.Bounds(context.Background(), k)
		return b, err
	})
	return b.floor, b.trimmedTo, b.exists, err
}

func (f *faulty) Serves(k keys.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.away == nil || !f.away(k)
}

func (f *faulty) Health() store.Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	return store.Health{State: f.state}
}

// Get and Messages read what is there.
func (f *faulty) Get(ctx context.Context, k keys.Key) (store.Read, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.memory.Get(ctx, k)
}

func (f *faulty) Messages(ctx context.Context, k keys.Key, last int) (store.Log, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.memory.Messages(ctx, k, last)
}
