package cli

import (
	"fmt"
	"strings"
	"time"

	style "github.com/jedib0t/go-pretty/v6/text"
)

// monitored is what this program reads of an operation that a monitor tells.
type monitored struct {
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"`
	Kind      string    `json:"kind"`
	Org       string    `json:"org"`
	ID        string    `json:"id"`
	Source    string    `json:"source"`
	Outcome   string    `json:"outcome"`
	Failed    bool      `json:"failed"`
	TookMs    millis    `json:"tookMs"`
	Bytes     int64     `json:"bytes"`
	Count     int       `json:"count"`
	Dropped   uint64    `json:"dropped"`
}

// summarised is what this program reads of a monitor's summary.
type summarised struct {
	Seconds    float64 `json:"seconds"`
	Operations uint64  `json:"operations"`
	Errors     uint64  `json:"errors"`
	P99Ms      millis  `json:"p99Ms"`
	SampledOut uint64  `json:"sampledOut"`
	Dropped    uint64  `json:"dropped"`
}

// line is the operation for people, in columns.
func (m monitored) line() string {
	id := m.ID
	if id == "" && m.Count > 1 {
		id = "×" + grouped(int64(m.Count))
	}
	outcome := column(m.Outcome, 12)
	switch {
	case m.Failed:
		outcome = style.FgRed.Sprint(outcome)
	case m.Outcome == "hit", m.Outcome == "loaded":
		outcome = style.FgGreen.Sprint(outcome)
	case m.Outcome == "miss", m.Outcome == "partial", m.Outcome == "notKept", m.Outcome == "pending":
		outcome = style.FgYellow.Sprint(outcome)
	}
	return strings.Join([]string{
		style.Faint.Sprint(m.Time.Local().Format("15:04:05.000")),
		column(m.Operation, 10), column(m.Kind, 19), column(m.Org, 20), column(id, 6), outcome, column(m.Source, 7),
		fmt.Sprintf("%11s", shown(m.TookMs)), fmt.Sprintf("%9s", bytesShown(m.Bytes)),
	}, "  ")
}

// column is text in a column: cut where it is too long, a dash where there is
// none.
func column(s string, width int) string {
	if s == "" {
		s = "-"
	}
	return style.Pad(style.Snip(printable(s), width, "…"), width, ' ')
}

// line is the summary for people.
func (s summarised) line() string {
	failed := "errors 0"
	if s.Errors > 0 {
		failed = style.FgRed.Sprint("errors " + grouped(int64(s.Errors)))
	}
	line := fmt.Sprintf("── %.1f operations/s, %s, p99 %s", float64(s.Operations)/max(s.Seconds, 0.001), failed, shown(s.P99Ms))
	if hidden := s.SampledOut + s.Dropped; hidden > 0 {
		line += fmt.Sprintf("; %s of %s not shown", grouped(int64(hidden)), grouped(int64(s.Operations)))
	}
	return style.Bold.Sprint(line)
}
