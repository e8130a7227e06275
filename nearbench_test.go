package jackcache_test

import (
	"fmt"
	"testing"

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
	b.Run("otter", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := raw.GetIfPresent("jack:dev:talk:org-1:x"); !ok {
				b.Fatal("gone")
			}
		}
	})
	b.Run("value", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := kind.Get(ctx, org, "x"); err != nil {
				b.Fatal(err)
			}
		}
	})
	ref := kind.Ref(org, "x")
	b.Run("ref", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ref.Get(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("conversation", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if t, err := conv.Messages(ctx, jackcache.ReadOptions{Last: 20, Shared: true}); err != nil || len(t.Messages) != 20 {
				b.Fatal(err)
			}
		}
	})
	b.Run("conversation copied", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if t, err := conv.Messages(ctx, jackcache.ReadOptions{Last: 20}); err != nil || len(t.Messages) != 20 {
				b.Fatal(err)
			}
		}
	})
}
