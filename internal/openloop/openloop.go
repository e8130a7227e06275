// Package openloop drives calls on a fixed schedule, whatever they take, and
// measures each from the moment it was meant to start. A driver that waits for
// one call before it starts the next would not see what callers see while a
// server hangs.
package openloop

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Schedule is how many callers make how many calls a second each, for how long.
type Schedule struct {
	Callers int
	Rate    float64
	For     time.Duration
}

// Result is what was measured. Control is the same schedule with nothing to do:
// what the machine's timers add by themselves.
type Result struct {
	Calls    int
	Errors   int
	Latency  *hdrhistogram.Histogram // microseconds from the intended start
	Control  *hdrhistogram.Histogram // microseconds
	FirstErr error
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Microseconds(), 3)
}

// Run makes calls until the schedule ends. Call gets the numbers of the caller
// and of its call.
func Run(s Schedule, call func(caller, n int) error) Result {
	res := Result{Latency: newHistogram(), Control: newHistogram()}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now().Add(10 * time.Millisecond)
	for caller := range s.Callers {
		wg.Add(2)
		go func() {
			defer wg.Done()
			h, calls, errs, first := drive(s, start, caller, call)
			mu.Lock()
			defer mu.Unlock()
			res.Latency.Merge(h)
			res.Calls += calls
			res.Errors += errs
			if res.FirstErr == nil {
				res.FirstErr = first
			}
		}()
		go func() {
			defer wg.Done()
			h, _, _, _ := drive(s, start, caller, func(int, int) error { return nil })
			mu.Lock()
			defer mu.Unlock()
			res.Control.Merge(h)
		}()
	}
	wg.Wait()
	return res
}

func drive(s Schedule, start time.Time, caller int, call func(caller, n int) error) (h *hdrhistogram.Histogram, calls, errs int, first error) {
	h = newHistogram()
	interval := time.Duration(float64(time.Second) / s.Rate)
	phase := interval * time.Duration(caller) / time.Duration(s.Callers)
	for n := 0; ; n++ {
		intended := start.Add(phase + time.Duration(n)*interval)
		if intended.Sub(start) >= s.For {
			return h, calls, errs, first
		}
		time.Sleep(time.Until(intended))
		if err := call(caller, n); err != nil {
			errs++
			if first == nil {
				first = err
			}
		}
		calls++
		_ = h.RecordValue(min(time.Since(intended), time.Minute).Microseconds()) // within bounds by min
	}
}
