package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

// BenchmarkGet reads a value that stays in the process, the cheapest operation,
// and one of the embedded store, while nobody listens and while one does who
// does not read.
func BenchmarkGet(b *testing.B) {
	local, embedded := Policy{TTL: time.Hour, LocalOnly: true}, Policy{TTL: time.Hour}
	for name, p := range map[string]Policy{"local": local, "embedded": embedded, "local/tapped": local, "embedded/tapped": embedded} {
		b.Run(name, func(b *testing.B) {
			f := newFixture(b)
			if strings.HasSuffix(name, "/tapped") {
				f.tap(TapFilter{})
			}
			k := f.key("org-1", "agent-1")
			if _, err := f.Set(b.Context(), k, []byte(`{"name":"Ada"}`), p, store.Condition{}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if v, err := f.Get(b.Context(), k, p); err != nil || !v.Found {
					b.Fatal(v, err)
				}
			}
		})
	}
}
