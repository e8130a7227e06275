package jackcache

import "time"

// journalMetrics tell of the journal and of what is replayed from it. There are
// none where there is no journal.
var journalMetrics = []instrument{
	{"jackcache.journal.used", "By", "What the journal takes.", false, ofJournal(func(j JournalStats) float64 { return float64(j.Bytes) })},
	{"jackcache.journal.limit", "By", "What the journal may take.", false, ofJournal(func(j JournalStats) float64 { return float64(j.MaxBytes) })},
	{"jackcache.journal.records", "{record}", "Records in the journal.", false, ofJournal(func(j JournalStats) float64 { return float64(j.Records) })},
	{"jackcache.journal.pending", "{write}", "Acknowledged writes that wait for Redis.", false, ofJournal(func(j JournalStats) float64 { return float64(j.Pending) })},
	{"jackcache.journal.pending.bytes", "By", "What the writes that wait for Redis take.", false, ofJournal(func(j JournalStats) float64 { return float64(j.PendingBytes) })},
	{"jackcache.journal.pinned", "By", "What of the journal cannot go because writes wait.", false, ofJournal(func(j JournalStats) float64 { return float64(j.PinnedBytes) })},
	{"jackcache.journal.pending.age", "s", "For how long the oldest of them has waited.", false, ofJournal(pendingSeconds)},
	{"jackcache.journal.window", "s", "For how long back Redis can be given again what it lost.", false, ofJournal(func(j JournalStats) float64 { return j.Window.Seconds() })},
	{"jackcache.journal.window.limit", "s", "For how long back it is meant to be.", false, tellWindowLimit},
	{"jackcache.journal.syncs", "{sync}", "Times that the journal was synced to its disk.", true, ofJournal(func(j JournalStats) float64 { return float64(j.Syncs) })},
	{"jackcache.journal.sync.latency", "s", "Percentiles of the time that a sync took, in the last minutes.", false, tellSyncs},
	{"jackcache.journal.accepted", "{write}", "Writes that were acknowledged while Redis was away.", true, ofJournal(func(j JournalStats) float64 { return float64(j.Accepted) })},
	{"jackcache.journal.replayed", "{write}", "Writes that waited for Redis and are in it now.", true, ofJournal(func(j JournalStats) float64 { return float64(j.Replayed) })},
	{"jackcache.journal.expired", "{write}", "Writes whose life ended while they waited for Redis.", true, ofJournal(func(j JournalStats) float64 { return float64(j.Expired) })},
	{"jackcache.journal.replay.rate", "{operation}/s", "Operations that are replayed in a second.", false, ofJournal(func(j JournalStats) float64 { return j.ReplayRate })},
	{"jackcache.journal.set_aside", "{write}", "Acknowledged writes that Redis refused for good.", false, ofJournal(func(j JournalStats) float64 { return float64(j.SetAside) })},
	{"jackcache.journal.losses.suspected", "{loss}", "Times that a server might have lost acknowledged writes.", true, ofJournal(func(j JournalStats) float64 { return float64(j.Suspected) })},
	{"jackcache.journal.losses.confirmed", "{loss}", "Times that a server had lost acknowledged writes.", true, ofJournal(func(j JournalStats) float64 { return float64(j.Confirmed) })},
	{"jackcache.journal.restoring", "{server}", "Servers that serve and may lack acknowledged writes, which are applied to them again.", false, ofJournal(func(j JournalStats) float64 { return float64(j.Restoring) })},
	{"jackcache.journal.writable", "", "1: the journal takes writes.", false, ofJournal(func(j JournalStats) float64 { return whether(j.Problem == "") })},
	{"jackcache.journal.crash_safe", "", "1: what it holds survives this process.", false, ofJournal(func(j JournalStats) float64 { return whether(j.CrashSafe) })},
	{"jackcache.journal.damaged", "By", "What of the journal cannot be read.", false, ofJournal(func(j JournalStats) float64 { return float64(j.DamagedBytes) })},
}

// ofJournal tells one value where there is a journal.
func ofJournal(value func(JournalStats) float64) func(*reading, say) {
	return func(r *reading, say say) {
		if r.stats.Journal.Mode != "" {
			say(value(r.stats.Journal))
		}
	}
}

// pendingSeconds is 0 where nothing is pending.
func pendingSeconds(j JournalStats) float64 {
	if j.OldestPending.IsZero() {
		return 0
	}
	return max(0, time.Since(j.OldestPending).Seconds())
}

func tellWindowLimit(r *reading, say say) {
	if r.stats.Journal.Mode != "" {
		say(r.opts.Journal.Window.Seconds())
	}
}

// tellSyncs tells nothing where nothing was synced lately.
func tellSyncs(r *reading, say say) {
	if j := r.stats.Journal; j.SyncMax > 0 {
		say(j.SyncP50.Seconds(), "percentile", "50")
		say(j.SyncP99.Seconds(), "percentile", "99")
	}
}

func whether(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
