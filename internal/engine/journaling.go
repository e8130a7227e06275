package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// The errors of the journal. ErrJournalFull is an ErrJournal, too.
var (
	// ErrJournal: the write cannot be kept safe. Nothing of it is kept, unless
	// store.ErrUnknown comes with it.
	ErrJournal = errors.New("the journal cannot take it")
	// ErrJournalFull: as much waits for the store as may.
	ErrJournalFull = fmt.Errorf("%w: it is full", ErrJournal)
)

// Journaling says how writes are kept until the shared store has them, and for
// the case that it loses them. Journal, Shared, Budget, Patience, Kick and
// Look are required.
type Journaling struct {
	Journal *journal.Journal
	// Shared is the Store of the Config.
	Shared store.Shared
	// Budget bounds an operation, the journal included; above Config.Timeout.
	Budget time.Duration
	// Patience bounds the store's part in a write that can wait in the journal.
	Patience time.Duration
	// Optional: where the store has a write and the journal cannot take it, it is
	// acknowledged all the same.
	Optional bool
	// Kick is called when something is pending.
	Kick func()
	// Look has what is to be adopted by the generation of an organisation that was
	// learned before the call adopted. ErrUnavailable: whether there is anything cannot
	// be found out.
	Look func(context.Context, keys.Org) error
}

// refuseFor is how long a journal that failed is not tried again by writes that
// need not.
const refuseFor = 250 * time.Millisecond

// maxGone bounds the parts of keys that are remembered as gone.
const maxGone = 10_000

// slowLimit is how many appends in a row may take longer than an operation may
// before the disk counts as one that hangs, and tellFailing how long it is told
// that the journal failed when nobody has tried it since.
const (
	slowLimit   = 8
	tellFailing = 10 * time.Second
)

// journaling is the part of an Engine that keeps writes in a journal.
type journaling struct {
	journal *journal.Journal // nil: there is none
	shared  store.Shared
	refuser store.Refuser // nil: the store does not tell beforehand
	failed  atomic.Int64  // when the journal last failed, in ns since 1970; 0: it works
	failing atomic.Pointer[error]
	// accepted counts writes that were acknowledged while the store was away.
	accepted atomic.Uint64

	// ended has, by organisation, the position of the last invalidation that is
	// or was pending here: what was recorded before it is not read any more.
	ended sync.Map // keys.Org → journal.Position
	// ending has the invalidations that wait for the store, by organisation, and
	// accepting those that the journal is asked to keep; endings counts both.
	ending    sync.Map // keys.Org → *waitingEnd
	accepting sync.Map // keys.Org → *acceptance
	endings   atomic.Int64
	slow      atomic.Int32 // appends in a row that took too long
	// gone has what was missed and is not lost, by key and part.
	gone     *otter.Cache[string, gone]
	restored atomic.Uint64 // how often what the store had lost was applied again
	learned  learned
	views    views
	filters  idFilters
}

// openJournal learns what the journal knows.
func (e *Engine) openJournal() {
	if e.cfg.Journaling == nil {
		return
	}
	j := e.cfg.Journaling.Journal
	e.gone = otter.Must(&otter.Options[string, gone]{MaximumSize: maxGone})
	e.journal, e.shared = j, e.cfg.Journaling.Shared
	e.refuser, _ = e.cfg.Store.(store.Refuser)
	e.cfg.Clock.Observe(j.Highest())
	for o, g := range j.Generations() {
		e.learn(o, g)
	}
	var ends []journal.Position
	j.EachPending(func(p journal.Outstanding) {
		if p.Kind == journal.Invalidation {
			e.ended.Store(p.Org, p.Position)
			ends = append(ends, p.Position)
		}
	})
	rs, err := j.Read(ends...)
	if err != nil {
		e.cfg.Logger.Error("invalidations that wait in the journal cannot be read", "err", err)
	}
	for _, r := range rs {
		e.awaitEnd(&waitingEnd{Record: r})
	}
}

// Written is what became of a write.
type Written struct {
	store.Result
	// Pending: it is kept here, and not known to be in the shared store.
	Pending bool
}

// write applies op. What the store has is recorded; what it did not answer, or
// cannot take now, is kept in the journal and applied later. A derived write
// needs no second copy.
func (e *Engine) write(caller context.Context, operation Operation, derived bool, op store.Op) (w Written, err error) {
	caller, m := e.measure(caller, operation, op.Key.Type())
	defer func() { m.end(err) }()
	if err := e.journalTakes(derived); err != nil {
		return w, err
	}
	defer e.drop(op.Key)
	start := time.Now()
	if err := e.refused(&op); err != nil && caller.Err() == nil {
		return e.accept(caller, start, op, err)
	}
	ctx, cancel := context.WithTimeout(caller, e.patience(op))
	defer cancel()
	if e.journal == nil {
		w.Result, _, err = e.attempt(ctx, op)
		return w, err
	}
	var begun underway
	defer begun.end()
	op, err = e.attempts(ctx, op, &w.Result, &begun)
	cancel()
	if err != nil && (caller.Err() != nil || !mayWait(err) || op.If.Kind != store.Always) {
		return w, err
	}
	if err != nil {
		return e.accept(caller, start, op, err)
	}
	ctx, cancel = context.WithDeadline(caller, start.Add(e.cfg.Journaling.Budget))
	defer cancel()
	// What waits for the same key would be read instead of what is not recorded.
	return w, e.record(ctx, derived && !e.waits(&op.Key), e.appliedRecord(op, w.Result))
}

