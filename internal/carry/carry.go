// Package carry moves what an embedded store holds into the shared store, once,
// before anything is served from there. Everything goes over as operations that
// can be repeated, so a carry-over that was interrupted begins again.
package carry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// workers is how many keys are under way at a time: enough for commands to
	// share trips, few enough for the other instances of a shared store.
	workers = 16
	// callTime bounds one operation.
	callTime = 5 * time.Second
	// retryFirst is the pause after a failed operation; it grows to retryMost.
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
	// tellEvery is how often progress is logged.
	tellEvery = 2 * time.Second
	// sameTime is a difference of clocks that is taken for none: instants are then
	// carried as they are.
	sameTime = time.Second
)

// Source is the store whose contents are carried. Nobody else uses it meanwhile.
type Source interface {
	// Count returns for how many keys Walk calls its function.
	Count(ctx context.Context) (int64, error)
	// Walk calls visit with what each key holds.
	Walk(ctx context.Context, visit func(store.Contents) error) error
	// Orgs returns the organisations that have data.
	Orgs(ctx context.Context) ([]keys.Org, error)
	// CarryUnder remembers durably under which generation an organisation is
	// carried; the first call decides.
	CarryUnder(ctx context.Context, o keys.Org, g uint64) (uint64, error)
	// Close lets go of it; it may be called again.
	Close(ctx context.Context) error
}

// Options of a carry-over. All fields are required.
type Options struct {
	Space keys.Space
	// Now is the time of the source.
	Now func() time.Time
	// Begin is called before the target is asked for an operation, and what it
	// returns once that is kept.
	Begin func() (end func())
	// Keep is called with each operation that is in the target: it keeps what the
	// target may lose, and the source will not be there any more.
	Keep func(ctx context.Context, op store.Op) error
	// Finish is called once everything is in the target, and again until it
	// succeeds: it closes the source and puts it away.
	Finish func(ctx context.Context) error
	Logger *slog.Logger
}

// Store is a target that serves nothing until everything of the source is in
// it. Safe for concurrent use.
type Store struct {
	store.Shared
	source Source
	opts   Options

	done   atomic.Bool // everything is in the target
	ended  chan struct{}
	cancel context.CancelFunc

	total, walked, carried, newer, damaged atomic.Int64

	mu      sync.Mutex
	problem string              // guarded by mu: what it waits for; empty: it goes on
	under   map[keys.Org]uint64 // by organisation; written before the workers start
	ahead   time.Duration       // of the target's clock; written before the workers start
}

// Over begins to carry what source holds into target, in the background. Close
// ends that, and closes both.
func Over(target store.Shared, source Source, o Options) *Store {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{Shared: target, source: source, opts: o, ended: make(chan struct{}), cancel: cancel, under: make(map[keys.Org]uint64)}
	go func() {
		defer close(s.ended)
		s.run(ctx)
	}()
	return s
}

// Wait waits until the target serves, or ctx ends.
func (s *Store) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return s.refuse()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", s.refuse(), ctx.Err())
	}
}

// Close ends the carry-over and closes the target.
func (s *Store) Close(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.ended:
		if !s.done.Load() {
			return errors.Join(s.source.Close(ctx), s.Shared.Close(ctx))
		}
	case <-ctx.Done(): // its operations end with the target
	}
	return s.Shared.Close(ctx)
}

// run carries until it is done or ctx ends.
func (s *Store) run(ctx context.Context) {
	begun := time.Now()
	for _, step := range []func(context.Context) error{s.prepare, s.carryAll, s.opts.Finish} {
		if !s.insist(ctx, "carry over", step) {
			return
		}
	}
	s.done.Store(true)
	log := s.opts.Logger.Info
	if s.damaged.Load() > 0 {
		log = s.opts.Logger.Error
	}
	log("carried over what the embedded store held", "keys", s.walked.Load(), "written", s.carried.Load(), "newerInRedis", s.newer.Load(),
		"unreadable", s.damaged.Load(), "took", time.Since(begun).Round(time.Millisecond).String())
}

