package deploy

import (
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// documented are the metrics that docs/metrics.md lists, as Prometheus has them.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{"up": true}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [^|]* \\| (\\w+) \\|")
	for _, m := range row.FindAllStringSubmatch(string(mustRead(t, "../docs/metrics.md")), -1) {
		names[m[1]] = true
		if m[2] == "histogram" {
			names[m[1]+"_bucket"], names[m[1]+"_count"], names[m[1]+"_sum"] = true, true, true
		}
	}
	if !names["jackcache_build_info"] || !names["http_server_request_duration_seconds_bucket"] {
		t.Fatal("docs/metrics.md has no tables of metrics")
	}
	return names
}

// asSent is an expression of the dashboard as Grafana sends it.
func asSent(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$job", ".+", "$instance", ".+").Replace(expr)
}

// checkMetrics parses an expression and finds metrics that nothing makes.
func checkMetrics(t *testing.T, where, expr string, names map[string]bool) {
	t.Helper()
	e, err := parser.ParseExpr(asSent(expr))
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, expr)
		return
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		for _, m := range s.LabelMatchers {
			if m.Name == model.MetricNameLabel && !names[m.Value] && !ofProcess(m.Value) {
				t.Errorf("%s uses %s, which docs/metrics.md does not list", where, m.Value)
			}
		}
		return nil
	})
}

// ofProcess are those that every Prometheus client has.
func ofProcess(name string) bool {
	return strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "go_")
}