// refused stamps a write that the store would not send, and returns why. It saves what
// an attempt costs, which in an outage is most of a write: nil says nothing, and one
// has to be made.
func (e *Engine) refused(op *store.Op) error {
	if e.refuser == nil || op.If.Kind != store.Always || e.endings.Load() > 0 {
		return nil // an invalidation that waits comes first
	}
	err := e.refuser.Away(op.Key)
	if err != nil {
		op.Version, op.Generation = e.cfg.Clock.Now(), e.known(op.Key.Org())
	}
	return err
}

// patience is how long the store has for a write.
func (e *Engine) patience(op store.Op) time.Duration {
	if e.journal == nil || op.If.Kind != store.Always {
		return e.cfg.Timeout
	}
	return e.cfg.Journaling.Patience
}

// underway is a write that the journal knows to have begun; the zero one has not.
type underway struct {
	journal *journal.Journal
	turn    uint32
}

func (u *underway) begin(j *journal.Journal) { u.journal, u.turn = j, j.Begin() }

func (u *underway) end() {
	if u.journal != nil {
		u.journal.End(u.turn)
		u.journal = nil
	}
}

// attempts is attempt where there is a journal, and begins a write there, which the
// caller ends. What depends on what is stored begins anew where a generation is
// learned, after what that adopts was applied.
func (e *Engine) attempts(ctx context.Context, op store.Op, res *store.Result, begun *underway) (_ store.Op, err error) {
	stored := false // by a try that counted for nothing then
	for range maxAttempts {
		if op.If.Kind != store.Always {
			// Before the write begins: what is adopted waits for the end of all that have.
			if _, err := e.adopted(ctx, op.Key, e.outset(op.Key)); err != nil {
				return op, err
			}
		}
		begun.begin(e.journal)
		*res, op, err = e.attempt(ctx, op)
		if !errors.Is(err, errLearned) {
			if stored && errors.Is(err, ErrCondition) {
				err = fmt.Errorf("%w: it may stand where it was to stand, and be what the condition meets: %w", store.ErrUnknown, err)
			}
			return op, err
		}
		stored = stored || res.Status == store.Applied
		begun.end()
	}
	return op, errContended
}

// attempt applies op unless something of this instance has to reach the store
// before it. It returns the operation as it was sent last, or stamped.
func (e *Engine) attempt(ctx context.Context, op store.Op) (store.Result, store.Op, error) {
	if e.journal == nil {
		return e.apply(ctx, op)
	}
	conditional := op.If.Kind != store.Always
	waits := conditional && e.waits(&op.Key) // first: an invalidation may end it, and must reach the store then
	err := e.endPending(ctx, op.Key.Org())
	if err == nil && conditional && (waits || e.shared.Doubtful(op.Key)) {
		err = fmt.Errorf("%w: what was acknowledged is being applied", store.ErrUnavailable)
	}
	if err != nil {
		op.Version, op.Generation = e.cfg.Clock.Now(), e.known(op.Key.Org())
		return store.Result{}, op, err
	}
	res, op, err := e.apply(ctx, op)
	if err == nil && conditional && e.shared.Doubtful(op.Key) {
		err = fmt.Errorf("%w: the store may lack what was acknowledged before", store.ErrUnknown)
	}
	return res, op, err
}

// mayWait reports whether a write that failed may be applied later.
func mayWait(err error) bool {
	switch {
	case errors.Is(err, store.ErrBlocked), errors.Is(err, store.ErrWrongStore), errors.Is(err, ErrClosed):
		return false
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		return true
	}
	return false
}

// journalTakes refuses a write before it is sent where the journal is known not
// to take it: it would have to be answered with an error afterwards.
func (e *Engine) journalTakes(derived bool) error {
	if e.journal == nil || derived || e.cfg.Journaling.Optional {
		return nil
	}
	at := e.failed.Load()
	if at == 0 || time.Now().UnixNano()-at > int64(refuseFor) {
		return nil
	}
	return *e.failing.Load()
}

// appliedRecord is what is recorded of an operation that the store has.
func (e *Engine) appliedRecord(op store.Op, res store.Result) *journal.Record {
	r := &journal.Record{Kind: journal.Applied, Time: res.StoreTime, Op: repeatable(op)}
	if r.Time.IsZero() {
		r.Time = e.cfg.Clock.Time()
	}
	r.Op.ExpiresAt = res.ExpiresAt
	if r.Op.ExpiresAt.IsZero() {
		r.Op.ExpiresAt = r.Time.Add(op.TTL)
	}
	return r
}

