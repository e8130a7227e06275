// Package engine orders the rooms below it: it is the read path and the write
// path. It stamps operations, sends those that lost once more, shares loads,
// and keeps every call within its budget.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/trace"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/flight"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/store"
)

// Errors that this room decides. All others are those of package store.
var (
	ErrClosed   = errors.New("closed")
	ErrConflict = errors.New("the id is taken by another content")
	// ErrCondition: what is stored is not what the condition asked for.
	ErrCondition = errors.New("condition does not hold")
)

// errContended: each attempt met a later write.
var errContended = fmt.Errorf("%w: others write the same key all the time", store.ErrUnavailable)

const (
	// maxAttempts bounds how often an operation is stamped again. The second
	// wins unless others write the same key at the same time.
	maxAttempts = 6
	// persistEvery is how often the clock's ceiling is written; it must be well
	// below clock.CeilingReserve.
	persistEvery = 4 * time.Second
	// maxGenerations bounds how many organisations' generations are remembered.
	// A forgotten one costs the next write of that organisation a second trip.
	maxGenerations = 100_000
	// maxAbsences bounds for how many deleted keys it is remembered that a loader
	// found nothing. A forgotten one costs a load.
	maxAbsences = 20_000
	// mergeTimeout bounds an operation of an import, which nobody waits for.
	mergeTimeout = 5 * time.Second
	// followAbove is the difference from the store's time, beyond what the trip
	// explains, that is corrected; smaller ones are for the logical part of the
	// clock. tellAbove is the difference that is told.
	followAbove = 2 * time.Millisecond
	tellAbove   = time.Second
)

// Config is what an engine is made of. Every field is required but OwnTime,
// Journal, Tracer and KindNames; those of the Journal are required with it.
type Config struct {
	Store       store.Store
	Clock       *clock.Clock
	Timeout     time.Duration // of the store's part in an operation on one key
	Journaling  *Journaling   // nil: what the store does not take is refused
	Near        *near.Tier    // nil: no copies are kept of what the store has
	NearLogs    time.Duration // how long copies of conversations may be given; 0: there are none
	LoadTimeout time.Duration // of a loader
	LocalBytes  uint64        // for kinds that are not shared
	ReclaimRate int           // keys that are looked at in a second to give back what was invalidated; 0: none
	OwnTime     bool          // the store's time is that of Clock; otherwise Clock follows it
	Logger      *slog.Logger
	Tracer      trace.Tracer         // nil: no spans
	KindNames   map[keys.Type]string // what spans call the types
}

// Engine serves typed keys. Safe for concurrent use.
type Engine struct {
	cfg         Config
	local       *near.Local
	flights     flight.Group[Value]
	written     writes
	leaser      store.Leaser // nil: one process has the store for itself
	keepers     keepers
	wake        waker
	generations *otter.Cache[string, uint64]
	absences    *otter.Cache[string, absence]
	meters      meters
	taps        taps
	rescues     rescues
	journaling  // zero: there is no journal
	copies      copies
	logs        trips[Log]
	values      trips[looked]
	refreshes   refreshes
	reclaims    reclaimer

	closed   atomic.Bool
	stop     chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup
}

// New starts an engine over a store that is open. The engine closes the store.
func New(cfg Config) (*Engine, error) {
	local, err := near.NewLocal(cfg.LocalBytes)
	if err != nil {
		return nil, fmt.Errorf("local tier: %w", err)
	}
	generations, err := otter.New(&otter.Options[string, uint64]{MaximumSize: maxGenerations})
	if err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	absences, err := otter.New(&otter.Options[string, absence]{MaximumSize: maxAbsences})
	if err != nil {
		return nil, fmt.Errorf("absences: %w", err)
	}
	if err := cfg.Clock.Persist(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, local: local, generations: generations, absences: absences, leaser: store.LeaserOf(cfg.Store), stop: make(chan struct{})}
	e.meters.init()
	e.openJournal()
	e.openCopies()
	e.refreshes.open()
	e.openReclaim()
	e.done.Add(1)
	go e.persistClock()
	return e, nil
}

func (e *Engine) persistClock() {
	defer e.done.Done()
	tick := time.NewTicker(persistEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-tick.C:
			e.views.forget()
			e.filters.forget()
			if err := e.cfg.Clock.Persist(); err != nil {
				e.cfg.Logger.Warn("the clock's ceiling cannot be kept; a clock that goes back while this process is down may repeat versions", "err", err)
			}
		}
	}
}

