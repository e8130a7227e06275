package cli

import (
	"fmt"
	"io"
	"time"
)

// journal is what this program reads of the journal of a server; nil where it
// has none.
type journal struct {
	Mode          string    `json:"mode"`
	CrashSafe     bool      `json:"crashSafe"`
	Bytes         int64     `json:"bytes"`
	MaxBytes      int64     `json:"maxBytes"`
	Pending       int64     `json:"pending"`
	PendingBytes  int64     `json:"pendingBytes"`
	OldestPending time.Time `json:"oldestPending"`
	WindowSeconds float64   `json:"windowSeconds"`
	SyncP50Ms     millis    `json:"syncP50Ms"`
	SyncP99Ms     millis    `json:"syncP99Ms"`
	Accepted      uint64    `json:"accepted"`
	Replayed      uint64    `json:"replayed"`
	ReplayRate    float64   `json:"replayRate"`
	Expired       uint64    `json:"expired"`
	SetAside      int64     `json:"setAside"`
	DamagedBytes  int64     `json:"damagedBytes"`
	Suspected     uint64    `json:"suspected"`
	Confirmed     uint64    `json:"confirmed"`
	Restoring     int       `json:"restoring"`
	Problem       string    `json:"problem"`
	Trouble       string    `json:"trouble"`
}

// showJournal prints a journal for people, as it was at a server's time.
func showJournal(w io.Writer, j *journal, at time.Time) {
	if j == nil {
		return
	}
	fmt.Fprintf(w, "journal %s, %s of %s\n", printable(j.Mode), bytesShown(j.Bytes), bytesShown(j.MaxBytes))
	for _, l := range j.lines(at) {
		fmt.Fprintf(w, "  %-9s  %s\n", l[0], printable(l[1]))
	}
}

// lines has names, and what is told under them. What is as it should be is told
// in few words, or not at all.
func (j *journal) lines(at time.Time) [][2]string {
	var all [][2]string
	add := func(name, format string, args ...any) {
		all = append(all, [2]string{name, fmt.Sprintf(format, args...)})
	}
	if j.Problem != "" {
		add("problem", "it takes no writes: %s", j.Problem)
	}
	if !j.CrashSafe {
		add("problem", "it is in memory: what waits is lost with the process")
	}
	if j.DamagedBytes > 0 {
		add("problem", "%s cannot be read", bytesShown(j.DamagedBytes))
	}
	if j.Pending > 0 {
		add("pending", "%s writes, %s, the oldest for %s", grouped(j.Pending), bytesShown(j.PendingBytes), at.Sub(j.OldestPending).Round(time.Second))
	} else {
		add("pending", "none")
	}
	add("window", "%s", (time.Duration(j.WindowSeconds) * time.Second).String())
	add("sync", "p50 %s, p99 %s", shown(j.SyncP50Ms), shown(j.SyncP99Ms))
	add("replay", "%s operations/s; accepted while redis was away %s, of them replayed %s, expired %s",
		grouped(int64(j.ReplayRate)), grouped(int64(j.Accepted)), grouped(int64(j.Replayed)), grouped(int64(j.Expired)))
	if j.Trouble != "" {
		add("", "kept by: %s", j.Trouble)
	}
	add("losses", "of redis: confirmed %s, suspected %s", grouped(int64(j.Confirmed)), grouped(int64(j.Suspected)))
	if j.Restoring > 0 {
		add("", "being given again to %d servers", j.Restoring)
	}
	if j.SetAside > 0 {
		add("set aside", "%s writes that redis refused for good", grouped(j.SetAside))
	}
	return all
}
