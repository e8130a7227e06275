package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/jackcache/jackcache/internal/keys"
)

// MaxTaps is how many may listen at a time: each costs every operation.
const MaxTaps = 8

// tapBuffer is how many events wait for a listener. What comes while it is full
// is counted and dropped.
const tapBuffer = 1024

// ErrTaps means that as many listen as may.
var ErrTaps = errors.New("too many listen")

// TapFilter says of which operations a Tap tells. Zero fields mean all.
type TapFilter struct {
	Org, Type string
	Op        string // Operation.String
	Errors    bool   // only those that failed
	Every     int    // one of so many, which one of them is left to chance; zero: 1
}

// Operations returns the names of all operations.
func Operations() []string { return slices.Clone(operationNames[:]) }

// Event is an operation that has ended. It has no values and no ids.
type Event struct {
	Time    time.Time // of its begin
	Op      Operation
	Type    keys.Type // empty: of several types, or of none
	Org     string
	ID      string // masked
	Source  Source // where it took place
	Outcome Outcome
	Took    time.Duration
	// Bytes are those of the values and messages that were read or were to be
	// written; messages that were read count as they are stored.
	Bytes int
	Count int // of keys, messages or entries; zero where it is always one

	// SampledOut and Dropped are how many were not told of since the Event
	// before, because of TapFilter.Every, and for lack of room.
	SampledOut, Dropped uint64
}

// Tally sums up what a Tap's filter let through in a time, told of or not.
type Tally struct {
	Over                time.Duration // since the Tally before, or the begin
	Operations, Errors  uint64
	P50, P99, Max       time.Duration
	SampledOut, Dropped uint64
}

// Tap listens to the operations of an Engine. One goroutine reads it; it never
// slows those who call the Engine.
type Tap struct {
	filter TapFilter
	from   *taps
	events chan Event
	done   chan struct{}
	end    sync.Once

	seen                atomic.Uint64
	sampledOut, dropped atomic.Uint64 // since the last event

	mu    sync.Mutex
	tally Tally                   // guarded by mu
	since time.Time               // guarded by mu: begin of tally
	took  *hdrhistogram.Histogram // guarded by mu: microseconds, since then
}

// taps has those who listen.
type taps struct {
	list   atomic.Pointer[[]*Tap] // nil: nobody does, and that is all an operation looks at
	mu     sync.Mutex
	closed bool // guarded by mu
}

// Tap starts to listen until Close. Errors: ErrTaps, ErrClosed.
func (e *Engine) Tap(f TapFilter) (*Tap, error) {
	f.Every = max(f.Every, 1)
	t := &Tap{
		filter: f, from: &e.taps, events: make(chan Event, tapBuffer), done: make(chan struct{}),
		since: time.Now(), took: newHistogram(),
	}
	e.taps.mu.Lock()
	defer e.taps.mu.Unlock()
	if e.taps.closed {
		return nil, ErrClosed
	}
	var all []*Tap
	if old := e.taps.list.Load(); old != nil {
		all = *old
	}
	if len(all) >= MaxTaps {
		return nil, ErrTaps
	}
	all = append(slices.Clone(all), t)
	e.taps.list.Store(&all)
	return t, nil
}

// Close ends listening. It may be called more than once.
func (t *Tap) Close() {
	t.end.Do(func() {
		t.from.remove(t)
		close(t.done)
	})
}

func (t *taps) remove(gone *Tap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.list.Load()
	if old == nil {
		return
	}
	left := slices.DeleteFunc(slices.Clone(*old), func(o *Tap) bool { return o == gone })
	if len(left) == 0 {
		t.list.Store(nil)
		return
	}
	t.list.Store(&left)
}

// close ends all, and nobody listens any more.
func (t *taps) close() {
	t.mu.Lock()
	t.closed = true
	all := t.list.Load()
	t.mu.Unlock()
	if all == nil {
		return
	}
	for _, o := range *all {
		o.Close()
	}
}

// Read waits for an event and then takes all that are there and fit into dst.
// It returns ErrClosed after Close, when what was told before has been read.
func (t *Tap) Read(ctx context.Context, dst []Event) (n int, err error) {
	for n < len(dst) {
		select {
		case dst[n] = <-t.events:
			n++
			continue
		default:
		}
		if n > 0 {
			return n, nil
		}
		select {
		case dst[n] = <-t.events:
			n++
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-t.done:
			if len(t.events) == 0 {
				return 0, ErrClosed
			}
		}
	}
	return n, nil
}

// Tally returns the sums since the call before, and begins anew.
func (t *Tap) Tally() Tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	sum := t.tally
	sum.Over = now.Sub(t.since)
	sum.P50, sum.P99 = micros(t.took.ValueAtQuantile(50)), micros(t.took.ValueAtQuantile(99))
	sum.Max = micros(t.took.Max())
	t.tally, t.since = Tally{}, now
	t.took.Reset()
	return sum
}

// offer tells the listener of an operation, if it is one of those that it wants.
func (t *Tap) offer(ev Event, k keys.Key) {
	f := &t.filter
	failed := ev.Outcome.Failed()
	if f.Org != "" && f.Org != ev.Org || f.Type != "" && f.Type != string(ev.Type) ||
		f.Op != "" && f.Op != ev.Op.String() || f.Errors && !failed {
		return
	}
	told, dropped := t.chosen(t.seen.Add(1)-1), false
	if told {
		ev.ID = k.ID().Masked()
		dropped = !t.send(ev)
	} else {
		t.sampledOut.Add(1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally.Operations++
	if failed {
		t.tally.Errors++
	}
	if !told {
		t.tally.SampledOut++
	}
	if dropped {
		t.tally.Dropped++
	}
	_ = t.took.RecordValue(histogrammed(ev.Took)) // it is within what the histogram holds
}

// chosen reports whether the n-th operation is told of: exactly one of every
// group of filter.Every, and not the same in each group, or calls that come in
// turn would show one of them only.
func (t *Tap) chosen(n uint64) bool {
	every := uint64(t.filter.Every)
	return n%every == scatter(n/every)%every
}

// scatter is the finaliser of SplitMix64: neighbours get unrelated numbers.
func scatter(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// send reports whether there was room.
func (t *Tap) send(ev Event) bool {
	ev.SampledOut, ev.Dropped = t.sampledOut.Swap(0), t.dropped.Swap(0)
	select {
	case t.events <- ev:
		return true
	default:
		t.sampledOut.Add(ev.SampledOut)
		t.dropped.Add(ev.Dropped + 1)
		return false
	}
}