// Close waits for what is under way until ctx ends, and closes the store.
func (e *Engine) Close(ctx context.Context) error {
	e.closed.Store(true)
	e.taps.close()
	e.stopOnce.Do(func() { close(e.stop) })
	e.done.Wait()
	e.closeRefreshes()
	e.local.Close()
	if e.copies.tier != nil {
		e.copies.tier.Close()
	}
	e.generations.StopAllGoroutines()
	e.absences.StopAllGoroutines()
	if e.gone != nil {
		e.gone.StopAllGoroutines()
	}
	return errors.Join(e.cfg.Store.Close(ctx), e.cfg.Clock.Persist())
}

// begin starts the measurement and the budget of one operation on keys of a type.
func (e *Engine) begin(ctx context.Context, op Operation, t keys.Type) (context.Context, func(*error)) {
	ctx, m := e.measure(ctx, op, t)
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	return ctx, func(err *error) {
		cancel()
		m.end(*err)
	}
}

func (e *Engine) check() error {
	if e.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Known returns the highest generation of an organisation that was seen.
func (e *Engine) Known(o keys.Org) uint64 { return e.known(o) }

// Observe takes from an answer of the store what clock and generations learn
// from it.
func (e *Engine) Observe(o keys.Org, r store.Result) {
	e.cfg.Clock.Observe(r.Version)
	e.learn(o, r.Generation)
}

// known returns the highest generation of an organisation that was seen here.
func (e *Engine) known(o keys.Org) uint64 {
	g, _ := e.generations.GetIfPresent(o.String())
	return g
}

// learn remembers a generation; lower ones than the known change nothing.
func (e *Engine) learn(o keys.Org, g uint64) {
	if g == 0 || g <= e.known(o) {
		return
	}
	if at, told := (store.Raised{Org: o, Generation: g}).At(); told && e.journal != nil {
		e.learned.add(o, e.journal.Before(at.Add(-recordedBefore)))
	}
	e.generations.Compute(o.String(), func(old uint64, found bool) (uint64, otter.ComputeOp) {
		if found && old >= g {
			return old, otter.CancelOp
		}
		if e.copies.tier != nil {
			e.copies.tier.DropOrg(o) // before anybody knows g, and takes it for done
		}
		return g, otter.WriteOp
	})
}

// send applies op once and takes from the answer what clock and generations
// learn from it.
func (e *Engine) send(ctx context.Context, op store.Op) (store.Result, error) {
	start := time.Now()
	res, err := e.cfg.Store.Apply(ctx, op)
	if err != nil {
		return res, err
	}
	e.follow(res.StoreTime, time.Since(start))
	e.cfg.Clock.Observe(res.Version)
	e.learn(op.Key.Org(), res.Generation)
	return res, nil
}

// follow sets the clock to the store's, which answered t after about half of
// the trip.
func (e *Engine) follow(t time.Time, trip time.Duration) {
	if t.IsZero() || e.cfg.OwnTime {
		return
	}
	t = t.Add(trip / 2)
	d := t.Sub(e.cfg.Clock.Time()).Abs()
	if d <= trip/2+followAbove {
		return
	}
	e.cfg.Clock.Follow(t)
	if d > tellAbove {
		e.cfg.Logger.Warn("this host's clock differs from the store's; following the store's", "difference", d.String())
	}
}

// apply stamps op and sends it until it is part of the state, is refused for
// good, or the budget ends. Every attempt carries all of the operation, so an
// attempt that arrives late changes nothing. It returns the operation as it was
// sent last.
func (e *Engine) apply(ctx context.Context, op store.Op) (store.Result, store.Op, error) {
	op.Version = e.cfg.Clock.Now()
	op.Generation = e.known(op.Key.Org())
	var (
		res    store.Result
		winner clock.Version // of the attempt before
		beaten bool          // each attempt met a higher version than the one before
	)
	for attempt := range maxAttempts {
		var err error
		if res, err = e.send(ctx, op); err != nil {
			return res, op, err
		}
		stamp := op.Version
		switch res.Status {
		case store.Superseded:
			beaten = res.Version.Compare(winner) > 0
			winner = res.Version
			stamp = e.above(op, res.Version, attempt)
		case store.Ahead:
			e.cfg.Clock.Follow(res.StoreTime)
			stamp = e.cfg.Clock.Now()
		}
		if res.Generation > op.Generation {
			// Invalidated meanwhile, or this instance did not know: whatever the
			// answer, it looked at data that is not there any more.
			if op.Action == store.Set && stamp == op.Version {
				// Who saw that attempt saw something that is not live, and may fill
				// what is as it saw it: this one must not look the same.
				stamp = e.cfg.Clock.Now()
			}
			if op.If.Kind != store.Always && e.journal != nil {
				return res, op, errLearned
			}
			op.Generation, op.Version = res.Generation, stamp
			continue
		}
		switch res.Status {
		case store.Applied, store.Unchanged:
			return res, op, e.keepGeneration(ctx, op, res)
		case store.Superseded, store.Ahead:
			op.Version = stamp
		case store.Conflict:
			if op.Action != store.Set {
				return res, op, fmt.Errorf("message %q: %w", res.ConflictID, ErrConflict)
			}
			op.Version = e.cfg.Clock.Now()
		case store.ConditionFail:
			return res, op, ErrCondition
		default: // Stale tells a higher generation, Expired is for replays
			return res, op, fmt.Errorf("store answered with status %d", res.Status)
		}
	}
	if op.Action == store.Set && op.If.Kind == store.Always && res.Status == store.Superseded && beaten {
		// Others wrote after each attempt: it is as if this value had been there
		// in between.
		return res, op, nil
	}
	return res, op, errContended
}

// above returns a version for op that exceeds v. A Replace has to exceed all
// messages, and others go on appending: it steps further at each attempt.
func (e *Engine) above(op store.Op, v clock.Version, attempt int) clock.Version {
	if op.Action == store.Replace {
		v = clock.NewVersion(v.Millis()+1<<attempt, 0, v.Node())
	}
	stamp := e.cfg.Clock.Now()
	if stamp.Compare(v) <= 0 {
		stamp = v.Next(stamp.Node())
		e.cfg.Clock.Observe(stamp)
	}
	return stamp
}

// keepGeneration writes an organisation's generation back where the store lost
// it: what was written under it must not outlive the next Invalidate.
func (e *Engine) keepGeneration(ctx context.Context, op store.Op, res store.Result) error {
	if op.Generation <= res.Generation || op.Key.Org().IsZero() {
		return nil
	}
	if _, err := e.cfg.Store.RaiseGeneration(ctx, op.Key.Org(), op.Generation); err != nil {
		return fmt.Errorf("%w: it is stored, its generation is not: %w", store.ErrUnknown, err)
	}
	return nil
}

// Merge applies an operation that carries a place of its own (an import). It
// is not stamped, and what lost stays lost.
func (e *Engine) Merge(ctx context.Context, op store.Op) (res store.Result, err error) {
	if err := e.check(); err != nil {
		return res, err
	}
	t := e.taps.begin(ctx, OpImport, &op.Key)
	t.merged(op)
	defer func() { t.end(err) }()
	ctx, m := e.measure(e.withoutSpan(ctx), OpImport, op.Key.Type())
	defer func() { m.end(err) }()
	defer e.drop(op.Key)
	ctx, cancel := context.WithTimeout(ctx, mergeTimeout)
	defer cancel()
	if e.journal != nil {
		defer e.journal.End(e.journal.Begin())
	}
	op.Mode = store.Merge
	op.Generation = e.known(op.Key.Org())
	for range maxAttempts {
		if res, err = e.send(ctx, op); err != nil {
			return res, err
		}
		if res.Status == store.Ahead || res.Status == store.Expired {
			return res, fmt.Errorf("%w: the place of the import lies in the future or its life has ended", store.ErrRejected)
		}
		if res.Generation <= op.Generation {
			if err = e.keepGeneration(ctx, op, res); err == nil && e.journal != nil && (res.Status == store.Applied || res.Status == store.Unchanged) {
				err = e.record(ctx, false, e.appliedRecord(op, res))
			}
			return res, err
		}
		op.Generation = res.Generation
	}
	return res, fmt.Errorf("%w: the organisation is invalidated all the time", store.ErrUnavailable)
}

// List returns a page of live keys. It is outside the budget.
func (e *Engine) List(ctx context.Context, q store.Query) (p store.Page, err error) {
	if err := e.check(); err != nil {
		return p, err
	}
	t := e.taps.beginAt(ctx, OpList, q.Type, q.Org)
	defer func() { t.end(err) }()
	ctx, m := e.measure(ctx, OpList, q.Type)
	defer func() { m.end(err) }()
	p, err = e.cfg.Store.List(ctx, q)
	t.listed(p)
	return p, err
}

// Health is the store's.
func (e *Engine) Health() store.Health { return e.cfg.Store.Health() }

// Clock is the engine's.
func (e *Engine) Clock() *clock.Clock { return e.cfg.Clock }

// Closed reports whether Close was called.
func (e *Engine) Closed() bool { return e.closed.Load() }

// Local returns how much the kinds that are not shared keep.
func (e *Engine) Local() (entries int, bytes int64) {
	return e.local.Len(), int64(e.local.Bytes())
}
