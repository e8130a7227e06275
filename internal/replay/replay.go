// Package replay brings what an instance acknowledged into the shared store:
// what waits for it, and again what it may have lost. Operations can be repeated
// in any order, so it may begin anew at any time.
package replay

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// Options of a Replayer. All fields are required.
type Options struct {
	Journal *journal.Journal
	Space   keys.Space
	// Rate bounds the operations per second, all together.
	Rate int
	// SetAside is the file to which goes what the store refuses for good, a line
	// of JSON each.
	SetAside string
	// Now is the shared store's time, as far as known.
	Now func() time.Time
	// Stamp returns a version for an operation that is stamped again.
	Stamp func() clock.Version
	// Known returns the highest generation of an organisation that was seen, and
	// Observed is told of answers of the store.
	Known    func(keys.Org) uint64
	Observed func(keys.Org, store.Result)
	// Wrote is told of each key that was written, before it is recorded.
	Wrote func(keys.Key)
	// Restored is called when what a server had lost was applied again, while it is
	// in doubt still.
	Restored func()
	// Adopting is called before it is looked what generations that were learned adopt,
	// and what it returns when that is done, but for those organisations for which it
	// failed. Adopts is told of an organisation before
	// something is recorded as part of the store that its generation has to adopt.
	Adopting func() (decided func(failed func(keys.Org) bool))
	Adopts   func(keys.Org)
	Logger   *slog.Logger
}

const (
	// workers is how many operations of a chunk are under way at a time: commands
	// share trips.
	workers = 4
	// chunk is how many operations of one organisation are taken at a time, before
	// another organisation has its turn: one that has little to do waits for as many
	// of all those before it.
	chunk = 512
	// callTime bounds one operation. Nobody waits for it.
	callTime = 2 * time.Second
	// retryFirst is the pause after a failure; it grows to retryMost.
	retryFirst = 20 * time.Millisecond
	retryMost  = 2 * time.Second
	// lookEvery is how often it is looked whether there is something to do.
	lookEvery = 100 * time.Millisecond
)

// Replayer replays a journal. Make it with New; it is the store's Witness from
// then on, and replays from Start to Close. Safe for concurrent use.
type Replayer struct {
	opts  Options
	j     *journal.Journal
	store store.Shared // set by Start
	pace  *pace
	// settling is held by the restoration that waits for calls to be recorded.
	settling chan struct{}
	aside    aside
	kicked   chan struct{}
	queues   queues
	adoption adoption
	counts   counts

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	started  bool              // guarded by mu
	closed   bool              // guarded by mu
	early    []store.Suspicion // guarded by mu: came before Start
	restores int               // guarded by mu: under way
}

// New returns a Replayer that does nothing but to collect suspicions until Start.
func New(o Options) *Replayer {
	r := &Replayer{
		opts: o, j: o.Journal, kicked: make(chan struct{}, 1), aside: aside{path: o.SetAside},
		pace: newPace(o.Rate), queues: newQueues(), adoption: newAdoption(), settling: make(chan struct{}, 1),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Start begins to replay into s.
func (r *Replayer) Start(s store.Shared) {
	r.store = s
	r.aside.count()
	if n := r.j.PendingCount(); n > 0 {
		r.opts.Logger.Info("the journal holds acknowledged writes that redis does not have", "pending", n)
	}
	r.mu.Lock()
	early := r.early
	r.early = nil
	r.started = true
	r.mu.Unlock()
	for _, sus := range early {
		r.Suspect(sus)
	}
	r.done.Go(r.drain)
	r.done.Go(r.adopt)
}

// Close ends replaying. What is pending stays so.
func (r *Replayer) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.done.Wait()
}

// Kick makes it look at once whether something is pending.
func (r *Replayer) Kick() {
	select {
	case r.kicked <- struct{}{}:
	default: // it will
	}
}

// Identity implements store.Witness.
func (r *Replayer) Identity() string { return r.j.Identity() }

// Position implements store.Witness.
func (r *Replayer) Position() store.Position { return r.j.Position() }

// apply applies one operation to the store, that of so many records, and counts it.
func (r *Replayer) apply(op store.Op, records int) (res store.Result, err error) {
	err = r.pace.operations(r.ctx, max(records, len(op.Messages)), func() (err error) {
		ctx, cancel := context.WithTimeout(r.ctx, callTime)
		defer cancel()
		res, err = r.store.Apply(ctx, op)
		return err
	})
	if err != nil {
		return res, err
	}
	r.opts.Wrote(op.Key)
	r.opts.Observed(op.Key.Org(), res)
	r.counts.applied.Add(int64(records))
	if res.Generation < op.Generation && !op.Key.Org().IsZero() {
		// The store lost it: what was written under it must not outlive the next
		// invalidation.
		ctx, cancel := context.WithTimeout(r.ctx, callTime)
		defer cancel()
		_, err = r.store.RaiseGeneration(ctx, op.Key.Org(), op.Generation)
	}
	return res, err
}

// again returns the operation of a record as it is applied now: with the longest
// life that is known for the key.
func (r *Replayer) again(rec *journal.Record) store.Op {
	op := rec.Op
	op.Mode = store.Merge
	if op.Action != store.Set {
		if at := r.j.ExpiresAt(op.Key); at.After(op.ExpiresAt) {
			op.ExpiresAt = at
		}
	}
	return op
}

// each calls f with each of n numbers, by several workers, and waits.
func each(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(workers, n) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}

// pause waits, unless the Replayer is closed.
func (r *Replayer) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
