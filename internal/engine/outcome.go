package engine

import (
	"context"
	"errors"

	"github.com/jackcache/jackcache/internal/store"
)

// Outcome says how an operation ended.
type Outcome uint8

// The outcomes. Those from Conflict on are failures.
const (
	Done     Outcome = iota + 1 // a write
	Hit                         // a read found all that it asked for
	Miss                        // nothing
	Partial                     // some of it
	Loaded                      // nothing, and a loader brought it
	NotKept                     // a fill, because somebody wrote meanwhile
	Accepted                    // a write, which waits for the store
	Conflict
	ConditionFailed
	Unavailable
	Unknown
	Rejected
	Full
	Corrupt
	GivenUp    // the caller's context ended first
	LoadFailed // the loader's error
	JournalFailed
	OtherFailed // any other
	outcomes
)

var outcomeNames = [outcomes]string{
	"", "done", "hit", "miss", "partial", "loaded", "notKept", "pending",
	"conflict", "precondition", "unavailable", "unknown", "rejected", "full", "corrupt", "givenUp", "loaderFailed", "journal", "failed",
}

// String returns the outcome's name.
func (o Outcome) String() string { return outcomeNames[o] }

// Failed reports whether the call returned an error.
func (o Outcome) Failed() bool { return o >= Conflict }

// failures are the errors of outcomes, the most specific first.
var failures = []struct {
	err     error
	outcome Outcome
}{
	{ErrJournal, JournalFailed},
	{ErrConflict, Conflict},
	{ErrCondition, ConditionFailed},
	{store.ErrFull, Full},
	{store.ErrRejected, Rejected},
	{store.ErrCorrupt, Corrupt},
	{store.ErrUnavailable, Unavailable},
	{context.DeadlineExceeded, Unavailable}, // the engine's: the caller's is not over
}

// outcomeOf judges an error as the contract does; caller is the context without
// the engine's own deadline.
func outcomeOf(caller context.Context, err error) Outcome {
	if errors.As(err, new(*LoadError)) {
		return LoadFailed
	}
	if errors.Is(err, store.ErrUnknown) {
		return Unknown
	}
	if cause := caller.Err(); cause != nil && errors.Is(err, cause) {
		return GivenUp
	}
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return f.outcome
		}
	}
	return OtherFailed
}
