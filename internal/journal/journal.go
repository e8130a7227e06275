// Package journal is the durable log of what an instance acknowledged: what the
// shared store does not have yet, and what it may lose. It is a sequence of
// segment files; see docs/formats.md for the format and the argument why a crash
// loses nothing that was synced.
package journal

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// Position is the place of a record.
type Position = store.Position

// Kind says what a record means.
type Kind uint8

// The kinds of records.
const (
	// Applied: Op is part of the shared store, under its Generation and with its
	// ExpiresAt. What Resolves names was pending until then.
	Applied Kind = iota + 1
	// Pending: Op was accepted, and is not known to be in the shared store. Its
	// Generation is the one that was known.
	Pending
	// Resolved: what Resolves names is not pending any more, and nothing has to be
	// done for it (its life is over, it was invalidated, it was set aside).
	Resolved
	// Generation: the organisation has at least this generation in the shared
	// store. What Resolves names was pending until then.
	Generation
	// Invalidation: the organisation is to be invalidated, with Token; it is
	// pending. What is pending of the organisation before it is not any more.
	Invalidation
	// Assigned: what is pending of the organisation up to UpTo belongs to
	// Generation, whatever the generation is when it is applied; but for what was
	// assigned before: what was applied under a generation once stays with it.
	Assigned
)

// Record is one entry of the journal. Which fields count depends on the kind.
type Record struct {
	// Position is set by the journal.
	Position Position
	Kind     Kind
	// Time is that of the shared store when it was accepted, as far as known.
	Time time.Time
	// Op has Mode Merge, no condition, no TTL, and an ExpiresAt.
	Op         store.Op
	Org        keys.Org // zero: the directory
	Generation uint64
	Token      clock.Version
	UpTo       Position
	Resolves   []Position
	// AssignedAt is the Time of the Assigned record that decided the generation of this
	// pending one, of those that Read returns. Append does not look at it.
	AssignedAt time.Time

	// origin is the position that it had before it was taken over from a segment
	// that went; zero: it was not.
	origin Position
}

// The errors of Append. After all but ErrSlow nothing of the records is kept.
var (
	// ErrFull: all that the journal may hold is pending.
	ErrFull = errors.New("journal is full")
	// ErrDisk: it cannot be written, or the disk has too little room left.
	ErrDisk = errors.New("journal cannot be written")
	// ErrSlow: the context ended before it was written or synced. It may be kept.
	ErrSlow = errors.New("journal is slow")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal is closed")
)

// Options of a journal. Space, MaxBytes, Window, Now and Logger are required, and
// Dir unless Memory is set.
type Options struct {
	Dir string
	// Memory keeps everything in the process: it bridges an outage and does not
	// survive the end of the process.
	Memory bool
	Space  keys.Space
	// MaxBytes bounds the segments together. At the bound the oldest ones without
	// pending records go; where there is none, pending records get ErrFull.
	MaxBytes int64
	// Window is how long records are kept.
	Window time.Duration
	// SegmentBytes is the size from which a segment is followed by another one.
	// Default 64 MiB, at most 1 GiB and an eighth of MaxBytes.
	SegmentBytes int64
	// LowWater is how many bytes the disk must have left, or nothing is written.
	// Default 64 MiB; negative: no bound.
	LowWater int64
	// IndexKeys bounds how many keys, and four times as many records, are found by
	// Known. Default 1,000,000.
	IndexKeys int
	// Now is the shared store's time, as far as known.
	Now    func() time.Time
	Logger *slog.Logger
}

// Outstanding is a pending record.
type Outstanding struct {
	Position Position
	Kind     Kind // Pending or Invalidation
	Org      keys.Org
	Key      keys.Key // zero for an Invalidation
	// Assigned: the generation that it belongs to was decided; see Assigned.
	Assigned   bool
	Generation uint64
}

// Stats is what a journal knows of itself.
type Stats struct {
	Records, Bytes, MaxBytes int64
	Segments                 int
	PendingRecords           int64
	PendingBytes             int64
	// PinnedBytes is what cannot go because of pending records: their segments.
	// When it reaches MaxBytes, nothing more may become pending.
	PinnedBytes   int64
	OldestPending time.Time // zero: nothing is pending
	// Since is from when on everything is there: the effective window.
	Since   time.Time
	Syncs   uint64
	SyncP50 time.Duration // of the last minutes
	SyncP99 time.Duration
	SyncMax time.Duration
	// Problem says why nothing can be written now, or nothing more can become
	// pending; empty: it can.
	Problem string
	// Damaged counts bytes that could not be read since Open, each place once.
	Damaged int64
	// Indexed is how many keys Known knows.
	Indexed int64
	// CrashSafe: it survives the process.
	CrashSafe bool
}

// Journal is an open journal. Safe for concurrent use.
//
// Callers encode their records and add them to a batch. The writer, the only
// one to write to the newest segment, takes one batch after the other; the
// syncer, the only one to sync it, makes durable what was written until then;
// the keeper drops segments. Whoever waits for one of them waits on a channel,
// so a hanging disk holds nobody beyond his context.
type Journal struct {
	o        Options
	fs       files
	identity [16]byte
	boot     uint32
	hash     hasher
	state    *state
	disk     disk
	latency  latency
	damaged  atomic.Int64
	underway underway

	mu sync.Mutex // guards what follows; never held while the disk works
	// work wakes the writer, sync the syncer, calm who waits for the syncer.
	work, sync, calm sync.Cond
	next             Position // the last one that was given away
	batch            *batch   // being filled
	carry            *batch   // what the keeper takes over, or nil
	queued           int64    // bytes of pending records in batches that are not written
	refused          int64    // bytes of pending records for which there was no room; zero: there is
	backlog          int64    // bytes of records that are not synced, or not written
	written          int64    // of the backlog
	room             chan struct{}
	closed           bool
	closeErr         error
	stopped          chan struct{} // closed when writer and syncer have ended
	kick             chan struct{} // wakes the keeper
	kept             chan struct{} // closed when the keeper has ended
	keepAfter        time.Time     // the keeper's own: not again before, after a failure

	// Between writer and syncer, guarded by mu.
	seg      *segment // the newest; changed by the writer alone
	unsynced []*batch // written, not known to be synced, in order
	dirty    bool     // seg was cut, which has to be synced
	wantSync bool
	failed   error    // of the last sync: the writer has to rescue what is unsynced
	rescue   bool     // the writer shall try now
	rotate   bool     // the writer shall start a new segment
	strays   []string // segments that could not be made, and may be there after a crash
	ended    bool     // the writer has ended
}

// Identity names the journal: a random text, made with it.
func (j *Journal) Identity() string { return uuid.UUID(j.identity).String() }

// Position returns that of the last record which is written.
func (j *Journal) Position() Position { return Position(j.state.last.Load()) }

// PendingCount returns how many records are pending. It costs an atomic load.
func (j *Journal) PendingCount() int64 { return j.state.pendingCount.Load() }
