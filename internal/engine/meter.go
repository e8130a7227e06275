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

// Latency is what was measured of one operation. Durations are of the last one
// to two minutes, counts since the start.
type Latency struct {
	Count, Errors      uint64
	P50, P99, Max, Sum time.Duration
}

type meter struct {
	count, errors, sum atomic.Uint64

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

func (m *meters) done(op Operation, d time.Duration, err error) {
	t := &m.of[op]
	t.count.Add(1)
	t.sum.Add(uint64(d))
	if err != nil {
		t.errors.Add(1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnLocked(time.Now())
	// Beyond the highest value the histogram refuses; it counts as the highest.
	_ = t.now.RecordValue(min(max(d, time.Microsecond), longest).Microseconds())
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
		out[Operation(i).String()] = Latency{
			Count: t.count.Load(), Errors: t.errors.Load(), Sum: time.Duration(t.sum.Load()),
			P50: micros(h.ValueAtQuantile(50)), P99: micros(h.ValueAtQuantile(99)), Max: micros(h.Max()),
		}
	}
	return out
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
