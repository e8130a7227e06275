package jackcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/datadir"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/replay"
	"github.com/jackcache/jackcache/internal/store"
)

// Names in a data directory: of the journals, by environment, and of what Redis
// refused for good.
const (
	journalDir  = "journal"
	asideSuffix = ".set-aside.ndjson"
)

// shortWindow is the effective window of a journal below which health warns: the
// default life of a conversation, and some more.
const shortWindow = 2*time.Hour + 15*time.Minute

// openDataDir takes the data directory, and reads from it what the clock has
// reached and which store it belongs to. The record is nil where the directory
// cannot be written and need not be.
func (c *Cache) openDataDir() (*clock.Clock, *datadir.Record, error) {
	o := c.opts
	ceiling, err := c.lockDataDir()
	if err != nil {
		if o.Redis == nil || o.Journal.Mode != JournalMemory || !unwritable(err) {
			return nil, nil, err
		}
		o.Logger.Warn("the data directory cannot be written; nothing of this process survives it, and nothing guards against another redis", "dataDir", o.DataDir, "err", err)
		return clock.New(o.Now, randomNode(), nil), nil, nil
	}
	record, err := datadir.Open(o.DataDir, c.space.Prefix())
	if err != nil {
		return nil, nil, err
	}
	return clock.New(o.Now, randomNode(), ceiling), record, nil
}

func (c *Cache) lockDataDir() (*clock.Ceiling, error) {
	dir := c.opts.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	var err error
	if c.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	return clock.OpenCeiling(filepath.Join(dir, "clock"))
}

// unwritable reports whether an error says that a directory cannot be written.
func unwritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// openJournal opens the journal, and what replays it.
func (c *Cache) openJournal(clk *clock.Clock) error {
	o := c.opts
	if o.Journal.Mode == JournalOff {
		return nil
	}
	dir := filepath.Join(o.DataDir, journalDir, o.environment())
	jo := journal.Options{
		Dir: dir, Space: c.space, MaxBytes: o.Journal.MaxBytes, Window: o.Journal.Window, Now: clk.Time, Logger: o.Logger,
	}
	aside := dir + asideSuffix
	if o.Journal.Mode == JournalMemory {
		jo.Dir, jo.Memory, aside = "", true, ""
	}
	j, err := journal.Open(jo)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	c.journal, c.journalTime = j, clk.Time
	c.replay = replay.New(replay.Options{
		Journal: j, Space: c.space, Rate: o.Journal.ReplayRate, SetAside: aside, Now: clk.Time, Stamp: clk.Now,
		Known:    func(o keys.Org) uint64 { return c.engine.Known(o) },
		Observed: func(o keys.Org, r store.Result) { c.engine.Observe(o, r) },
		Restored: func() { c.engine.Restored() },
		Adopting: func() func(func(keys.Org) bool) { return c.engine.Adopting() },
		Adopts:   func(o keys.Org) { c.engine.Adopts(o) },
		Wrote:    func(k keys.Key) { c.engine.Wrote(k) },
		Logger:   o.Logger,
	})
	return nil
}

// witness is who is told what Redis may have lost; nil: nobody.
func (c *Cache) witness() store.Witness {
	if c.replay == nil {
		return nil
	}
	return c.replay
}

func (c *Cache) closeJournal(ctx context.Context) error {
	if c.journal == nil {
		return nil
	}
	return c.journal.Close(ctx)
}

// JournalStats tells of the journal and of what is replayed from it. Counts are
// since the start. The zero value means that there is none.
type JournalStats struct {
	Mode JournalMode
	// CrashSafe: what was acknowledged survives this process.
	CrashSafe      bool
	Records, Bytes int64
	MaxBytes       int64
	Pending        int64 // writes that wait for Redis
	PendingBytes   int64
	// PinnedBytes is what cannot go because writes wait: when it reaches MaxBytes,
	// no more of them are taken.
	PinnedBytes      int64
	OldestPending    time.Time     // zero: nothing is pending
	Window           time.Duration // for how long back everything is there
	Problem          string        // why it takes no writes; empty: it does
	DamagedBytes     int64
	Syncs            uint64
	SyncP50, SyncP99 time.Duration // of the last minutes
	SyncMax          time.Duration

	Accepted   uint64  // writes that were acknowledged while redis was away
	Replayed   uint64  // writes that were pending and are in Redis now
	ReplayRate float64 // operations a second, in the last seconds
	Expired    uint64  // pending writes whose life ended before Redis was back
	SetAside   int64   // writes that Redis refused for good
	Suspected  uint64  // times that a server may have lost acknowledged writes
	Confirmed  uint64  // times that one had
	// Restoring is how many servers serve, and may lack what was acknowledged: it is
	// applied to them again. From when that is suspected until it is done. It is at least
	// one while what was written when an invalidation was lost is applied again.
	Restoring int
	Trouble   string // what keeps the replay; empty: nothing
}

