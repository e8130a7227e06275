package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// timings is a histogram for many writers, in microseconds.
type timings struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram // guarded by mu
}

func newTimings() timings {
	return timings{h: hdrhistogram.New(1, time.Minute.Microseconds(), 2)}
}

func (t *timings) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.h.RecordValue(min(max(d, 0), time.Minute).Microseconds()) // within bounds by min
}

func (t *timings) at(percent float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Duration(t.h.ValueAtQuantile(percent)) * time.Microsecond
}

func (t *timings) merge(other *timings) {
	other.mu.Lock()
	defer other.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.h.Merge(other.h)
}

// cell is what was counted while one kind of fault was there, from its injection
// until everything was healthy again.
type cell struct {
	name         string
	times        int   // written by the schedule alone
	replayed     int64 // likewise; -1: not known
	writes       [len(outcomes)]atomic.Int64
	reads        atomic.Int64
	readsRefused atomic.Int64
	calls        timings       // of all calls, from their intended start
	control      timings       // of the same schedule with nothing to do
	found        [breaches]int // written by the checker alone
}

func newCell(name string) *cell {
	return &cell{name: name, replayed: -1, calls: newTimings(), control: newTimings()}
}

func (c *cell) written() (all, acknowledged int64) {
	for o := range c.writes {
		all += c.writes[o].Load()
		if outcome(o).acknowledged() {
			acknowledged += c.writes[o].Load()
		}
	}
	return all, acknowledged
}

func (c *cell) merge(other *cell) {
	c.times += other.times
	if other.replayed >= 0 {
		c.replayed = max(c.replayed, 0) + other.replayed
	}
	for o := range c.writes {
		c.writes[o].Add(other.writes[o].Load())
	}
	c.reads.Add(other.reads.Load())
	c.readsRefused.Add(other.readsRefused.Load())
	c.calls.merge(&other.calls)
	c.control.merge(&other.control)
	for b := range c.found {
		c.found[b] += other.found[b]
	}
}

// healthy is the number of the cell for the time without faults.
const healthy = 0

// meter has a cell for each kind of fault.
type meter struct {
	cells   []*cell
	current atomic.Int32 // the number of the cell that counts now
}

func newMeter(faults []fault) *meter {
	m := &meter{cells: []*cell{newCell("none")}}
	for _, f := range faults {
		m.cells = append(m.cells, newCell(f.name))
	}
	return m
}

// cell returns the one for a call: where a fault was there at its start or at its
// end, that of the fault.
func (m *meter) cell(atStart int32) *cell {
	if now := m.current.Load(); now != healthy {
		return m.cells[now]
	}
	return m.cells[atStart]
}

// pace calls step at a fixed rate until done is closed, whatever steps take, and
// tells each when it was meant to start.
func pace(done <-chan struct{}, first time.Time, interval time.Duration, step func(intended time.Time)) {
	for n := 0; ; n++ {
		intended := first.Add(time.Duration(n) * interval)
		select {
		case <-done:
			return
		default:
		}
		if wait := time.Until(intended); wait > 0 {
			time.Sleep(wait)
		}
		step(intended)
	}
}
