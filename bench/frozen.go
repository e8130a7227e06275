package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/openloop"
	"github.com/jackcache/jackcache/internal/redistest"
)

// frozen measures calls on a fixed schedule while Redis is stopped by SIGSTOP,
// from their intended start, beside a timer with nothing to do; and how long
// after SIGCONT all callers are served again.
func (e *environment) frozen() error {
	dir := filepath.Join(e.dir, "frozen")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	redis, err := redistest.Launch(dir)
	if err != nil {
		return err
	}
	defer redis.Close()
	ctx := context.Background()
	a, err := assistant.Open(ctx, jackcache.Options{
		DataDir: filepath.Join(dir, "data"), Redis: &jackcache.RedisOptions{Addrs: []string{redis.Addr()}}, Logger: slog.New(slog.DiscardHandler),
	}, assistant.TTLs{})
	if err != nil {
		return err
	}
	org := a.Cache.Org("frozen")
	call := func(caller, n int) error {
		c := org.Conversation(fmt.Sprintf("+1604555%04d", caller))
		if n%2 == 0 {
			_, err := c.Raw(ctx, jackcache.ReadOptions{})
			return err
		}
		_, err := c.Append(ctx, jackcache.Message{ID: fmt.Sprintf("%d-%d", caller, n), Role: "user", Content: "hi"})
		return err
	}
	const callers = 64
	redis.Freeze()
	r := openloop.Run(openloop.Schedule{Callers: callers, Rate: 50, For: 5 * time.Second}, call)
	redis.Thaw()
	thawed := time.Now()
	for served := 0; served < callers; served++ {
		if call(served, served) != nil {
			served = -1 // from the start: all have to be served in a row
		}
	}
	recovered := time.Since(thawed)
	p999, control := r.Latency.ValueAtQuantile(99.9), r.Control.ValueAtQuantile(99.9)
	fmt.Printf("| Redis frozen for 5 s, 64 callers at 50 calls/s: %d calls, %d answered with a typed error; p50 / p99 / p99.9 / max from the intended start | %.1f / %.1f / %.1f / %.1f ms |\n",
		r.Calls, r.Errors, ms(r.Latency.ValueAtQuantile(50)), ms(r.Latency.ValueAtQuantile(99)), ms(p999), ms(r.Latency.Max()))
	fmt.Printf("| the same schedule with nothing to do: p99.9; aim for the calls: 25 ms + that | %.1f ms; %.1f ms |\n", ms(control), 25+ms(control))
	fmt.Printf("| all callers served after SIGCONT, aim 1 s | %.0f ms |\n", ms(recovered.Microseconds()))
	return a.Close(ctx)
}

func ms(micros int64) float64 { return float64(micros) / 1000 }