// repeatable is the form of an operation that can be applied again.
func repeatable(op store.Op) store.Op {
	op.Mode, op.If, op.TTL = store.Merge, store.Condition{}, 0
	return op
}

// record keeps a second copy of what the store has.
func (e *Engine) record(ctx context.Context, derived bool, r *journal.Record) error {
	err := e.keep(ctx, false, r)
	if err == nil || derived || e.cfg.Journaling.Optional {
		return nil
	}
	return fmt.Errorf("%w: the store has it, a second copy cannot be kept: %w", store.ErrUnknown, err)
}

// keep appends records, and notes whether the journal works.
func (e *Engine) keep(ctx context.Context, durable bool, rs ...*journal.Record) error {
	err := e.journal.Append(ctx, durable, rs...)
	if err == nil {
		if e.failed.Load() != 0 {
			e.failed.Store(0)
		}
		if e.slow.Load() != 0 {
			e.slow.Store(0)
		}
		return nil
	}
	switch {
	case errors.Is(err, journal.ErrFull):
		return fmt.Errorf("%w: %w", ErrJournalFull, err)
	case errors.Is(err, journal.ErrSlow):
		if !durable && e.slow.Add(1) >= slowLimit {
			// The disk hangs: who writes is refused at once, and before redis does it.
			e.fails(fmt.Errorf("%w: %w", ErrJournal, err))
		}
		return fmt.Errorf("%w: %w: %w", ErrJournal, store.ErrUnknown, err)
	}
	return e.fails(fmt.Errorf("%w: %w", ErrJournal, err))
}

// fails notes that the journal cannot be written.
func (e *Engine) fails(err error) error {
	e.failing.Store(&err)
	e.failed.Store(time.Now().UnixNano())
	return err
}

// accept keeps an operation that began at start until the store has it; cause says why
// it has not.
func (e *Engine) accept(ctx context.Context, start time.Time, op store.Op, cause error) (w Written, err error) {
	ctx, cancel := context.WithDeadline(ctx, start.Add(e.cfg.Journaling.Budget))
	defer cancel()
	w = Written{Pending: true, Result: store.Result{Status: store.Applied, Version: op.Version}}
	r := &journal.Record{Kind: journal.Pending, Time: e.cfg.Clock.Time(), Op: repeatable(op)}
	r.Op.ExpiresAt = r.Time.Add(op.TTL)
	var filter *idFilter
	if op.Action == store.Append {
		filter = e.filters.of(op.Key)
		repeated := false
		if !e.allNew(filter, op.Key, op.Messages) {
			if repeated, err = e.placePending(op, &w.Result); err != nil {
				return w, err
			}
		}
		if repeated {
			// What it repeats may be written and not synced yet.
			if err := e.keep(ctx, true, &journal.Record{Kind: journal.Resolved, Time: r.Time}); err != nil {
				return w, fmt.Errorf("%w; and the store: %w", err, cause)
			}
			noteWaits(ctx)
			return w, nil
		}
	}
	for _, m := range op.Messages[len(w.Placed):] {
		w.Placed = append(w.Placed, store.Placed{Order: m.Order(op.Version)})
	}
	if err := e.keep(ctx, true, r); err != nil {
		return w, fmt.Errorf("%w; and the store: %w", err, cause)
	}
	if filter != nil {
		e.note(filter, r)
	}
	if op.Action != store.Set {
		e.remember(r)
	}
	e.accepted.Add(1)
	noteWaits(ctx)
	e.cfg.Journaling.Kick()
	return w, nil
}

// placePending tells where the messages of an Append will stand as far as this
// instance knows, and whether all of them are repetitions.
func (e *Engine) placePending(op store.Op, res *store.Result) (repeated bool, err error) {
	v, err := e.view(op.Key)
	if err != nil {
		return false, err
	}
	defer v.mu.Unlock()
	if !e.cfg.Clock.Time().Before(v.life) {
		return false, nil
	}
	repeated = true
	for _, m := range op.Messages {
		old, ok := v.byID[m.ID]
		switch {
		case ok && old.digest != m.Digest:
			res.ConflictID = m.ID
			return false, fmt.Errorf("message %q: %w", m.ID, ErrConflict)
		case ok:
			res.Placed = append(res.Placed, store.Placed{Order: old.Order, Duplicate: true})
		default:
			repeated = false
			res.Placed = append(res.Placed, store.Placed{Order: m.Order(op.Version)})
		}
	}
	return repeated, nil
}

// JournalFailing returns why the journal cannot be written, nil if it can.
func (e *Engine) JournalFailing() error {
	at := e.failed.Load()
	if at == 0 || time.Since(time.Unix(0, at)) > tellFailing {
		return nil
	}
	return *e.failing.Load()
}

// Accepted returns how many writes were acknowledged while the store was away.
func (e *Engine) Accepted() uint64 { return e.accepted.Load() }
