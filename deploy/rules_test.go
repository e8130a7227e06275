package deploy

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"
)

type rule struct {
	Record, Alert, Expr string
	For                 string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.UnmarshalStrict(mustRead(t, "prometheus/rules.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// promtool's own checks and tests hold: each alert fires when it should, and
// only then.
func TestRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v (apt-get install prometheus has it)\n%s", args, err, out)
		}
	}
}

// Who is called at night is told what to do: every alert has a heading in
// docs/operating.md, and tests.
func TestAlertsAreDocumentedAndTested(t *testing.T) {
	page := string(mustRead(t, "../docs/operating.md"))
	tests := string(mustRead(t, "prometheus/rules_test.yaml"))
	const where = "https://github.com/jackcache/jackcache/blob/main/docs/operating.md#"
	seen := make(map[string]bool)
	for _, r := range readRules(t) {
		if r.Alert == "" {
			continue
		}
		seen[r.Alert] = true
		if _, err := model.ParseDuration(r.For); err != nil {
			t.Errorf("%s: for: %v", r.Alert, err)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Annotations["runbook_url"] != where+strings.ToLower(r.Alert) {
			t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
		}
		if !strings.Contains(page, "\n### "+r.Alert+"\n") {
			t.Errorf("docs/operating.md has no heading %s", r.Alert)
		}
		asked := regexp.MustCompile(`ALERTS\{alertname="` + r.Alert + `", alertstate="firing"\}\n +eval_time: \w+\n +exp_samples:( \[\])?\n`)
		fires, quiet := false, false
		for _, m := range asked.FindAllStringSubmatch(tests, -1) {
			fires, quiet = fires || m[1] == "", quiet || m[1] != ""
		}
		if !fires || !quiet {
			t.Errorf("%s is tested firing: %v, and quiet: %v", r.Alert, fires, quiet)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Jackcache\w+)$`).FindAllStringSubmatch(page, -1) {
		if !seen[m[1]] {
			t.Errorf("docs/operating.md tells of %s, which is no alert", m[1])
		}
	}
}

func TestRulesUseWhatThereIs(t *testing.T) {
	names := documented(t)
	for _, r := range readRules(t) {
		if r.Record != "" {
			names[r.Record] = true
		}
	}
	for _, r := range readRules(t) {
		checkMetrics(t, r.Alert+r.Record, r.Expr, names)
	}
}