// journalStats returns what is known; it does not wait for the disk. Of the store
// it says what h does.
func (c *Cache) journalStats(h store.Health) JournalStats {
	if c.journal == nil {
		return JournalStats{}
	}
	j, r := c.journal.Stats(), c.replay.Stats()
	s := JournalStats{
		Mode: c.opts.Journal.Mode, CrashSafe: j.CrashSafe, Records: j.Records, Bytes: j.Bytes, MaxBytes: j.MaxBytes,
		Pending: j.PendingRecords, PendingBytes: j.PendingBytes, PinnedBytes: j.PinnedBytes, OldestPending: j.OldestPending, Problem: j.Problem,
		DamagedBytes: j.Damaged, Syncs: j.Syncs, SyncP50: j.SyncP50, SyncP99: j.SyncP99, SyncMax: j.SyncMax,
		Accepted: c.engine.Accepted(), Replayed: r.Replayed, ReplayRate: r.Rate, Expired: r.Expired, SetAside: r.SetAside,
		Suspected: r.Suspected, Confirmed: r.Confirmed, Restoring: r.Restoring, Trouble: r.Problem,
	}
	if j.Records > 0 {
		s.Restoring = max(s.Restoring, doubtful(h))
	}
	if !j.Since.IsZero() {
		s.Window = max(0, c.engine.Clock().Time().Sub(j.Since))
	}
	if err := c.engine.JournalFailing(); err != nil && s.Problem == "" {
		s.Problem = err.Error()
	}
	return s
}

// doubtful returns how many servers serve that may lack what was acknowledged.
// What they lack is looked for before it is applied again.
func doubtful(h store.Health) (servers int) {
	for _, n := range h.Nodes {
		if n.State == store.Up && n.Doubt != "" {
			servers++
		}
	}
	return servers
}

// journalProblems says in words what is wrong with the journal, and what to do.
func (c *Cache) journalProblems(s JournalStats) (problems []string) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if c.opts.Redis == nil {
		return nil
	}
	if c.journal == nil {
		add("the journal is off: while redis is away writes are refused, and what redis loses is lost; set JACKCACHE_JOURNAL=required")
		return problems
	}
	if !s.CrashSafe {
		add("the journal is in memory: what was acknowledged while redis is away is lost with this process; give it a data directory that it can write, and set JACKCACHE_JOURNAL=required")
	}
	if s.Problem != "" {
		add("the journal takes no writes: %s", s.Problem)
	}
	if s.Pending > 0 {
		add("%d writes wait for redis in the journal, the oldest since %s", s.Pending, s.OldestPending.UTC().Format(time.RFC3339))
	}
	if c.replay.Stats().Restoring > 0 {
		add("redis is being given again what it may have lost")
	}
	if s.Bytes > s.MaxBytes/2 && s.Window < min(shortWindow, c.opts.Journal.Window) {
		add("the journal holds only the last %s, which is as far back as a loss of redis can be mended: raise JACKCACHE_JOURNAL_BYTES (%d)", s.Window.Round(time.Minute), s.MaxBytes)
	}
	if s.SetAside > 0 {
		add("%d acknowledged writes were refused by redis for good and set aside: see %s", s.SetAside, filepath.Join(c.opts.DataDir, journalDir, c.opts.environment()+asideSuffix))
	}
	if s.DamagedBytes > 0 {
		add("%d bytes of the journal cannot be read; see the log", s.DamagedBytes)
	}
	return problems
}
