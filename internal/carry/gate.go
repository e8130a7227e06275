package carry

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// refuse returns why nothing is served yet, or nil.
func (s *Store) refuse() error {
	if s.done.Load() {
		return nil
	}
	return fmt.Errorf("%w: %w: %s", store.ErrUnavailable, store.ErrBlocked, s.progress())
}

// progress tells how far the carry-over is, in words.
func (s *Store) progress() string {
	walked, total := s.walked.Load(), s.total.Load()
	text := fmt.Sprintf("carrying over the embedded store: %s of %s", grouped(walked), grouped(max(walked, total)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem != "" {
		text += "; it waits: " + s.problem
	}
	return text
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, k keys.Key) (store.Read, error) {
	if err := s.refuse(); err != nil {
		return store.Read{}, err
	}
	return s.Shared.Get(ctx, k)
}

// GetMany implements store.Store.
func (s *Store) GetMany(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	if err := s.refuse(); err != nil {
		return nil, err
	}
	return s.Shared.GetMany(ctx, ks)
}

// GetLives implements store.Store.
func (s *Store) GetLives(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	if err := s.refuse(); err != nil {
		return nil, err
	}
	return s.Shared.GetLives(ctx, ks)
}

// Refresh implements store.Store.
func (s *Store) Refresh(ctx context.Context, r store.Refresh) (time.Duration, error) {
	if err := s.refuse(); err != nil {
		return 0, err
	}
	return s.Shared.Refresh(ctx, r)
}

// Messages implements store.Store.
func (s *Store) Messages(ctx context.Context, k keys.Key, last int) (store.Log, error) {
	if err := s.refuse(); err != nil {
		return store.Log{}, err
	}
	return s.Shared.Messages(ctx, k, last)
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, op store.Op) (store.Result, error) {
	if err := s.refuse(); err != nil {
		return store.Result{}, err
	}
	return s.Shared.Apply(ctx, op)
}

// Generation implements store.Store.
func (s *Store) Generation(ctx context.Context, o keys.Org) (uint64, error) {
	if err := s.refuse(); err != nil {
		return 0, err
	}
	return s.Shared.Generation(ctx, o)
}

// Invalidate implements store.Store.
func (s *Store) Invalidate(ctx context.Context, o keys.Org, known uint64) (uint64, error) {
	if err := s.refuse(); err != nil {
		return 0, err
	}
	return s.Shared.Invalidate(ctx, o, known)
}

// InvalidateOnce implements store.Shared.
func (s *Store) InvalidateOnce(ctx context.Context, o keys.Org, known uint64, token clock.Version) (uint64, error) {
	if err := s.refuse(); err != nil {
		return 0, err
	}
	return s.Shared.InvalidateOnce(ctx, o, known, token)
}

// Bounds implements store.Shared.
func (s *Store) Bounds(ctx context.Context, k keys.Key) (floor clock.Version, trimmedTo record.Order, exists bool, err error) {
	if err := s.refuse(); err != nil {
		return floor, trimmedTo, false, err
	}
	return s.Shared.Bounds(ctx, k)
}

// Serves implements store.Shared.
func (s *Store) Serves(k keys.Key) bool { return s.done.Load() && s.Shared.Serves(k) }

// RaiseGeneration implements store.Store.
func (s *Store) RaiseGeneration(ctx context.Context, o keys.Org, g uint64) (uint64, error) {
	if err := s.refuse(); err != nil {
		return 0, err
	}
	return s.Shared.RaiseGeneration(ctx, o, g)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	if err := s.refuse(); err != nil {
		return store.Page{}, err
	}
	return s.Shared.List(ctx, q)
}

// Recall implements store.Store.
func (s *Store) Recall(ctx context.Context, p store.Past) error {
	if err := s.refuse(); err != nil {
		return err
	}
	return s.Shared.Recall(ctx, p)
}

// Sweep implements store.Store.
func (s *Store) Sweep(ctx context.Context, o keys.Org) (int, error) {
	if err := s.refuse(); err != nil {
		return 0, err
	}
	return s.Shared.Sweep(ctx, o)
}

// Orgs implements store.Store.
func (s *Store) Orgs(ctx context.Context) ([]keys.Org, error) {
	if err := s.refuse(); err != nil {
		return nil, err
	}
	return s.Shared.Orgs(ctx)
}

// Health is the target's, and blocked while the carry-over is under way.
func (s *Store) Health() store.Health {
	h := s.Shared.Health()
	if s.done.Load() {
		if n := s.damaged.Load(); n > 0 {
			h.Warnings = append(h.Warnings, fmt.Sprintf("%s parts of the embedded store could not be read and were not carried over; see the log", grouped(n)))
		}
		return h
	}
	problem := s.progress()
	if h.Problem != "" && !strings.Contains(problem, h.Problem) {
		problem += "; " + h.Problem
	}
	h.Blocked, h.Problem = true, problem
	if h.State == store.Up {
		h.State = store.Starting
	}
	return h
}

// grouped writes a number with a comma before each three digits.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
