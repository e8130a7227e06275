package cli

import (
	"bytes"
	"testing"
	"time"
)

// TestJournalIsShown: all is well in five lines, and what is not is told.
func TestJournalIsShown(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, shown := range []struct {
		j    *journal
		want string
	}{
		{nil, ""},
		{&journal{Mode: "required", CrashSafe: true, Bytes: 3 << 20, MaxBytes: 2 << 30, WindowSeconds: 5400.25, SyncP50Ms: 0.5, SyncP99Ms: 1.25},
			`journal required, 3.0 MiB of 2.0 GiB
  pending    none
  window     1h30m0s
  sync       p50 0.50 ms, p99 1.25 ms
  replay     0 operations/s; accepted while redis was away 0, of them replayed 0, expired 0
  losses     of redis: confirmed 0, suspected 0
`},
		{&journal{
			Mode: "memory", Bytes: 5, MaxBytes: 10, Pending: 1234, PendingBytes: 4, OldestPending: now.Add(-time.Minute), ReplayRate: 20000.4,
			Accepted: 2000, Replayed: 700, Expired: 66, SetAside: 2, DamagedBytes: 4096, Suspected: 3, Confirmed: 1, Restoring: 1,
			Problem: "no\x1b[31m room", Trouble: "OOM",
		}, `journal memory, 5 B of 10 B
  problem    it takes no writes: no` + "\uFFFD" + `[31m room
  problem    it is in memory: what waits is lost with the process
  problem    4.0 KiB cannot be read
  pending    1,234 writes, 4 B, the oldest for 1m0s
  window     0s
  sync       p50 0.00 ms, p99 0.00 ms
  replay     20,000 operations/s; accepted while redis was away 2,000, of them replayed 700, expired 66
             kept by: OOM
  losses     of redis: confirmed 1, suspected 3
             being given again to 1 servers
  set aside  2 writes that redis refused for good
`},
	} {
		var out bytes.Buffer
		showJournal(&out, shown.j, now)
		if out.String() != shown.want {
			t.Errorf("shown is\n%s\nwant\n%s", out.String(), shown.want)
		}
	}
}
