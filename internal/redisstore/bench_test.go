package redisstore

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/redistest"
)

// What it costs a server that a process hears of each of its writes, and what it
// costs to prove it. Processor time of the server is reported for each write.
func BenchmarkHeard(b *testing.B) {
	for _, listeners := range []int{0, 1, 4} {
		b.Run(strconv.Itoa(listeners), func(b *testing.B) {
			server := redistest.Start(b)
			for range listeners {
				o := Options{
					Space: devSpaceOf(b), Mode: Standalone, Addrs: []string{server.Addr()}, Connections: 1, InFlight: 2048,
					Timeout: time.Second, Clock: clock.New(nil, 1, nil), Listener: &heard{}, Logger: slog.New(slog.DiscardHandler),
				}
				s, err := Open(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = s.Close(context.Background()) }()
			}
			w, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, ForceSingleClient: true, DisableCache: true})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			before := server.CPU()
			b.ResetTimer()
			for i := range b.N {
				name := "jack:dev:lead:a:" + strconv.Itoa(i%1000)
				if err := w.Do(b.Context(), w.B().Set().Key(name).Value("1").Build()).Error(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(server.CPU()-before)/float64(b.N), "redis-ns/op")
		})
	}
}
