package storetest

import (
	"context"
	"sync"
	"testing"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// testShared tests what a store.Shared promises beside a store.Store; others
// have nothing to be tested here.
func testShared(t *testing.T, s *suite) {
	st, ok := s.Store.(store.Shared)
	if !ok {
		return
	}
	once := func(t *testing.T, o keys.Org, known uint64, token clock.Version) uint64 {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), callTime)
		defer cancel()
		g, err := st.InvalidateOnce(ctx, o, known, token)
		if err != nil {
			t.Fatalf("invalidate %q once: %v", o, err)
		}
		return g
	}
	t.Run("serves", func(t *testing.T) {
		if k := s.newValue(t); !st.Serves(k) || st.Doubtful(k) {
			t.Errorf("serves %v, doubtful %v", st.Serves(k), st.Doubtful(k))
		}
	})
	t.Run("bounds", func(t *testing.T) { testBounds(t, s, st) })
	testTokens(t, s, once)
	t.Run("concurrent", func(t *testing.T) { testConcurrentTokens(t, s, st) })
}

// testTokens tests that a token leads to one generation; once invalidates.
func testTokens(t *testing.T, s *suite, once func(t *testing.T, o keys.Org, known uint64, token clock.Version) uint64) {
	t.Run("repeated", func(t *testing.T) {
		o, v := s.newOrg(t), s.versions(3)
		const known = 1 << 52 // above the time
		first := once(t, o, 0, v[0])
		second := once(t, o, 0, v[1])
		if first == 0 || second <= first || second > known {
			t.Fatalf("two tokens lead to %d and %d", first, second)
		}
		for i, c := range []struct {
			token           int
			known, want, is uint64 // is: what the generation is afterwards
		}{
			{0, 0, first, second}, {1, 0, second, second}, {0, second, first, second}, {2, known, known + 1, known + 1},
			{1, 0, second, known + 1}, {2, 0, known + 1, known + 1},
		} {
			if g := once(t, o, c.known, v[c.token]); g != c.want {
				t.Errorf("%d: token %d above %d gives %d, want %d", i, c.token, c.known, g, c.want)
			}
			if g := s.generation(t, o); g != c.is {
				t.Errorf("%d: the generation is %d, want %d", i, g, c.is)
			}
		}
		if g := s.invalidate(t, o, 0); g != known+2 {
			t.Errorf("invalidated after that: %d", g)
		}
	})
	t.Run("of each organisation", func(t *testing.T) {
		const known = 1 << 52 // above the time
		a, b, v := s.newOrg(t), s.newOrg(t), s.clock.Now()
		if g, h := once(t, a, known, v), once(t, b, 0, v); g != known+1 || h == 0 || h > known {
			t.Errorf("one token in two organisations gives %d and %d", g, h)
		}
	})
	t.Run("of the directory", func(t *testing.T) {
		v := s.clock.Now()
		g := once(t, keys.Org{}, 0, v)
		if again := once(t, keys.Org{}, g, v); again != g || s.generation(t, keys.Org{}) != g {
			t.Errorf("%d, and again %d", g, again)
		}
	})
}

// testConcurrentTokens tests the same with callers that do not wait for each
// other.
func testConcurrentTokens(t *testing.T, s *suite, st store.Shared) {
	const tokens, callers = 5, 8
	o, v := s.newOrg(t), s.versions(tokens)
	var (
		calls sync.WaitGroup
		mu    sync.Mutex
		led   = map[int]map[uint64]bool{}
	)
	for i := range tokens * callers {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), callTime)
			defer cancel()
			g, err := st.InvalidateOnce(ctx, o, 0, v[i%tokens])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("token %d: %v", i%tokens, err)
			}
			if led[i%tokens] == nil {
				led[i%tokens] = map[uint64]bool{}
			}
			led[i%tokens][g] = true
		})
	}
	calls.Wait()
	var highest uint64
	by := map[uint64]int{} // the token that led to a generation
	for token, gs := range led {
		if len(gs) != 1 {
			t.Errorf("token %d led to %v", token, gs)
		}
		for g := range gs {
			if other, ok := by[g]; ok {
				t.Errorf("tokens %d and %d led to %d", token, other, g)
			}
			by[g], highest = token, max(highest, g)
		}
	}
	if g := s.generation(t, o); g != highest {
		t.Errorf("%d tokens, each %d times, led to %v, and the generation is %d", tokens, callers, by, g)
	}
}
