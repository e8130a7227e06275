package near

import (
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/jackcache/jackcache/internal/keys"
)

// benchKeys are as many as a warm tier is asked for.
func benchKeys(f *fixture, n int) []keys.Key {
	all := make([]keys.Key, n)
	for i := range all {
		all[i] = f.key("org-123", id(i))
	}
	return all
}

// BenchmarkHit compares a fresh hit with otter's own, in turns of 1024 hits, so that
// what else the machine does strikes both.
func BenchmarkHit(b *testing.B) {
	f := newFixture(b, Options{MaxBytes: 64 << 20})
	all := benchKeys(f, 1024)
	raw, err := otter.New(&otter.Options[string, *Item]{
		MaximumWeight:    64 << 20,
		Weigher:          func(k string, it *Item) uint32 { return uint32(len(k) + it.Size) },
		ExpiryCalculator: otter.ExpiryWriting[string, *Item](time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer raw.StopAllGoroutines()
	for _, k := range all {
		it := item(1)
		f.mustFill(k, it)
		raw.Set(k.String(), &it)
	}
	var ours, theirs time.Duration
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		start := time.Now()
		for _, k := range all {
			if _, fresh := f.Tier.Get(k.String(), nil, f.c); !fresh {
				b.Fatal("not fresh")
			}
		}
		middle := time.Now()
		for _, k := range all {
			if _, ok := raw.GetIfPresent(k.String()); !ok {
				b.Fatal("missing")
			}
		}
		ours += middle.Sub(start)
		theirs += time.Since(middle)
	}
	per := float64(b.N * len(all))
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours.Nanoseconds())/per, "ns/hit")
	b.ReportMetric(float64(theirs.Nanoseconds())/per, "ns/otter")
	b.ReportMetric(float64(ours)/float64(theirs), "x-otter")
}

func BenchmarkHitParallel(b *testing.B) {
	f := newFixture(b, Options{MaxBytes: 64 << 20})
	all := benchKeys(f, 1024)
	for _, k := range all {
		f.mustFill(k, item(1))
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			f.Tier.Get(all[i%len(all)].String(), nil, f.c)
		}
	})
}

func BenchmarkFill(b *testing.B) {
	f := newFixture(b, Options{MaxBytes: 64 << 20})
	all := benchKeys(f, 1024)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f.fill(all[i%len(all)], item(int64(i)))
	}
}

// BenchmarkChanged: what is told of keys that are not kept, of keys that are, and
// of an organisation.
func BenchmarkChanged(b *testing.B) {
	f := newFixture(b, Options{MaxBytes: 64 << 20})
	all := benchKeys(f, 1024)
	names := make([][]string, len(all))
	for i, k := range all {
		names[i] = []string{k.String()}
	}
	b.Run("absent", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			f.Changed(names[i%len(names)])
		}
	})
	b.Run("fill and drop", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			f.fill(all[i%len(all)], item(1))
			f.Changed(names[i%len(names)])
		}
	})
	b.Run("organisation", func(b *testing.B) {
		end := []string{f.space.Generation(f.org("org-123"))}
		b.ReportAllocs()
		for b.Loop() {
			f.Changed(end)
		}
	})
}
