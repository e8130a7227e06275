package httpapi

import (
	"time"

	"github.com/jackcache/jackcache"
)

// journalStats tells of the journal, and of what is replayed from it. Counts are
// since the start.
type journalStats struct {
	Mode          string     `json:"mode"`
	CrashSafe     bool       `json:"crashSafe"`
	Records       int64      `json:"records"`
	Bytes         int64      `json:"bytes"`
	MaxBytes      int64      `json:"maxBytes"`
	Pending       int64      `json:"pending" jsonschema:"Writes that wait for Redis."`
	PendingBytes  int64      `json:"pendingBytes"`
	OldestPending *time.Time `json:"oldestPending,omitempty" jsonschema:"Left out where nothing is pending."`
	WindowSeconds float64    `json:"windowSeconds" jsonschema:"For how long back Redis can be given again what it lost."`
	Problem       string     `json:"problem,omitempty" jsonschema:"Why it takes no writes."`
	DamagedBytes  int64      `json:"damagedBytes"`
	Syncs         uint64     `json:"syncs"`
	SyncP50Ms     float64    `json:"syncP50Ms"`
	SyncP99Ms     float64    `json:"syncP99Ms"`
	SyncMaxMs     float64    `json:"syncMaxMs"`

	Accepted   uint64  `json:"accepted" jsonschema:"Writes that were acknowledged while Redis was away."`
	Replayed   uint64  `json:"replayed" jsonschema:"Writes that were pending and are in Redis now."`
	ReplayRate float64 `json:"replayRate" jsonschema:"Operations a second in the last seconds."`
	Expired    uint64  `json:"expired"`
	SetAside   int64   `json:"setAside" jsonschema:"Acknowledged writes that Redis refused for good."`
	Suspected  uint64  `json:"suspected" jsonschema:"Times that a server may have lost acknowledged writes."`
	Confirmed  uint64  `json:"confirmed" jsonschema:"Times that one had."`
	Restoring  int     `json:"restoring" jsonschema:"Servers that serve and may lack acknowledged writes, which are applied to them again."`
	Trouble    string  `json:"trouble,omitempty" jsonschema:"What keeps the replay."`
}

// toJournalStats returns nil where there is no journal.
func toJournalStats(j jackcache.JournalStats) *journalStats {
	if j.Mode == "" {
		return nil
	}
	out := &journalStats{
		Mode: string(j.Mode), CrashSafe: j.CrashSafe, Records: j.Records, Bytes: j.Bytes, MaxBytes: j.MaxBytes,
		Pending: j.Pending, PendingBytes: j.PendingBytes, WindowSeconds: j.Window.Seconds(), Problem: j.Problem,
		DamagedBytes: j.DamagedBytes, Syncs: j.Syncs, SyncP50Ms: millis(j.SyncP50), SyncP99Ms: millis(j.SyncP99), SyncMaxMs: millis(j.SyncMax),
		Accepted: j.Accepted, Replayed: j.Replayed, ReplayRate: j.ReplayRate, Expired: j.Expired, SetAside: j.SetAside,
		Suspected: j.Suspected, Confirmed: j.Confirmed, Restoring: j.Restoring, Trouble: j.Trouble,
	}
	if !j.OldestPending.IsZero() {
		at := j.OldestPending.UTC()
		out.OldestPending = &at
	}
	return out
}
