package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// benchCallers append at once, records of about benchBytes.
const (
	benchCallers = 64
	benchBytes   = 300
)

func benchRecord(k keys.Key, n int) *Record {
	r := appendRecord(Applied, k, n)
	r.Op.Messages[0].Payload = make([]byte, benchBytes-100)
	r.Op.Window = store.Window{Messages: 200, Slack: 50, IDs: 1000}
	return r
}

// appendAll has b.N records appended by benchCallers.
func appendAll(b *testing.B, j *Journal, durable bool) {
	b.Helper()
	talks := make([]keys.Key, 10_000)
	for i := range talks {
		talks[i] = testKey(b, keys.Conversations, fmt.Sprint("org-", i%16), fmt.Sprint(i))
	}
	template := benchRecord(talks[0], 0)
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range benchCallers {
		wg.Go(func() {
			r := *template
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				r.Op.Key, r.Op.Version = talks[i%int64(len(talks))], version(int(i))
				if err := j.Append(context.Background(), durable, &r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkUnsynced is what an append costs while the shared store answers.
func BenchmarkUnsynced(b *testing.B) {
	o := testOptions(b)
	o.MaxBytes = 2 << 30
	j := openTest(b, o)
	before := cpuTime(b)
	appendAll(b, j, false)
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkDurable is what group commit gives, beside a loop that writes and
// syncs the same bytes in groups of all callers.
func BenchmarkDurable(b *testing.B) {
	o := testOptions(b)
	o.MaxBytes = 2 << 30
	j := openTest(b, o)
	before := j.Stats()
	appendAll(b, j, true)
	rate := float64(b.N) / b.Elapsed().Seconds()
	after := j.Stats()
	b.ReportMetric(rate, "appends/s")
	b.ReportMetric(float64(b.N)/float64(max(1, after.Syncs-before.Syncs)), "appends/sync")
	size := float64(after.Bytes-before.Bytes) / float64(b.N)
	b.ReportMetric(size, "bytes/append")
	b.ReportMetric(rate/perfect(b, int(size)*benchCallers), "of-perfect")
}

// perfect returns how many appends a second a loop of writes and syncs gives, of
// so many bytes each for all callers.
func perfect(b *testing.B, size int) float64 {
	f, err := os.Create(filepath.Join(b.TempDir(), "perfect"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }() // thrown away
	buf := make([]byte, size)
	start := time.Now()
	n := 0
	for time.Since(start) < max(b.Elapsed(), 200*time.Millisecond) {
		if _, err := f.Write(buf); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		n += benchCallers
	}
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkOpen reads a journal of 256 MiB.
func BenchmarkOpen(b *testing.B) {
	o := testOptions(b)
	o.MaxBytes = 2 << 30
	j := openTest(b, o)
	r := benchRecord(testKey(b, keys.Conversations, "org", "1"), 0)
	ctx := context.Background()
	for i := 0; j.Stats().Bytes < 256<<20; i++ {
		group := make([]*Record, 1000)
		for n := range group {
			c := *r
			c.Op.Key, c.Op.Version = testKey(b, keys.Conversations, fmt.Sprint("org-", n%16), fmt.Sprint(i%200, n)), version(i*1000+n)
			c.Op.Generation = 1
			group[n] = &c
		}
		if err := j.Append(ctx, false, group...); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(j.Stats().Bytes)
	closeTest(b, j)
	for b.Loop() {
		again, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		closeTest(b, again)
	}
}
