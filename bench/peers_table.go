package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// measure is a row of the table.
type measure struct {
	name string
	of   string // the key in samples
	fold func([]float64) float64
	// to is a peer: the row tells ratios to what it had in the same round.
	to *peer
	// format is that of a cell.
	format string
	// text, if set, is the cell, without measuring.
	text func(*peer) string
}

// inMiddle is the median.
func inMiddle(v []float64) float64 { return median(v, func(x float64) float64 { return x }) }

// nearTop is the 99th percentile.
func nearTop(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[min(len(v)-1, len(v)*99/100)]
}

func onMean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// peerTable prints row after row, with a column for each peer.
type peerTable struct {
	cast  []*peer
	notes []string
}

func newTable(cast []*peer) *peerTable {
	t := &peerTable{cast: cast}
	fmt.Print("| scene | what |")
	for _, p := range cast {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Printf("\n|---|---|%s\n", strings.Repeat("---|", len(cast)))
	return t
}

// rows prints the measures of a scene.
func (t *peerTable) rows(s scene, actors []*actor) {
	for _, m := range s.measures {
		fmt.Printf("| %s | %s |", s.name, m.name)
		for _, a := range actors {
			fmt.Printf(" %s |", t.cell(m, a, actors))
		}
		fmt.Println()
	}
}

func (t *peerTable) cell(m measure, a *actor, actors []*actor) string {
	if a.err != nil {
		return t.dash(a.name, a.err.Error())
	}
	if m.text != nil {
		return m.text(a.peer)
	}
	values := a.values(m.of)
	if m.to != nil {
		values = a.ratios(m, actors)
	}
	switch {
	case len(values) == 0:
		return "-"
	case math.IsInf(m.fold(values), 1):
		return "never"
	}
	return fmt.Sprintf(m.format, m.fold(values))
}

// values are those of a measure, all rounds together.
func (a *actor) values(of string) (all []float64) {
	for _, s := range a.samples {
		all = append(all, s[of]...)
	}
	return all
}

// ratios are those to another peer, round by round.
func (a *actor) ratios(m measure, actors []*actor) (all []float64) {
	i := slices.IndexFunc(actors, func(o *actor) bool { return o.peer == m.to })
	if i < 0 {
		return nil
	}
	to := actors[i]
	for round := range min(len(a.samples), len(to.samples)) {
		x, y := a.samples[round][m.of], to.samples[round][m.of]
		if len(x) > 0 && len(y) > 0 {
			all = append(all, m.fold(x)/m.fold(y))
		}
	}
	return all
}

// dash is the cell of a peer that does not play, with a footnote that says why.
func (t *peerTable) dash(name, why string) string {
	note := name + ": " + strings.ReplaceAll(why, "\n", " ")
	i := slices.Index(t.notes, note)
	if i < 0 {
		i = len(t.notes)
		t.notes = append(t.notes, note)
	}
	return fmt.Sprintf("-[^%d]", i+1)
}

// footnotes prints why peers did not play.
func (t *peerTable) footnotes() {
	fmt.Println()
	for i, note := range t.notes {
		fmt.Printf("[^%d]: %s\n", i+1, note)
	}
}
