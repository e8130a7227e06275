package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func testCalls(t *testing.T, s *suite) {
	t.Run("never sent", s.neverSent)
	t.Run("health", s.health)
	t.Run("closed", s.closedStore) // the last: there is no store after it
}

// calls returns every call that may fail, on keys of their own.
func (s *suite) calls(t tb) (keys.Key, keys.Key, map[string]func(context.Context) error) {
	t.Helper()
	k, c := s.newValue(t), s.newConversation(t)
	apply := func(ctx context.Context, op store.Op) error {
		_, err := s.Apply(ctx, op)
		return err
	}
	return k, c, map[string]func(context.Context) error{
		"Get":      func(ctx context.Context) error { _, err := s.Get(ctx, k); return err },
		"GetMany":  func(ctx context.Context) error { _, err := s.GetMany(ctx, []keys.Key{k, k}); return err },
		"GetLives": func(ctx context.Context) error { _, err := s.GetLives(ctx, []keys.Key{k, k}); return err },
		"Refresh": func(ctx context.Context) error {
			_, err := s.Refresh(ctx, store.Refresh{Key: k, Version: s.clock.Now(), TTL: life})
			return err
		},
		"Messages":   func(ctx context.Context) error { _, err := s.Messages(ctx, c, 0); return err },
		"Set":        func(ctx context.Context) error { return apply(ctx, set(k, s.clock.Now(), "x")) },
		"Append":     func(ctx context.Context) error { return apply(ctx, appendOp(c, s.clock.Now(), msg("a", "hi"))) },
		"Replace":    func(ctx context.Context) error { return apply(ctx, replaceOp(c, s.clock.Now())) },
		"Generation": func(ctx context.Context) error { _, err := s.Generation(ctx, k.Org()); return err },
		"Invalidate": func(ctx context.Context) error { _, err := s.Invalidate(ctx, k.Org(), 0); return err },
		"Raise":      func(ctx context.Context) error { _, err := s.RaiseGeneration(ctx, k.Org(), 5); return err },
		"List": func(ctx context.Context) error {
			_, err := s.List(ctx, store.Query{Type: "lead", Org: k.Org()})
			return err
		},
	}
}

func (s *suite) neverSent(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	k, c, calls := s.calls(t)
	for name, call := range calls {
		if err := call(cancelled); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v", name, err)
		}
		if err := call(late); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s after the deadline: %v", name, err)
		}
	}
	if r := s.get(t, k); r.Found || r.Generation != 0 || len(s.log(t, c, 0).Messages) != 0 {
		t.Errorf("calls that were never sent did something: %+v", r)
	}
	for name, call := range calls {
		if err := call(context.Background()); err != nil {
			t.Errorf("%s without a deadline: %v", name, err)
		}
	}
}

func (s *suite) health(t *testing.T) {
	if h := s.Health(); h.State != store.Up || h.Kind == "" || h.Since.IsZero() || h.Problem != "" {
		t.Errorf("health of a store that works: %+v", h)
	}
}

// closedStore: calls that are under way when a store is closed end, done or
// not, and later ones are refused.
func (s *suite) closedStore(t *testing.T) {
	k := s.newConversation(t)
	var wg sync.WaitGroup
	started := make(chan struct{}, writers)
	for range writers {
		wg.Go(func() {
			for n := 0; ; n++ {
				_, err := s.Apply(context.Background(), appendOp(k, s.clock.Now(), msg(s.clock.Now().String(), "hi")))
				if err != nil {
					if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown) {
						t.Errorf("an append while the store is closed: %v", err)
					}
					return
				}
				if n == 0 {
					started <- struct{}{}
				}
			}
		})
	}
	for range writers {
		<-started
	}
	s.close(t)
	wg.Wait()
	_, _, calls := s.calls(t)
	for name, call := range calls {
		if err := call(context.Background()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s after Close: %v, want it unavailable", name, err)
		}
	}
}
