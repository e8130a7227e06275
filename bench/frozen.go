package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/openloop"
)

// frozen measures calls on a fixed schedule while Redis is stopped by SIGSTOP,
// with reads of two sizes.
func frozen(dir string) error {
	for _, last := range []int{20, 0} {
		if err := freeze(filepath.Join(dir, fmt.Sprint("frozen", last)), last); err != nil {
			return err
		}
	}
	return nil
}

// freeze measures calls from their intended start, half of them appends and half
// reads of the last messages, zero means all, beside a timer with nothing to do;
// and how long after SIGCONT nothing is pending.
func freeze(dir string, last int) error {
	r, err := newRig(dir, jackcache.Options{})
	if err != nil {
		return err
	}
	defer r.close()
	const callers, before = 64, 20
	ctx := context.Background()
	talks := make([]jackcache.Conversation, callers)
	for i := range talks {
		talks[i] = r.Cache.Org("frozen").Conversation(fmt.Sprintf("+1604555%04d", i))
		if err := fill(ctx, talks[i], before); err != nil {
			return err
		}
	}
	call := func(caller, n int) error {
		if n%2 != 0 {
			return say(ctx, talks[caller], fmt.Sprintf("%d-%d", caller, n))
		}
		t, err := talks[caller].Raw(ctx, jackcache.ReadOptions{Last: last})
		if err == nil && len(t.Messages) < before {
			err = fmt.Errorf("%d messages", len(t.Messages))
		}
		return err
	}
	r.redis.Freeze()
	cpu := processCPU()
	res := openloop.Run(openloop.Schedule{Callers: callers, Rate: 100, For: 5 * time.Second}, call)
	cpu = processCPU() - cpu
	waiting := r.pending()
	r.redis.Thaw()
	thawed := time.Now()
	if err := r.drained(time.Minute); err != nil {
		return err
	}
	took := time.Since(thawed)
	what := fmt.Sprintf("Redis frozen for 5 s, 64 callers at 100 calls/s, half appends, half reads of %s", reads(last))
	fmt.Printf("| %s: answered without error, aim 100 %% | %.3f %% of %d |\n", what, 100-100*float64(res.Errors)/float64(res.Calls), res.Calls)
	if res.FirstErr != nil {
		fmt.Printf("| the first error | %v |\n", res.FirstErr)
	}
	fmt.Printf("| p50 / p99 / p99.9 / max from the intended start; CPU of a call, the schedule's included | %s; %.0f µs |\n",
		quantiles(res.Latency), float64(cpu.Microseconds())/float64(res.Calls))
	fmt.Printf("| the same schedule with nothing to do; aim for the p99.9 of the calls: 25 ms + that of this | %s; %.1f ms |\n",
		quantiles(res.Control), 25+ms(res.Control.ValueAtQuantile(99.9)))
	fmt.Printf("| from SIGCONT until none of %d writes is pending | %.0f ms |\n", waiting, ms(took.Microseconds()))
	return nil
}

func reads(last int) string {
	if last == 0 {
		return "the whole window"
	}
	return fmt.Sprintf("%d messages", last)
}

// quantiles tells p50, p99, p99.9 and the maximum.
func quantiles(h *hdrhistogram.Histogram) string {
	return fmt.Sprintf("%.1f / %.1f / %.1f / %.1f ms",
		ms(h.ValueAtQuantile(50)), ms(h.ValueAtQuantile(99)), ms(h.ValueAtQuantile(99.9)), ms(h.Max()))
}

func ms(micros int64) float64 { return float64(micros) / 1000 }
