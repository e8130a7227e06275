package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// busy is how late a timer alone may be before latencies say more about the
// machine than about what is tested.
const busy = 10 * time.Millisecond

// listed is how many violations are told in full.
const listed = 20

var columns = []string{
	"fault", "times", "calls", "writes", "acknowledged", "of these pending", "refused", "unknown", "reads refused", "replayed",
	"lost", "duplicated", "diverged", "resurrected", "stale reads", "other", "p50", "p99", "p99.9", "max", "control p99.9",
}

// total is what all runs counted together.
func total(runs []*run) *cell {
	sum := newCell("**total**")
	for _, r := range runs {
		for _, c := range r.meter.cells {
			sum.merge(c)
		}
	}
	return sum
}

// byFault is what runs counted, by kind of fault.
func byFault(runs []*run) []*cell {
	var cells []*cell
	for _, r := range runs {
		for _, c := range r.meter.cells {
			i := slices.IndexFunc(cells, func(known *cell) bool { return known.name == c.name })
			if i < 0 {
				i = len(cells)
				cells = append(cells, newCell(c.name))
			}
			cells[i].merge(c)
		}
	}
	return cells
}

// table writes one line for each fault of all runs together, and a total.
func table(w io.Writer, runs []*run) error {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, c := range append(byFault(runs), total(runs)) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(c.row(), " | "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *cell) row() []string {
	all, acknowledged := c.written()
	number := func(n int64) string { return fmt.Sprint(n) }
	times, replayed := fmt.Sprint(c.times), "-"
	if c.name == "none" {
		times = "-"
	}
	if c.replayed >= 0 {
		replayed = number(c.replayed)
	}
	reads := c.reads.Load()
	row := []string{
		c.name, times, number(all + reads), number(all), number(acknowledged), number(c.writes[pending].Load()),
		share(c.writes[refused].Load(), all), number(c.writes[unknown].Load()), share(c.readsRefused.Load(), reads), replayed,
	}
	for _, b := range []breach{lost, duplicated, diverged, resurrected, stale} {
		row = append(row, fmt.Sprint(c.found[b]))
	}
	row = append(row, fmt.Sprint(c.found[invented]+c.found[unreadable]))
	for _, p := range []float64{50, 99, 99.9, 100} {
		row = append(row, millis(c.calls.at(p)))
	}
	return append(row, millis(c.control.at(99.9)))
}

func share(n, of int64) string {
	if of == 0 || n == 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d (%.1f %%)", n, 100*float64(n)/float64(of))
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// summarize writes what is wrong, and how to do it again.
func summarize(w io.Writer, r *run, repeat string) {
	for _, n := range r.notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	for _, o := range r.odd {
		fmt.Fprintf(w, "odd answer: %s\n", o)
	}
	if late := total([]*run{r}).control.at(99.9); late > busy {
		fmt.Fprintf(w, "note: the machine was busy: a timer alone was late by %s at p99.9\n", millis(late))
	}
	sum := r.found()
	if !r.failed() {
		fmt.Fprintf(w, "%s, seed %d: lost 0, duplicated 0, diverged 0, resurrected 0\n", r.scenario, r.seed)
		return
	}
	var counts []string
	for b, n := range sum {
		counts = append(counts, fmt.Sprintf("%s %d", breachNames[b], n))
	}
	fmt.Fprintf(w, "%s, seed %d: %s\n", r.scenario, r.seed, strings.Join(counts, ", "))
	for _, line := range r.broken(listed) {
		fmt.Fprintln(w, "  "+line)
	}
	fmt.Fprintf(w, "again: %s\n", repeat)
}
