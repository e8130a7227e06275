package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
)

// The classes of failure. Anything else that a store returns wraps one of them,
// or is ctx.Err() of a call that was never sent.
var (
	// ErrUnavailable: the store did not do it and cannot now.
	ErrUnavailable = errors.New("store unavailable")
	// ErrUnknown: the store may or may not have done it, or will do it later.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnseen: the store has done it, and whether every process has seen it is
	// not known.
	ErrUnseen = errors.New("done, but maybe not seen by all instances yet")
	// ErrRejected: the store refused it (out of memory, no permission); it would again.
	ErrRejected = errors.New("store rejected the operation")
	// ErrFull: rejected because the store has no room.
	ErrFull = errors.New("store is full")
	// ErrCorrupt: what is stored cannot be read by this build.
	ErrCorrupt = record.ErrCorrupt
)

// MaxGeneration bounds generations: what Lua's numbers hold exactly.
const MaxGeneration = 1<<53 - 1

// Action says what an Op does.
type Action uint8

// The actions.
const (
	Set     Action = iota + 1 // a value, or with the Tombstone flag its deletion
	Append                    // messages to a conversation
	Replace                   // a conversation by messages; by none: clear
)

// Mode says who applies an Op.
type Mode uint8

const (
	// Live operations belong to a caller who waits: where their version lost
	// they change nothing and say so, and the caller stamps them again.
	Live Mode = iota
	// Merge operations carry a place they had before (replay, import): they are
	// merged where they belong, and never prolong a life.
	Merge
)

// Op is one write. The zero fields mean what their comments say.
type Op struct {
	Action     Action
	Mode       Mode
	Key        keys.Key
	Version    clock.Version
	Generation uint64

	// TTL is the life from now, by the store's clock; ExpiresAt an instant by
	// the store's clock. Exactly one is set; an ExpiresAt that is past skips the
	// operation.
	TTL       time.Duration
	ExpiresAt time.Time

	// MaxLife bounds the life of a conversation from its creation, however
	// often it is written to. Zero: no bound.
	MaxLife time.Duration

	// Keep is how long the floor of a Replace is remembered when that is longer
	// than the life. Zero: as long as the life.
	Keep time.Duration

	// Flags and Payload are the value of a Set, as stored.
	Flags   record.Flags
	Payload []byte

	// If restricts a Set.
	If Condition

	Messages []Message
	Window   Window
}

// Message is one message of an Append or Replace. Its order is the version of
// the Op and Index, or At where that is not zero.
type Message struct {
	ID      string
	Digest  [8]byte // of role and content: tells a repetition from a conflict
	Index   uint16
	At      record.Order // imports carry an order of their own
	Flags   record.Flags
	Payload []byte // as stored
}

// Order returns the place of m under the version of its Op.
func (m Message) Order(v clock.Version) record.Order {
	if m.At != (record.Order{}) {
		return m.At
	}
	return record.Order{Version: v, Index: m.Index}
}

// Window bounds a conversation. It may grow by Slack messages, and by an eighth
// in bytes, before it is trimmed back.
type Window struct {
	Messages int
	Slack    int
	Bytes    int // of stored messages; zero: no bound
	IDs      int // how many ids are remembered for finding repetitions
}

// Condition restricts a Set by what is stored.
type Condition struct {
	Kind    ConditionKind
	Version clock.Version // for IfVersion and IfSeen
}

// ConditionKind names a condition.
type ConditionKind uint8

// The conditions.
const (
	Always    ConditionKind = iota
	IfAbsent                // no live value
	IfVersion               // the live value has Version
	IfSeen                  // the key, tombstones included, is as it was seen: Version, or zero for nothing
)

// Status is what became of an Op.
type Status uint8

// The statuses. Only Applied and Unchanged mean that the Op is part of the
// state now.
const (
	Applied       Status = iota + 1
	Unchanged            // it was part of the state before
	Superseded           // Version is higher (Set), or at or above it nothing can be inserted (Append, Replace)
	Stale                // Generation is higher than the Op's
	Conflict             // the same version or id with another content
	Ahead                // the Op's version is more than clock.MaxAhead ahead of StoreTime
	ConditionFail        // the condition does not hold; Version is what is stored
	Expired              // ExpiresAt is past
)

// Result is the answer to an Op.
type Result struct {
	Status Status
	// Version is that of the winner for a Set; for Superseded the version that a
	// new try must exceed.
	Version clock.Version
	// Generation is the organisation's, read after the Op was applied.
	Generation uint64
	ExpiresAt  time.Time
	StoreTime  time.Time
	// Placed has an entry for each message of the Op, in its order.
	Placed []Placed
	// ConflictID names the first message of a Conflict.
	ConflictID string
}

// Placed is where a message is stored.
type Placed struct {
	Order record.Order
	// Duplicate: the id was stored before; Order is where.
	Duplicate bool
	// Dropped: its place is below the floor or the window (Merge only).
	Dropped bool
}

// Read is what a key holds.
type Read struct {
	Found      bool // something is stored: a value of any generation, or a tombstone
	Value      record.Value
	Generation uint64 // the organisation's
	// Left is what is left of the life of what was found; zero: it was not asked for,
	// or is not known.
	Left time.Duration
}

// Live reports whether the value is there for a reader.
func (r Read) Live() bool {
	return r.Found && !r.Value.IsTombstone() && r.Value.Generation >= r.Generation
}

