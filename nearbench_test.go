package jackcache_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// dialogue is a conversation as a value.
type dialogue struct {
	Messages []struct{ ID, Role, Content string }
}

// BenchmarkNear compares reads of a copy with one of otter alone.
func BenchmarkNear(b *testing.B) {
	server := redistest.Start(b)
	kind := jackcache.NewKind[dialogue](jackcache.KindOptions{Name: "talk", TTL: 1 << 42, Immutable: true})
	a := instance(b, server, copies, patient, func(o *jackcache.Options) { o.Kinds = append(o.Kinds, kind) })
	ctx, org := b.Context(), a.Cache.Org("org-1")
	conv := org.Conversation(phone(1))
	var v dialogue
	for i := range 20 {
		m := message(fmt.Sprint("message-", i), fmt.Sprintf("%0200d", i))
		if _, err := conv.Append(ctx, m); err != nil {
			b.Fatal(err)
		}
		v.Messages = append(v.Messages, struct{ ID, Role, Content string }{m.ID, "user", m.Content})
	}
	if _, err := kind.Set(ctx, org, "x", v); err != nil {
		b.Fatal(err)
	}
	warm(b, "the value", func() jackcache.Source { e, _ := kind.Entry(ctx, org, "x"); return e.Source })
	warm(b, "the conversation", func() jackcache.Source {
		t, _ := conv.Messages(ctx, jackcache.ReadOptions{Last: 20})
		return t.Source
	})
	raw := otter.Must(&otter.Options[string, *dialogue]{MaximumSize: 1000})
	raw.Set("jack:dev:talk:org-1:x", &v)
	ref := kind.Ref(org, "x")
	readOtter := func() bool { _, ok := raw.GetIfPresent("jack:dev:talk:org-1:x"); return ok }
	for _, bench := range []struct {
		name string
		read func() bool
	}{
		{"otter", readOtter},
		{"ref", func() bool { _, err := ref.Get(ctx); return err == nil }},
		{"value", func() bool { _, err := kind.Get(ctx, org, "x"); return err == nil }},
		{"conversation", func() bool {
			t, err := conv.Messages(ctx, jackcache.ReadOptions{Last: 20, Shared: true})
			return err == nil && len(t.Messages) == 20
		}},
		{"conversation copied", func() bool {
			t, err := conv.Messages(ctx, jackcache.ReadOptions{Last: 20})
			return err == nil && len(t.Messages) == 20
		}},
	} {
		b.Run(bench.name, func(b *testing.B) { inTurns(b, readOtter, bench.read) })
		b.Run(bench.name+" by all", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if !bench.read() {
						b.Error("gone")
						return
					}
				}
			})
		})
	}
}

// inTurns measures ours beside theirs in short turns, so that what else the machine does
// strikes both, and reports the medians of the turns.
func inTurns(b *testing.B, theirs, ours func() bool) {
	const reads = 256
	var alone, both []float64
	turn := func(read func() bool) float64 {
		start := time.Now()
		for range reads {
			if !read() {
				b.Fatal("gone")
			}
		}
		return float64(time.Since(start).Nanoseconds()) / reads
	}
	b.ReportAllocs()
	for b.Loop() {
		limit := turn(theirs)
		took := turn(ours)
		alone, both = append(alone, took), append(both, took/limit)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(alone), "ns/read")
	b.ReportMetric(median(both), "x-otter")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
