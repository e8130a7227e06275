package jackcache_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// BenchmarkInvalidate tells how long Invalidate takes until all instances have seen
// it, each with a copy of a value of the organisation.
func BenchmarkInvalidate(b *testing.B) {
	for _, n := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(n, " instances"), func(b *testing.B) {
			server := redistest.Start(b)
			var as []*assistant.Assistant
			for range n {
				as = append(as, instance(b, server, copies, patient))
			}
			took := make([]time.Duration, 0, b.N)
			b.ResetTimer()
			for i := range b.N {
				b.StopTimer()
				if _, err := as[0].Kinds.AgentConfig.Set(b.Context(), as[0].Cache.Org("org-1"), "x", raw(`1`)); err != nil {
					b.Fatal(err)
				}
				for _, a := range as {
					_, _ = a.Kinds.AgentConfig.Get(b.Context(), a.Cache.Org("org-1"), "x") // it keeps a copy
				}
				b.StartTimer()
				begun := time.Now()
				if err := as[i%n].Cache.Org("org-1").Invalidate(b.Context()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "µs-max")
		})
	}
}
