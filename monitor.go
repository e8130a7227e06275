package jackcache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
)

const (
	// MaxMonitors is how many monitors a cache has at a time.
	MaxMonitors = engine.MaxTaps
	// MaxSample bounds MonitorOptions.Sample.
	MaxSample = 1_000_000
)

// Operations returns the names of the operations in Stats.Operations.
func Operations() []string { return engine.Operations() }

// MonitorOptions says of which operations a Monitor tells. Zero fields mean all.
type MonitorOptions struct {
	// Org is an organisation's id.
	Org string
	// Kind is the name of a kind, or ConversationKind.
	Kind string
	// Operation is one of the names in Stats.Operations.
	Operation string
	// ErrorsOnly leaves out what succeeded.
	ErrorsOnly bool
	// Sample tells of one of so many operations; which one of them is left to
	// chance. Default 1, at most MaxSample.
	Sample int
}

// MonitorEvent is an operation that has ended. It has no value, and of an id no
// more than two characters.
type MonitorEvent struct {
	Time      time.Time // of its begin
	Operation string    // as in Stats.Operations
	// Kind is "__forgotten" for the marks that a person was forgotten, and empty
	// for several kinds, or none.
	Kind string
	Org  string // empty: the directory, or all organisations
	ID   string // masked; empty where there is none, or several
	// Source is where it took place. Loads and the reads that they answered have
	// SourceLoader.
	Source Source
	// Outcome is done, pending (a write that waits for the store), hit, miss,
	// partial (some values of a batch), loaded (a miss that a loader answered) or
	// notKept (a fill that came too late); of a failure conflict, precondition,
	// unavailable, unknown, rejected, full, corrupt, givenUp (by the caller),
	// loaderFailed, journal (which cannot keep the write) or failed.
	Outcome string
	Failed  bool
	Took    time.Duration
	// Bytes are those of the values and messages that were read or were to be
	// written; messages that were read count as they are stored.
	Bytes int
	Count int // of keys, messages or entries, where there may be several
	// SampledOut and Dropped are how many operations were not told of since the
	// event before: because of MonitorOptions.Sample, and because the reader is
	// too slow.
	SampledOut, Dropped uint64
}

// MonitorSummary sums up what MonitorOptions let through, told of or not.
type MonitorSummary struct {
	Over                time.Duration // since the summary before, or the begin
	Operations, Errors  uint64
	P50, P99, Max       time.Duration
	SampledOut, Dropped uint64
}

// Monitor tells of the operations of a cache as they end. Make it with
// Cache.Monitor, end it with Close. It has room for about a thousand events; what
// comes while they are not read is counted and dropped, so that no call waits for
// it. One goroutine calls Read; the other methods are safe for concurrent use.
type Monitor struct {
	tap    *engine.Tap
	kinds  map[keys.Type]string
	buffer []engine.Event
}

// Monitor begins to tell of operations. While nobody does so it costs them
// nothing that can be measured.
//
// Errors: ErrInvalid, ErrBusy where MaxMonitors are at work, ErrClosed.
func (c *Cache) Monitor(o MonitorOptions) (*Monitor, error) {
	f := engine.TapFilter{Org: o.Org, Op: o.Operation, Errors: o.ErrorsOnly, Every: o.Sample}
	if o.Sample < 0 || o.Sample > MaxSample {
		return nil, invalid("sample %d: allowed are 1 to %d", o.Sample, MaxSample)
	}
	if ops := Operations(); o.Operation != "" && !slices.Contains(ops, o.Operation) {
		return nil, invalid("unknown operation %q: allowed are %s", o.Operation, strings.Join(ops, ", "))
	}
	if o.Org != "" {
		if _, err := keys.ParseOrg(o.Org); err != nil {
			return nil, mapError(context.Background(), "monitor", err)
		}
	}
	m := &Monitor{kinds: map[keys.Type]string{keys.Conversations: ConversationKind}}
	for name, k := range c.kinds {
		m.kinds[k.typ] = name
	}
	for typ, name := range m.kinds {
		if name == o.Kind {
			f.Type = string(typ)
		}
	}
	if o.Kind != "" && f.Type == "" {
		return nil, invalid("unknown kind %q: allowed are %s", o.Kind, c.kindNames())
	}
	var err error
	m.tap, err = c.engine.Tap(f)
	if errors.Is(err, engine.ErrTaps) {
		return nil, fmt.Errorf("%w: %d monitors are at work, the most at a time; end one of them", ErrBusy, MaxMonitors)
	}
	if err != nil {
		return nil, mapError(context.Background(), "monitor", err)
	}
	return m, nil
}

// Read waits for an event and then takes all that are there and fit into events.
// It returns how many, at least 1 unless there is an error: that of ctx, or
// ErrClosed after Close of the monitor or the cache, when what was told before
// has been read.
func (m *Monitor) Read(ctx context.Context, events []MonitorEvent) (int, error) {
	if len(m.buffer) < len(events) {
		m.buffer = make([]engine.Event, len(events))
	}
	n, err := m.tap.Read(ctx, m.buffer[:len(events)])
	if err != nil {
		return 0, mapError(ctx, "monitor", err)
	}
	for i, ev := range m.buffer[:n] {
		events[i] = MonitorEvent{
			Time: ev.Time, Operation: ev.Op.String(), Kind: m.kind(ev.Type), Org: ev.Org, ID: ev.ID,
			Source: Source(ev.Source), Outcome: ev.Outcome.String(), Failed: ev.Outcome.Failed(),
			Took: ev.Took, Bytes: ev.Bytes, Count: ev.Count, SampledOut: ev.SampledOut, Dropped: ev.Dropped,
		}
	}
	return n, nil
}

func (m *Monitor) kind(t keys.Type) string {
	if name, ok := m.kinds[t]; ok {
		return name
	}
	return string(t)
}

// Summary returns the sums since the call before, and begins anew.
func (m *Monitor) Summary() MonitorSummary { return MonitorSummary(m.tap.Tally()) }

// Close ends the monitor. It may be called more than once.
func (m *Monitor) Close() { m.tap.Close() }
