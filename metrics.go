package jackcache

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
)

// scope names this package to providers.
const scope = "github.com/jackcache/jackcache"

// tracer returns nil where nobody wants spans.
func (o Options) tracer() trace.Tracer {
	if o.TracerProvider == nil {
		return nil
	}
	return o.TracerProvider.Tracer(scope)
}

// meter returns nil where nobody collects metrics.
func (o Options) meter() metric.Meter {
	if o.MeterProvider == nil {
		return nil
	}
	return o.MeterProvider.Meter(scope)
}

// typeNames are the kinds of the types of keys.
func (c *Cache) typeNames() map[keys.Type]string {
	names := map[keys.Type]string{keys.Conversations: ConversationKind}
	for name, k := range c.kinds {
		names[k.typ] = name
	}
	return names
}

// reading is what one collection tells of.
type reading struct {
	opts      Options
	stats     Stats
	health    Health
	latencies map[string]engine.Latency
}

// instrument is one metric. It is read when a provider collects: calls pay for
// the counters of Stats and nothing else.
type instrument struct {
	name, unit, about string
	rises             bool // a counter, otherwise a gauge
	tell              func(r *reading, say say)
}

// say reports one value; labels are names and values by turns.
type say func(v float64, labels ...string)

// metrics is the list of them. docs/metrics.md has it for readers.
var metrics = slices.Concat(cacheMetrics, nearMetrics, journalMetrics, reclaimMetrics)

var cacheMetrics = []instrument{
	{"jackcache.gets", "{get}", "Values and conversations that were asked for and answered.", true, tellGets},
	{"jackcache.loads", "{load}", "Reads that a loader answered; they are misses, too.", true, tellLoads},
	{"jackcache.loads.stale", "{load}", "Reads with a loader that a stale value answered, by reason.", true, tellStale},
	{"jackcache.operations", "{operation}", "Operations that asked the store, or waited for what another caller of the process asked it, by what became of them.", true, tellOperations},
	{"jackcache.operation.time", "s", "The time that operations took together.", true, tellTime},
	{"jackcache.operation.latency", "s", "Percentiles of the last one to two minutes of this instance.", false, tellLatency},
	{"jackcache.refreshes", "{refresh}", "Longer lives that reads of sliding kinds asked the store for, by what became of it.", true, tellRefreshes},
	{"jackcache.budget", "s", "What an operation on one key may take.", false, func(r *reading, say say) { say(r.opts.budget().Seconds()) }},
	{"jackcache.start.time", "s", "When the cache was opened, as Unix time.", false, func(r *reading, say say) { say(float64(r.stats.Started.UnixMilli()) / 1000) }},
	{"jackcache.local.entries", "{entry}", "Entries of the kinds that stay in the process.", false, func(r *reading, say say) { say(float64(r.stats.Local.Entries)) }},
	{"jackcache.local.bytes", "By", "What the kinds that stay in the process take.", false, func(r *reading, say say) { say(float64(r.stats.Local.Bytes)) }},
	{"jackcache.local.limit", "By", "What the kinds that stay in the process may take.", false, func(r *reading, say say) { say(float64(r.stats.Local.MaxBytes)) }},

	{"jackcache.health.status", "", "1 for the verdict of the health report.", false, tellStatus},
	{"jackcache.health.problems", "{problem}", "Problems and warnings that the health report names.", false, func(r *reading, say say) { say(float64(len(r.health.Problems))) }},
	{"jackcache.store.state", "", "1 for the state of the store.", false, tellState},
	{"jackcache.store.info", "", "Always 1; what the store says of itself.", false, tellStore},
	{"jackcache.store.keys", "{key}", "Keys in the store.", false, func(r *reading, say say) { say(float64(r.health.Store.Keys)) }},
	{"jackcache.store.used", "By", "What the store takes.", false, func(r *reading, say say) { say(float64(r.health.Store.UsedBytes)) }},
	{"jackcache.store.limit", "By", "What the store may take.", false, tellLimit},
	{"jackcache.store.used.ratio", "1", "What the store takes over what it may take.", false, tellRatio},
	{"jackcache.store.in_flight", "{command}", "Commands that wait for an answer of the store.", false, func(r *reading, say say) { say(float64(r.health.Store.InFlight)) }},
	{"jackcache.store.reconnects", "{connection}", "Connections to the store that were lost.", true, func(r *reading, say say) { say(float64(r.health.Store.Reconnects)) }},
	{"jackcache.breaker.state", "", "1 for the state of the guard in front of each master.", false, tellBreakers},
	{"jackcache.node.used", "By", "Memory that the master uses.", false, func(r *reading, say say) {
		tellNodes(r, say, func(n NodeHealth) int64 { return n.UsedBytes })
	}},
	{"jackcache.node.limit", "By", "The maxmemory of the master.", false, tellNodeLimits},
	{"jackcache.node.reconnects", "{connection}", "Connections to the master that were lost.", true, func(r *reading, say say) {
		tellNodes(r, say, func(n NodeHealth) int64 { return n.Reconnects })
	}},
	{"jackcache.store.clock.offset", "s", "By how much the store's clock is ahead of this host's.", false, func(r *reading, say say) { say(r.health.Store.ClockOffset.Seconds()) }},
}

