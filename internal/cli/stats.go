package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// stats is what this program reads of GET /api/cache/stats.
type stats struct {
	Version       string       `json:"version"`
	UptimeSeconds int64        `json:"uptimeSeconds"`
	Timestamp     time.Time    `json:"timestamp"`
	Store         store        `json:"store"`
	Journal       *journal     `json:"journal"`
	Near          nearStats    `json:"near"`
	Reclaim       reclaimStats `json:"reclaim"`
	Kinds         map[string]struct {
		Hits       uint64  `json:"hits"`
		Misses     uint64  `json:"misses"`
		Loads      uint64  `json:"loads"`
		HitRatio   float64 `json:"hitRatio"`
		TTLSeconds float64 `json:"ttlSeconds"`
	} `json:"kinds"`
	Operations map[string]struct {
		Count  uint64 `json:"count"`
		Errors uint64 `json:"errors"`
		MeanMs millis `json:"meanMs"`
		P50Ms  millis `json:"p50Ms"`
		P99Ms  millis `json:"p99Ms"`
		MaxMs  millis `json:"maxMs"`
	} `json:"operations"`
	Cache struct {
		Cache struct {
			Config struct {
				KeyPrefix string `json:"keyPrefix"`
			} `json:"config"`
		} `json:"cache"`
	} `json:"cache"`
}

func (a *app) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Print hits, counts and latencies since the server started",
		Long: `Prints reads by kind, operations with their latencies, the copies that the process
keeps of what Redis has, the space that is given back of invalidated organisations, and
the journal: counts and means since the start of the
server, percentiles of the last one to two minutes.`,
		Example: `  jackcache stats
  jackcache stats --json | jq .kinds
  jackcache stats --json | jq .near`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), existing, a.stats)
		},
	}
}

func (a *app) stats(ctx context.Context, c *client) error {
	var s stats
	data, err := c.get(ctx, "/api/cache/stats", &s)
	if err != nil {
		return err
	}
	if a.json {
		return a.printRaw(data)
	}
	fmt.Fprintf(a.out, "store %s, %s keys, %s, keys begin with %s, version %s, up %s\n",
		s.Store.Kind, grouped(s.Store.Keys), bytesShown(s.Store.UsedBytes), s.Cache.Cache.Config.KeyPrefix,
		printable(s.Version), time.Duration(s.UptimeSeconds)*time.Second)
	showNear(a.out, s.Near)
	showReclaim(a.out, s.Reclaim)
	showJournal(a.out, s.Journal, s.Timestamp)
	fmt.Fprintln(a.out)
	var kinds [][]any
	for _, name := range slices.Sorted(maps.Keys(s.Kinds)) {
		k := s.Kinds[name]
		ratio := "-"
		if k.Hits+k.Misses > 0 {
			ratio = fmt.Sprintf("%.1f %%", 100*k.HitRatio)
		}
		kinds = append(kinds, []any{name, k.Hits, k.Misses, k.Loads, ratio, spanText(time.Duration(k.TTLSeconds * float64(time.Second)))})
	}
	a.rows([]string{"kind", "hits", "misses", "loads", "hit ratio", "ttl"}, kinds)
	var operations [][]any
	for _, name := range slices.Sorted(maps.Keys(s.Operations)) {
		if o := s.Operations[name]; o.Count > 0 {
			operations = append(operations, []any{name, o.Count, o.Errors, o.MeanMs, o.P50Ms, o.P99Ms, o.MaxMs})
		}
	}
	if len(operations) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	a.rows([]string{"operation", "count", "errors", "mean", "p50", "p99", "max"}, operations)
	return nil
}
