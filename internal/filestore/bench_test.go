package filestore

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func openBench(b *testing.B) *Store {
	b.Helper()
	s, err := Open(filepath.Join(b.TempDir(), "store.db"), Options{Space: mustSpace(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return s
}

// BenchmarkAppendSynced appends one message at a time to conversations of up
// to 200, from so many callers at once.
func BenchmarkAppendSynced(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := openBench(b)
			hlc := clock.New(nil, 1, nil)
			var talks []keys.Key
			for i := range callers {
				talks = append(talks, key(b, s.names.space, keys.Conversations, fmt.Sprint("org-", i%4), fmt.Sprint(i)))
			}
			var next atomic.Int64
			before := s.commits.Load()
			b.ResetTimer()
			var wg sync.WaitGroup
			for n := range callers {
				wg.Go(func() {
					for {
						i := next.Add(1)
						if i > int64(b.N) {
							return
						}
						op := appendAt(talks[n], hlc.Now(), fmt.Sprintf("message-%d", i))
						op.Window = store.Window{Messages: 200, Slack: 50, IDs: 1000}
						if res, err := s.Apply(context.Background(), op); err != nil || res.Status != store.Applied {
							b.Errorf("status %d, %v", res.Status, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(b.N)/float64(max(1, s.commits.Load()-before)), "appends/commit")
		})
	}
}

// BenchmarkAppendLong appends to one conversation of so many messages: the
// cost must not grow with it.
func BenchmarkAppendLong(b *testing.B) {
	for _, messages := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			s := openBench(b)
			hlc := clock.New(nil, 1, nil)
			talk := key(b, s.names.space, keys.Conversations, "org", "1")
			window := store.Window{Messages: messages, Slack: messages / 4, IDs: 2 * messages}
			add := func(ids ...string) {
				op := appendAt(talk, hlc.Now(), ids...)
				op.Window = window
				if res, err := s.Apply(context.Background(), op); err != nil || res.Status != store.Applied {
					b.Fatalf("status %d, %v", res.Status, err)
				}
			}
			for i := 0; i < messages; i += 100 {
				var ids []string
				for j := range 100 {
					ids = append(ids, fmt.Sprintf("first-%d", i+j))
				}
				add(ids...)
			}
			for i := 0; b.Loop(); i++ {
				add(fmt.Sprintf("message-%d", i))
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := openBench(b)
	hlc := clock.New(nil, 1, nil)
	k := key(b, s.names.space, "lead", "org", "1")
	op := store.Op{Action: store.Set, Key: k, Version: hlc.Now(), TTL: 1 << 40, Payload: make([]byte, 300)}
	if _, err := s.Apply(context.Background(), op); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Get(context.Background(), k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessages(b *testing.B) {
	s := openBench(b)
	hlc := clock.New(nil, 1, nil)
	talk := key(b, s.names.space, keys.Conversations, "org", "1")
	for i := range 200 {
		if _, err := s.Apply(context.Background(), appendAt(talk, hlc.Now(), fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
	for _, last := range []int{10, 0} {
		b.Run(fmt.Sprintf("last=%d", last), func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Messages(context.Background(), talk, last); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