func tellGets(r *reading, say say) {
	for name, k := range r.stats.Kinds {
		say(float64(k.Hits), "kind", name, "result", "hit")
		say(float64(k.Misses), "kind", name, "result", "miss")
	}
}

func tellLoads(r *reading, say say) {
	for name, k := range r.stats.Kinds {
		say(float64(k.Loads), "kind", name)
	}
}

func tellStale(r *reading, say say) {
	s := r.stats.Stale
	say(float64(s.Away), "reason", "away")
	say(float64(s.Slow), "reason", "slow")
	say(float64(s.Failed), "reason", "failed")
}

func tellOperations(r *reading, say say) {
	for op, l := range r.latencies {
		for i, n := range l.Outcomes {
			switch o := engine.Outcome(i); {
			case o == engine.Done:
				say(float64(n), "op", op, "result", "ok")
			case o.Failed():
				say(float64(n), "op", op, "result", o.String())
			}
		}
	}
}

func tellTime(r *reading, say say) {
	for op, l := range r.latencies {
		say(l.Sum.Seconds(), "op", op)
	}
}

func tellRefreshes(r *reading, say say) {
	say(float64(r.stats.Refreshes.Done), "result", "done")
	say(float64(r.stats.Refreshes.Dropped), "result", "dropped")
}

func tellLatency(r *reading, say say) {
	for op, l := range r.latencies {
		if l.Recent > 0 {
			say(l.P50.Seconds(), "op", op, "percentile", "50")
			say(l.P99.Seconds(), "op", op, "percentile", "99")
		}
	}
}

func tellStatus(r *reading, say say) {
	tellWhich(say, "status", string(r.health.Status), string(Healthy), string(Degraded), string(Unhealthy))
}

func tellState(r *reading, say say) {
	tellWhich(say, "state", r.health.Store.State, "up", "down", "probing", "starting", "partial")
}

// tellWhich has a series for each of the states that there are, and 1 for the
// one that holds.
func tellWhich(say say, label, holds string, all ...string) {
	for _, state := range all {
		v := 0.0
		if state == holds {
			v = 1
		}
		say(v, label, state)
	}
}

func tellStore(r *reading, say say) {
	s := r.health.Store
	say(1, "store", s.Kind, "version", s.ServerVersion, "role", s.Role)
}

func tellLimit(r *reading, say say) {
	if s := r.health.Store; s.MaxBytes > 0 {
		say(float64(s.MaxBytes))
	}
}

func tellRatio(r *reading, say say) {
	if s := r.health.Store; s.MaxBytes > 0 {
		say(float64(s.UsedBytes) / float64(s.MaxBytes))
	}
}

// guards are what the states of a node say of the breaker in front of it.
var guards = map[string]string{"up": "closed", "probing": "half_open", "down": "open", "starting": "open"}

func tellBreakers(r *reading, say say) {
	for _, n := range r.health.Store.Nodes {
		tellWhich(func(v float64, labels ...string) {
			say(v, append(labels, "node", n.Addr)...)
		}, "state", guards[n.State], "closed", "half_open", "open")
	}
}

func tellNodes(r *reading, say say, of func(NodeHealth) int64) {
	for _, n := range r.health.Store.Nodes {
		say(float64(of(n)), "node", n.Addr)
	}
}

func tellNodeLimits(r *reading, say say) {
	for _, n := range r.health.Store.Nodes {
		if n.MaxBytes > 0 {
			say(float64(n.MaxBytes), "node", n.Addr)
		}
	}
}

// observe lets the provider of the options collect, until unobserve is called.
func (c *Cache) observe() (unobserve func() error, err error) {
	m := c.opts.meter()
	if m == nil {
		return func() error { return nil }, nil
	}
	var (
		instruments = make([]metric.Float64Observable, len(metrics))
		all         = make([]metric.Observable, len(metrics))
		errs        = make([]error, len(metrics))
	)
	for i, row := range metrics {
		unit, about := metric.WithUnit(row.unit), metric.WithDescription(row.about)
		if row.rises {
			instruments[i], errs[i] = m.Float64ObservableCounter(row.name, unit, about)
		} else {
			instruments[i], errs[i] = m.Float64ObservableGauge(row.name, unit, about)
		}
		all[i] = instruments[i]
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	r, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		r := &reading{opts: c.opts, stats: c.Stats(), health: c.Health(), latencies: c.engine.Latencies()}
		for i, row := range metrics {
			row.tell(r, func(v float64, labels ...string) {
				o.ObserveFloat64(instruments[i], v, metric.WithAttributes(attributes(labels)...))
			})
		}
		return nil
	}, all...)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return r.Unregister, nil
}

func attributes(labels []string) []attribute.KeyValue {
	as := make([]attribute.KeyValue, 0, len(labels)/2)
	for i := 0; i < len(labels); i += 2 {
		as = append(as, attribute.String(labels[i], labels[i+1]))
	}
	return as
}
