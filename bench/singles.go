package main

import (
	"context"
	"fmt"

	"github.com/jackcache/jackcache"
)

// alone are measurements with servers and caches of their own, below a directory.
var alone = []struct {
	name string
	run  func(dir string) error
}{{"frozen", frozen}, {"replay", replayed}, {"start", started}}

// singles prints what is not a comparison of rates.
func (e *environment) singles() error {
	fmt.Printf("\n| what | value |\n|---|---|\n")
	value := value5k()
	for _, s := range []struct{ name, key string }{
		{"value stored as it is, header included", "jack:dev:rawValue:bench:1"},
		{"value stored as zstd, header included", "jack:dev:zstdValue:bench:1"},
	} {
		n, err := e.plain.Do(context.Background(), e.plain.B().Strlen().Key(s.key).Build()).AsInt64()
		if err != nil {
			return err
		}
		fmt.Printf("| %s, of %d B of JSON | %d B (%.2f) |\n", s.name, len(value), n, float64(n)/float64(len(value)))
	}
	if err := e.growth(); err != nil {
		return err
	}
	for _, a := range alone {
		if err := a.run(e.dir); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return nil
}

// growth measures the CPU of Redis per append to a conversation with few and
// with many messages, all with fresh ids.
func (e *environment) growth() error {
	const appends = 2000
	measure := func(before int) (float64, error) {
		ctx := context.Background()
		c := e.shared.Cache.Org("growth").Conversation(fmt.Sprintf("+1604555%04d", before))
		for i := 0; i < before; i += 50 {
			msgs := make([]jackcache.Message, 50)
			for j := range msgs {
				msgs[j] = jackcache.Message{ID: fmt.Sprintf("b%d", i+j), Role: "user", Content: "before"}
			}
			if _, err := c.Append(ctx, msgs...); err != nil {
				return 0, err
			}
		}
		start := e.redis.CPU()
		for i := range appends {
			if _, err := c.Append(ctx, jackcache.Message{ID: fmt.Sprintf("a%d", i), Role: "user", Content: conversationText}); err != nil {
				return 0, err
			}
			if i%before == before-1 && before < appends {
				// Keep the small one small.
				if err := c.Clear(ctx); err != nil {
					return 0, err
				}
			}
		}
		return float64((e.redis.CPU() - start).Microseconds()) / appends, nil
	}
	var ratios []float64
	for range 5 {
		small, err := measure(50)
		if err != nil {
			return err
		}
		large, err := measure(5000)
		if err != nil {
			return err
		}
		ratios = append(ratios, large/small)
		fmt.Printf("| CPU of Redis per append after 50 and after 5,000 fresh ids, window 10,000 | %.1f and %.1f µs (%.2f, aim ≤ 1.5) |\n", small, large, large/small)
		if err := e.shared.Cache.Org("growth").Invalidate(context.Background()); err != nil {
			return err
		}
	}
	fmt.Printf("| the median of that ratio | %.2f |\n", median(ratios, func(r float64) float64 { return r }))
	return nil
}

var conversationText = conversation(1, 3)[0].Content
