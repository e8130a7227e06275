package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Operation names what is measured.
type Operation uint8

// The operations.
const (
	OpGet Operation = iota
	OpGetMany
	OpSet
	OpDelete
	OpAppend
	OpReplace
	OpMessages
	OpInvalidate
	OpImport
	OpFill
	OpLoad
	OpList
	operations
)

var operationNames = [operations]string{
	"get", "getMany", "set", "delete", "append", "replace", "messages",
	"invalidate", "import", "fill", "load", "list",
}

// String returns the operation's name in stats.
func (o Operation) String() string { return operationNames[o] }

const (
	// meterWindow is the time that latencies are told of: between one and two
	// windows.
	meterWindow = time.Minute
	// longest is the highest latency that is told apart.
	longest = time.Minute
)

// Latency is what was measured of one operation. Counts and Sum are since the
// start, the other durations of the last one to two minutes, in which there
// were Recent operations.
type Latency struct {
	Count, Errors      uint64
	Outcomes           [outcomes]uint64 // by Outcome; Done stands for every success
	Recent             int64
	P50, P99, Max, Sum time.Duration
}

type meter struct {
	outcomes [outcomes]atomic.Uint64 // Done stands for every success
	sum      atomic.Uint64           // nanoseconds

	mu        sync.Mutex
	now, last *hdrhistogram.Histogram // guarded by mu: microseconds in this window and the one before
	turned    time.Time               // guarded by mu
}

type meters struct{ of [operations]meter }

func (m *meters) init() {
	for i := range m.of {
		m.of[i].now = newHistogram()
		m.of[i].last = newHistogram()
		m.of[i].turned = time.Now()
	}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), 2)
}

// done counts an operation that ends now.
func (m *meters) done(op Operation, start time.Time, o Outcome) {
	t, now := &m.of[op], time.Now()
	d := now.Sub(start)
	t.outcomes[o].Add(1)
	t.sum.Add(uint64(d))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnLocked(now)
	_ = t.now.RecordValue(histogrammed(d)) // it is within what the histogram holds
}

func (t *meter) turnLocked(now time.Time) {
	if now.Sub(t.turned) < meterWindow {
		return
	}
	t.now, t.last = t.last, t.now
	t.now.Reset()
	if now.Sub(t.turned) > 2*meterWindow {
		t.last.Reset()
	}
	t.turned = now
}

// Latencies returns what was measured, by operation name.
func (e *Engine) Latencies() map[string]Latency {
	out := make(map[string]Latency, operations)
	for i := range e.meters.of {
		t := &e.meters.of[i]
		t.mu.Lock()
		t.turnLocked(time.Now())
		h := newHistogram()
		h.Merge(t.now)
		h.Merge(t.last)
		t.mu.Unlock()
		l := Latency{
			Sum: time.Duration(t.sum.Load()), Recent: h.TotalCount(),
			P50: micros(h.ValueAtQuantile(50)), P99: micros(h.ValueAtQuantile(99)), Max: micros(h.Max()),
		}
		for o := range t.outcomes {
			l.Outcomes[o] = t.outcomes[o].Load()
			l.Count += l.Outcomes[o]
		}
		l.Errors = l.Count - l.Outcomes[Done]
		out[Operation(i).String()] = l
	}
	return out
}

// Totals returns how many operations there were since the start, and the time
// that they took together.
func (e *Engine) Totals(op Operation) (count uint64, sum time.Duration) {
	t := &e.meters.of[op]
	for o := range t.outcomes {
		count += t.outcomes[o].Load()
	}
	return count, time.Duration(t.sum.Load())
}

// histogrammed is a latency as a histogram takes it: what is beyond the highest
// value would be refused, and counts as the highest.
func histogrammed(d time.Duration) int64 {
	return min(max(d, time.Microsecond), longest).Microseconds()
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
