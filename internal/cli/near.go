package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// nearStats is what this program reads of the copies in a server's process.
type nearStats struct {
	Enabled       bool              `json:"enabled"`
	Entries       int64             `json:"entries"`
	Bytes         int64             `json:"bytes"`
	MaxBytes      int64             `json:"maxBytes"`
	Fresh         uint64            `json:"fresh"`
	Stale         uint64            `json:"stale"`
	Misses        uint64            `json:"misses"`
	HitRatio      float64           `json:"hitRatio"`
	Fills         uint64            `json:"fills"`
	Refused       uint64            `json:"refused"`
	RefusedFor    map[string]uint64 `json:"refusedFor"`
	Evictions     uint64            `json:"evictions"`
	Organisations int64             `json:"organisations"`
}

// nearHealth is what it reads of whether they can be given.
type nearHealth struct {
	Enabled     bool   `json:"enabled"`
	MaxBytes    int64  `json:"maxBytes"`
	FreshnessMs millis `json:"freshnessMs"`
	Problem     string `json:"nearProblem"`
}

// nearProof is the same for one Redis server.
type nearProof struct {
	Proven  bool      `json:"proven"`
	AgeMs   millis    `json:"ageMs"`
	Since   time.Time `json:"since"`
	Problem string    `json:"problem"`
}

// String tells of it what an operator asks first.
func (p nearProof) String() string {
	text := "changes are heard of, proven " + shown(p.AgeMs) + " ago"
	if !p.Proven {
		text = "changes are not heard of since " + p.Since.Format(time.RFC3339)
	}
	if p.Problem != "" {
		text += ": " + p.Problem
	}
	return text
}

// refusals are the reasons for which copies are not kept, in words, in the order in
// which they are shown.
var refusals = []struct{ name, words string }{
	{"uncovered", "nothing is told of changes"}, {"told", "changed meanwhile"}, {"orgTold", "invalidated meanwhile"},
	{"broken", "a change may have been missed"}, {"outdated", "a newer one is there"}, {"expired", "life over"},
	{"tooLarge", "too large"}, {"noShare", "no room in the share"},
}

// showNearHealth prints for people whether copies can be given.
func showNearHealth(w io.Writer, n nearHealth) {
	if !n.Enabled {
		return
	}
	fmt.Fprintf(w, "near up to %s, current for %s after each proof\n", bytesShown(n.MaxBytes), time.Duration(float64(n.FreshnessMs)*float64(time.Millisecond)))
	if n.Problem != "" {
		fmt.Fprintf(w, "  %-9s  %s\n", "problem", printable(n.Problem))
	}
}

// showNear prints the copies for people.
func showNear(w io.Writer, n nearStats) {
	if !n.Enabled {
		return
	}
	fmt.Fprintf(w, "near %s copies, %s of %s, of %s organisations\n", grouped(n.Entries), bytesShown(n.Bytes), bytesShown(n.MaxBytes), grouped(n.Organisations))
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-9s  %s\n", name, fmt.Sprintf(format, args...))
	}
	ratio := "-"
	if n.Fresh+n.Stale+n.Misses > 0 {
		ratio = fmt.Sprintf("%.1f %%", 100*n.HitRatio)
	}
	line("looks", "current %s, not proven to be %s, none %s; hit ratio %s", shown(n.Fresh), shown(n.Stale), shown(n.Misses), ratio)
	line("kept", "%s; evicted %s", shown(n.Fills), shown(n.Evictions))
	if n.Refused == 0 {
		return
	}
	var why []string
	for _, r := range refusals {
		if v := n.RefusedFor[r.name]; v > 0 {
			why = append(why, r.words+" "+shown(v))
		}
	}
	line("not kept", "%s: %s", shown(n.Refused), strings.Join(why, ", "))
}