// insist calls f until it succeeds, and tells why it does not. It returns false
// when ctx has ended.
func (s *Store) insist(ctx context.Context, what string, f func(context.Context) error) bool {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := f(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if s.waitsFor(err.Error()) {
			s.opts.Logger.Warn("carrying over waits", "for", what, "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// waitsFor notes a problem and reports whether there was none before.
func (s *Store) waitsFor(problem string) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = s.problem == ""
	s.problem = problem
	return first
}

func (s *Store) goesOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = ""
}

// prepare learns how the two stores' clocks and generations relate.
//
// The counters of two stores count different invalidations. What is live in the
// source is carried under the generation that the target has when they first
// meet, which is kept in the source: so nothing of either side becomes
// invisible, and an invalidation after that holds, however often the carry-over
// is repeated.
func (s *Store) prepare(ctx context.Context) error {
	total, err := s.source.Count(ctx)
	if err != nil {
		return err
	}
	s.total.Store(total)
	if s.ahead, err = s.offset(ctx); err != nil {
		return err
	}
	orgs, err := s.source.Orgs(ctx)
	if err != nil {
		return err
	}
	for _, o := range append(orgs, keys.Org{}) {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		g, err := s.Shared.Generation(ctx, o)
		if err == nil {
			s.under[o], err = s.source.CarryUnder(ctx, o, g)
		}
		cancel()
		if err != nil {
			return err
		}
	}
	s.goesOn()
	return nil
}

// offset returns how far the target's clock is ahead of the source's, from an
// operation that does nothing.
func (s *Store) offset(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	id, err := keys.ParseID("clock")
	if err != nil {
		return 0, err
	}
	o, err := keys.ParseOrg("clock")
	if err != nil {
		return 0, err
	}
	start := s.opts.Now()
	res, err := s.Shared.Apply(ctx, store.Op{
		Action: store.Set, Mode: store.Merge, Key: s.opts.Space.Key("clock", o, id),
		Version: clock.Historic(time.Unix(1, 0), 0), ExpiresAt: time.Unix(1, 0),
	})
	if err != nil {
		return 0, err
	}
	end := s.opts.Now()
	ahead := res.StoreTime.Sub(start.Add(end.Sub(start) / 2))
	if ahead.Abs() < sameTime {
		return 0, nil
	}
	s.opts.Logger.Warn("the clocks of the embedded store and of redis differ; lives are carried by what is left of them", "difference", ahead.String())
	return ahead, nil
}

// carryAll walks the source once.
func (s *Store) carryAll(ctx context.Context) error {
	s.walked.Store(0)
	s.damaged.Store(0)
	s.opts.Logger.Info("carrying over what the embedded store holds", "keys", s.total.Load())
	contents := make(chan store.Contents)
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for c := range contents {
				s.carry(ctx, c)
			}
		})
	}
	told := time.Now()
	err := s.source.Walk(ctx, func(c store.Contents) error {
		if now := time.Now(); now.Sub(told) > tellEvery {
			told = now
			s.opts.Logger.Info(s.progress())
		}
		select {
		case contents <- c:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	close(contents)
	working.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// carry carries one key. Its parts go one after the other.
func (s *Store) carry(ctx context.Context, c store.Contents) {
	if c.Damaged != nil {
		s.damaged.Add(1)
		s.opts.Logger.Error("a part of the embedded store cannot be read and is not carried over", "key", c.Key.String(), "err", c.Damaged)
	}
	for _, op := range c.Ops {
		if !s.insist(ctx, "redis", func(ctx context.Context) error { return s.apply(ctx, op) }) {
			return
		}
		s.goesOn()
	}
	for _, p := range c.Past {
		p.Generation = s.under[p.Key.Org()]
		if !p.Created.IsZero() {
			p.Created = p.Created.Add(s.ahead)
		}
		recall := func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, callTime)
			defer cancel()
			return s.Shared.Recall(ctx, p)
		}
		if !s.insist(ctx, "redis", recall) {
			return
		}
	}
	s.walked.Add(1)
}

// apply applies one operation to the target. A version that the target's clock
// would refuse, because the source's was wrong, is lowered as far as needed; one
// that another value has is raised by one.
func (s *Store) apply(ctx context.Context, op store.Op) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	op.Generation = s.under[op.Key.Org()]
	if !op.ExpiresAt.IsZero() {
		op.ExpiresAt = op.ExpiresAt.Add(s.ahead)
	}
	if gone, err := s.forgotten(ctx, op); gone || err != nil {
		return err
	}
	defer s.opts.Begin()()
	for range 3 {
		res, err := s.Shared.Apply(ctx, op)
		if err != nil {
			return err
		}
		switch {
		case res.Status == store.Ahead:
			op.Version = clock.NewVersion(res.StoreTime.Add(clock.MaxAhead/2).UnixMilli(), 0, op.Version.Node())
			continue
		case res.Status == store.Conflict && op.Action == store.Set:
			op.Version = op.Version.Next(op.Version.Node())
			continue
		case res.Status == store.Applied:
			s.carried.Add(1)
			return s.opts.Keep(ctx, op)
		case res.Status == store.Unchanged:
			return s.opts.Keep(ctx, op)
		case res.Status != store.Expired:
			s.newer.Add(1)
		}
		return nil
	}
	return fmt.Errorf("%w: %s: its version is taken or ahead of the time, again and again", store.ErrUnavailable, op.Key)
}

// forgotten reports whether the target knows that the person, whose value op
// would write, was forgotten after it was written. A conversation has a floor
// for that.
func (s *Store) forgotten(ctx context.Context, op store.Op) (bool, error) {
	if op.Action != store.Set || op.Key.Org().IsZero() {
		return false, nil
	}
	r, err := s.Shared.Get(ctx, s.opts.Space.Forgotten(op.Key))
	if err != nil || !r.Live() || r.Value.Version.Compare(op.Version) < 0 {
		return false, err
	}
	s.newer.Add(1)
	return true, nil
}
