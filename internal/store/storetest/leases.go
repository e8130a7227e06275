package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// testLeases tests what a store.Leaser promises; others have nothing to be tested
// here.
func testLeases(t *testing.T, s *suite) {
	l := store.LeaserOf(s.Store)
	if l == nil {
		return
	}
	h := leases{suite: s, Leaser: l}
	t.Run("one holder", h.oneHolder)
	t.Run("misses", h.misses)
	t.Run("life", h.life)
	t.Run("beside the key", h.beside)
	t.Run("concurrent", h.concurrent)
}

type leases struct {
	*suite
	store.Leaser
}

// take asks for a lease and fails the test unless the answer is held.
func (h leases) take(t *testing.T, k keys.Key, token string, life time.Duration, held bool) (left time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	got, left, err := h.LeaseLoad(ctx, k, token, life)
	switch {
	case err != nil || got != held:
		t.Fatalf("%s asks for the lease of %s: held %v, left %v, %v; want held %v", token, k, got, left, err, held)
	case !held && left <= 0:
		t.Fatalf("%s is told that another has the lease of %s for %v", token, k, left)
	}
	return left
}

func (h leases) release(t *testing.T, k keys.Key, token string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	if err := h.ReleaseLoad(ctx, k, token); err != nil {
		t.Fatalf("%s releases the lease of %s: %v", token, k, err)
	}
}

// of returns the token of who read a value of a version under a generation.
func of(who string, generation uint64, v clock.Version) string {
	return store.LoadToken(store.Read{Generation: generation, Value: record.Value{Version: v}}, who)
}

func (h leases) oneHolder(t *testing.T) {
	k := h.newValue(t)
	a, b := of("a", 0, clock.Version{}), of("b", 0, clock.Version{})
	h.take(t, k, a, time.Minute, true)
	if left := h.take(t, k, b, time.Hour, false); left > time.Minute || left < time.Minute-callTime {
		t.Errorf("left %v of a minute", left)
	}
	h.release(t, k, b) // not its own
	h.take(t, k, b, time.Minute, false)
	h.take(t, k, a, time.Hour, true)
	if left := h.take(t, k, b, time.Minute, false); left <= time.Minute {
		t.Errorf("left %v of an hour", left)
	}
	h.release(t, k, a)
	h.release(t, k, a) // nothing is there
	h.take(t, k, b, time.Minute, true)
	h.take(t, k, a, time.Minute, false)
}

// misses: who missed after a write or an invalidation does not wait for one who
// missed before it, but the other way round.
func (h leases) misses(t *testing.T) {
	v := h.versions(2)
	rising := []string{
		of("a", 0, clock.Version{}), of("b", 0, v[0]), of("c", 0, v[1]), of("d", 1, clock.Version{}),
		of("e", 1, v[0]), of("f", 10, v[0]), of("g", 1<<60, clock.Version{}),
	}
	k := h.newValue(t)
	for i, token := range rising {
		h.take(t, k, token, time.Minute, true)
		for _, lower := range rising[:i] {
			h.take(t, k, lower, time.Minute, false)
			h.release(t, k, lower)
		}
	}
}

// life: a lease ends by itself, and not while it is prolonged.
func (h leases) life(t *testing.T) {
	const short = 100 * time.Millisecond
	k := h.newValue(t)
	a, b := of("a", 0, clock.Version{}), of("b", 0, clock.Version{})
	began := time.Now()
	h.take(t, k, a, short, true)
	for deadline := began.Add(callTime); ; {
		ctx, cancel := context.WithTimeout(t.Context(), callTime)
		held, left, err := h.LeaseLoad(ctx, k, b, time.Minute)
		cancel()
		if err != nil || !held && left <= 0 || left > short {
			t.Fatalf("held %v, left %v, %v", held, left, err)
		}
		if held {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not end")
		}
		<-time.After(min(left, precision))
	}
	if took := time.Since(began); took < short-precision {
		t.Errorf("a life of %v took %v", short, took)
	}
	h.take(t, k, a, time.Minute, false)
}

// beside: a lease is nothing that a reader, a listing or a sweep sees.
func (h leases) beside(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	k, other := h.newValue(t), h.newValue(t)
	token := of("a", 0, clock.Version{})
	h.take(t, k, token, time.Minute, true)
	h.take(t, other, token, time.Minute, true) // of another key
	if r, err := h.Get(ctx, k); err != nil || r.Found {
		t.Errorf("get: %+v, %v", r, err)
	}
	if p, err := h.List(ctx, store.Query{Type: k.Type(), Org: k.Org()}); err != nil || len(p.Entries) != 0 {
		t.Errorf("list: %+v, %v", p, err)
	}
	h.invalidate(t, k.Org(), 0)
	if n, err := h.Sweep(ctx, k.Org()); err != nil || n != 0 {
		t.Errorf("swept %d, %v", n, err)
	}
	h.take(t, k, of("b", 0, clock.Version{}), time.Minute, false)
	directory := h.space.Key(keys.PhoneToLead, keys.Org{}, k.ID())
	h.take(t, directory, token, time.Minute, true)
	h.release(t, directory, token)
}

func (h leases) concurrent(t *testing.T) {
	const callers = 16
	k := h.newValue(t)
	var holders atomic.Int32
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), callTime)
			defer cancel()
			held, _, err := h.LeaseLoad(ctx, k, of(fmt.Sprint(i), 0, clock.Version{}), time.Minute)
			if err != nil {
				t.Error(err)
			}
			if held {
				holders.Add(1)
			}
		})
	}
	wg.Wait()
	if n := holders.Load(); n != 1 {
		t.Errorf("%d hold the lease", n)
	}
}
