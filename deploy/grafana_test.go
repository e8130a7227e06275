package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// dashboard is the part of Grafana's model (schema 39) that the file uses; a
// field that is not here is refused.
type dashboard struct {
	UID, Title, Description, Refresh, Timezone string
	Tags                                       []string
	SchemaVersion, Version, GraphTooltip       int
	Editable                                   bool
	Time                                       struct{ From, To string }
	Links                                      []struct{}
	Templating                                 struct{ List []variable }
	Annotations                                struct {
		List []struct {
			Name, IconColor, Expr, TitleFormat string
			Enable, Hide                       bool
			Datasource                         source
		}
	}
	Panels []panel
}

type source struct{ Type, UID string }

type variable struct {
	Name, Label, Type, Definition, AllValue string
	Datasource                              source
	Query                                   any
	Current                                 map[string]any
	Refresh, Sort, Hide                     int
	IncludeAll, Multi                       bool
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Collapsed                bool
	Panels                   []struct{}
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Min, Max   *float64
			Custom     map[string]any
			Thresholds struct {
				Mode  string
				Steps []struct {
					Color string
					Value *float64
				}
			}
		}
		Overrides []struct{}
	}
	Options map[string]any
	Targets []struct {
		RefID, Expr, LegendFormat string
		Datasource                source
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	strict := json.NewDecoder(bytes.NewReader(mustRead(t, "grafana/jackcache.json")))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// expressions are those of the panels, by panel and place.
func (d dashboard) expressions() map[string]string {
	all := make(map[string]string)
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			all[fmt.Sprintf("panel %q %s", p.Title, q.RefID)] = q.Expr
		}
	}
	return all
}

func TestDashboardAsksForWhatThereIs(t *testing.T) {
	d, names := readDashboard(t), documented(t)
	for where, expr := range d.expressions() {
		checkMetrics(t, where, expr, names)
	}
	for _, a := range d.Annotations.List {
		checkMetrics(t, "annotation "+a.Name, a.Expr, names)
	}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if !slices.Equal(variables, []string{"datasource", "job", "instance"}) {
		t.Errorf("variables %v", variables)
	}
}

func TestDashboardIsWellFormed(t *testing.T) {
	d := readDashboard(t)
	own := source{"prometheus", "${datasource}"}
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %q has the id %d, as has another", p.Title, p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Type != "timeseries" && p.Type != "stat" || p.Datasource != own || len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %q: type %s, %v, %d queries, unit %q", p.Title, p.Type, p.Datasource, len(p.Targets), p.FieldConfig.Defaults.Unit)
		}
		for i, q := range p.Targets {
			if q.RefID != string(rune('A'+i)) || q.Datasource != own || q.LegendFormat == "" {
				t.Errorf("panel %q: query %d is %+v", p.Title, i, q)
			}
		}
	}
}