// Log is what a conversation holds, oldest first.
type Log struct {
	Messages   []record.Message // all of the current generation
	Generation uint64
	// Left is what is left of the conversation's life; zero: it is not known.
	Left time.Duration
}

// Query restricts a listing.
type Query struct {
	Type   keys.Type
	Org    keys.Org // zero: all organisations
	Cursor string   // of the page before; empty: from the start
	Limit  int      // about how many entries; zero: 100
}

// Page is part of a listing. An entry may come twice when the store changed
// meanwhile.
type Page struct {
	Entries []Entry
	Cursor  string // empty: no more
}

// Entry is one live key of a listing.
type Entry struct {
	Key       keys.Key
	Version   clock.Version // of the value, or of the newest message
	Messages  int           // of a conversation
	Bytes     int           // as stored
	ExpiresAt time.Time
}

// Store keeps values, conversations and generations. All methods are safe for
// concurrent use and honour the deadline of their context. Byte slices that are
// passed in are never changed, and the caller must not change them either: an
// operation whose outcome is unknown may still be on its way. Nor may callers
// change the Stored fields that come out.
type Store interface {
	// Get reads one value together with its organisation's generation.
	Get(ctx context.Context, k keys.Key) (Read, error)
	// GetMany reads several values of one organisation in one round trip; the
	// results are in the order of ks. With a *PartialError they are those of the keys
	// that could be read; any other error counts for all of them.
	GetMany(ctx context.Context, ks []keys.Key) ([]Read, error)
	// GetLives is GetMany with Read.Left.
	GetLives(ctx context.Context, ks []keys.Key) ([]Read, error)
	// Refresh prolongs the life of a value that was read, if it is still the one that
	// is live and Due says so; a life is never shortened. left is what is left of it
	// afterwards, zero where the value is not live any more. Errors are those of a
	// read: after one it may be prolonged all the same.
	Refresh(ctx context.Context, r Refresh) (left time.Duration, err error)
	// Messages reads the newest messages of a conversation, at most last; zero
	// means all.
	Messages(ctx context.Context, k keys.Key, last int) (Log, error)
	// Apply applies one operation.
	Apply(ctx context.Context, op Op) (Result, error)
	// Generation reads an organisation's generation; missing is zero.
	Generation(ctx context.Context, o keys.Org) (uint64, error)
	// Invalidate raises the generation above what is stored and above known, and
	// returns the new one.
	Invalidate(ctx context.Context, o keys.Org, known uint64) (uint64, error)
	// RaiseGeneration sets the generation to at least g and returns it. It is
	// the form of Invalidate that can be repeated.
	RaiseGeneration(ctx context.Context, o keys.Org, g uint64) (uint64, error)
	// List returns a page of live keys. It may take longer than a single read.
	List(ctx context.Context, q Query) (Page, error)
	// Health tells how the store is. It never waits for it.
	Health() Health
	Mover
	// Close waits for what is under way until ctx ends, then lets go.
	Close(ctx context.Context) error
}

// Health is what a store knows of itself. The zero values mean unknown.
type Health struct {
	Kind    string    // "redis" or "embedded"
	State   State     // whether operations go through
	Since   time.Time // of State
	Problem string    // why State is not Up, in words
	// Blocked: nothing is served until what Problem says has ended.
	Blocked bool
	// Warnings are settings and conditions that endanger a promise.
	Warnings []string

	ServerVersion string
	Role          string
	UsedBytes     int64
	MaxBytes      int64
	Keys          int64
	InFlight      int
	Reconnects    int64
	// Suspected counts how often a server may have lacked acknowledged writes;
	// Confirmed those of them where it was certain.
	Suspected, Confirmed int64

	// Nodes has the masters, for a store that is made of servers.
	Nodes []NodeHealth
}

// NodeHealth is what is known of one server.
type NodeHealth struct {
	Addr     string
	State    State
	Since    time.Time // of State
	Problem  string    // why State is not Up, in words
	Warnings []string
	Offers   Offers

	UsedBytes  int64
	MaxBytes   int64
	Keys       int64
	InFlight   int
	Reconnects int64
	// Doubt says why it may lack acknowledged writes; empty: it has them.
	Doubt string
	// Tracking is whether this process hears of what changes there; the zero value
	// where nobody listens.
	Tracking TrackingHealth
}

// TrackingHealth is how well a process hears of what changes on a server.
type TrackingHealth struct {
	// Proven: a signal that was written came back by the way on which changes are
	// told. Age is how long ago it was sent: whether that is young enough is for who
	// serves from memory.
	Proven bool
	Age    time.Duration
	Since  time.Time // of Proven
	// Problem says in words why nothing is proven, or what stood in the way of the
	// last signal; empty: nothing.
	Problem string
}

// Offers is what a server was found to offer. The zero values mean unknown.
type Offers struct {
	Version     string
	Role        string // "master" or "slave", as the server says it
	Replicas    int    // connected
	Persistence string // "aof", "rdb", "none", or "unknown"
	Eviction    string // maxmemory-policy
	// Tracking: it tells clients which keys changed.
	Tracking bool
	// Missing are commands that are needed and that it refuses.
	Missing []string
}

// State tells whether operations reach a store.
type State uint8

// The states of a store.
const (
	Up       State = iota + 1 // operations go through
	Down                      // operations are refused at once
	Probing                   // operations are refused, the first probes succeed
	Starting                  // not reached yet
	Partial                   // operations on some keys go through
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Down:
		return "down"
	case Probing:
		return "probing"
	case Starting:
		return "starting"
	case Partial:
		return "partial"
	}
	return "unknown"
}
