package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
)

// ErrBlocked means that nothing may be read or written yet, or at all: it is
// no outage that a write may wait for. It comes with ErrUnavailable.
var ErrBlocked = errors.New("store is blocked")

// Position is a place in an instance's journal. Positions grow, over restarts,
// too. The zero Position is before every record.
type Position uint64

// Shared is a Store that lives apart from this process: it can be away, and it
// can come back without what it had acknowledged.
type Shared interface {
	Store
	// Serves reports whether an operation on the key would be sent now. It never
	// waits.
	Serves(k keys.Key) bool
	// Doubtful reports whether the server that has the key may lack writes that
	// were acknowledged: it has been away, another one stands in its place, or it
	// was found without data; and Suspicion.Done was not called yet. It never
	// waits. It is true before the first operation after the event is answered.
	Doubtful(k keys.Key) bool
	// InvalidateOnce is Invalidate that can be repeated: the same token again
	// changes nothing and returns the generation that it led to, for at least a
	// day, unless the store lost its data. The token is a version that was stamped
	// for this invalidation alone. Both may leave out generations: where the store
	// may have lost the one that was there, they lead above it.
	InvalidateOnce(ctx context.Context, o keys.Org, known uint64, token clock.Version) (uint64, error)
	// Bounds returns what a conversation forgot on purpose: what has a version
	// below the floor, and what stands at or below trimmedTo. Exists is false where
	// nothing is remembered of it; a conversation whose life has ended may still
	// have its floor. Errors are those of a read.
	Bounds(ctx context.Context, k keys.Key) (floor clock.Version, trimmedTo record.Order, exists bool, err error)
	// Raised returns the notes with numbers above after, lowest first, of generations
	// that RaiseGeneration was about to raise because the store had lost them, in the
	// last 48 hours: one that is not read yet may be about to be. An organisation may
	// have several. After zero: all. Errors are those of a read.
	Raised(ctx context.Context, after uint64) ([]Raised, error)
	// Missed tells that a key is not there which was acknowledged, and whose life
	// is not over: its server is in doubt from now on, and is looked at. Of calls
	// within a second one counts for each server. It never waits, and reports whether
	// the server is looked at because of it.
	Missed(k keys.Key) bool
}

// Refuser is a Store that tells beforehand what it would not send.
type Refuser interface {
	// Away returns the ErrUnavailable with which a write of the key would be refused now,
	// before anything is made ready or sent, because the key's server does not answer. It
	// is nil where the write would be sent, or be refused for another reason. It never
	// waits.
	Away(k keys.Key) error
}

// Witness knows what an instance was told that the store has. A Shared store
// asks it what its heartbeats shall say, and tells it when a server may have
// lost something. Its methods do not block.
type Witness interface {
	// Identity names the journal. It is the same after a restart.
	Identity() string
	// Position returns the end of the journal: what is recorded up to there as
	// acknowledged by the store was acknowledged before the call. A heartbeat is
	// sent after the call, so a server that has the heartbeat has all of that.
	Position() Position
	// Suspect is told of a server that serves, and may lack writes that it had
	// acknowledged. Until Done was called the server gets no further heartbeat.
	Suspect(Suspicion)
}

// Suspicion is what a server may have lost.
type Suspicion struct {
	Server string // its address
	Reason string // in words, for the log
	// From is what the heartbeat that the server has says: all up to it is there.
	// Zero: there is none, everything may be missing.
	From Position
	// Confirmed: the heartbeat is gone, or older than one that was acknowledged.
	Confirmed bool
	// Covers reports whether the server may lack the key.
	Covers func(key string) bool
	// Done is called once all that was acknowledged after From was applied again.
	Done func()
}

// Raised is a generation that was lost, and raised again by somebody who knew it.
// What was written in between counts as written under a lower one.
type Raised struct {
	Org        keys.Org
	Generation uint64
	// Note is the number of the note, about the store's time in microseconds. It grows
	// with each, and one generation that is noted again has the number of the last time.
	// It may be lower than one of before when another server has taken over.
	Note uint64
}

// earliest is the lowest generation that is a time: counting does not reach it.
const earliest = 100_000_000_000_000 // in 1973

// At returns when the invalidation was that led to the generation, by the clock of the
// store; false: it does not tell.
func (r Raised) At() (time.Time, bool) {
	return time.UnixMicro(int64(r.Generation)), r.Generation >= earliest && r.Generation <= MaxGeneration
}
