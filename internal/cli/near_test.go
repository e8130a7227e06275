package cli

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
)

// TestNearIsShown: what is counted is shown in few lines, and nothing where there are
// no copies.
func TestNearIsShown(t *testing.T) {
	for _, shown := range []struct {
		n    nearStats
		want string
	}{
		{nearStats{}, ""},
		{nearStats{Enabled: true, MaxBytes: 256 << 20}, `near 0 copies, 0 B of 256.0 MiB, of 0 organisations
  looks      current 0, not proven to be 0, none 0; hit ratio -
  kept       0; evicted 0
`},
		{nearStats{
			Enabled: true, Entries: 1234, Bytes: 3 << 20, MaxBytes: 256 << 20, Fresh: 9000, Stale: 10, Misses: 990, HitRatio: 0.9,
			Fills: 1500, Refused: 7, RefusedFor: map[string]uint64{"told": 4, "noShare": 3}, Evictions: 266, Organisations: 12,
		}, `near 1,234 copies, 3.0 MiB of 256.0 MiB, of 12 organisations
  looks      current 9,000, not proven to be 10, none 990; hit ratio 90.0 %
  kept       1,500; evicted 266
  not kept   7: changed meanwhile 4, no room in the share 3
`},
	} {
		var out bytes.Buffer
		showNear(&out, shown.n)
		if out.String() != shown.want {
			t.Errorf("shown is\n%s\nwant\n%s", out.String(), shown.want)
		}
	}
}

// TestRefusalsHaveWords: each reason for which a copy is not kept is shown.
func TestRefusalsHaveWords(t *testing.T) {
	var fields []string
	for f := range reflect.TypeFor[jackcache.NearRefusals]().Fields() {
		fields = append(fields, strings.ToLower(f.Name[:1])+f.Name[1:])
	}
	var words []string
	for _, r := range refusals {
		words = append(words, r.name)
	}
	if !reflect.DeepEqual(fields, words) {
		t.Errorf("words for %q, want %q", words, fields)
	}
}

// TestNearHealthIsShown: in one line where all is well, and of each server.
func TestNearHealthIsShown(t *testing.T) {
	var out bytes.Buffer
	showNearHealth(&out, nearHealth{})
	showNearHealth(&out, nearHealth{Enabled: true, MaxBytes: 1 << 20, FreshnessMs: 1500, Problem: "it is\x1b[31m refused"})
	if want := `near up to 1.0 MiB, current for 1.5s after each proof
  problem    it is` + "\uFFFD" + `[31m refused
`; out.String() != want {
		t.Errorf("shown is\n%s\nwant\n%s", out.String(), want)
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n := node{Addr: "h:1", State: "up", Since: since, Near: &nearProof{Proven: true, AgeMs: 12.5, Since: since}}
	if got, want := n.String(), "h:1, up since 2026-01-02T03:04:05Z, changes are heard of, proven 12.50 ms ago"; got != want {
		t.Errorf("shown is %q, want %q", got, want)
	}
	n.Near = &nearProof{Since: since, Problem: "no right"}
	if got, want := n.String(), "h:1, up since 2026-01-02T03:04:05Z, changes are not heard of since 2026-01-02T03:04:05Z: no right"; got != want {
		t.Errorf("shown is %q, want %q", got, want)
	}
}
