package jackcache

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// The errors of this package. What a call returns wraps one of them, or is the
// error of the caller's context, or that of the caller's loader; test with
// errors.Is.
var (
	// ErrNotFound: nothing is stored.
	ErrNotFound = errors.New("jackcache: not found")
	// ErrInvalid: the input is not allowed; the message says what is.
	ErrInvalid = errors.New("jackcache: invalid input")
	// ErrTooLarge: the input is over a limit in bytes or counts.
	ErrTooLarge = errors.New("jackcache: too large")
	// ErrConflict: the message id is taken by a message with another role or
	// content. Nothing was stored. See ConflictError.
	ErrConflict = errors.New("jackcache: conflict")
	// ErrPrecondition: what is stored is not what the condition asked for.
	ErrPrecondition = errors.New("jackcache: precondition failed")
	// ErrJournal: the store is away, and the journal cannot keep the write until it
	// is back; or it cannot keep the second copy that a write needs. Nothing was
	// stored; try again. It recovers when the journal's disk does.
	ErrJournal = errors.New("jackcache: the journal cannot take the write")
	// ErrJournalFull is an ErrJournal: as much waits for the store as may.
	ErrJournalFull = fmt.Errorf("%w: it is full", ErrJournal)
	// ErrUnavailable: the store is away. Nothing was stored; try again.
	ErrUnavailable = errors.New("jackcache: store unavailable")
	// ErrWrongStore: the store is not the one that the data directory belongs to,
	// so nothing is read from it or written to it. It is an ErrUnavailable, too.
	ErrWrongStore = fmt.Errorf("%w: wrong store", ErrUnavailable)
	// ErrUnknown: the write may or may not have happened, or happen later. To
	// repeat it is safe: an append with the same message ids is there once.
	ErrUnknown = errors.New("jackcache: outcome unknown")
	// ErrUnseen: an invalidation is done and stays so, and it is not known whether
	// other instances still give a copy of before. None does once its
	// NearOptions.Freshness has passed; to invalidate again is safe.
	ErrUnseen = errors.New("jackcache: done, but maybe not seen by all instances yet")
	// ErrFull: the store refused the write because it has no room.
	ErrFull = errors.New("jackcache: store is full")
	// ErrRejected: the store refused the operation and would again, for example
	// for lack of a permission.
	ErrRejected = errors.New("jackcache: rejected by the store")
	// ErrCorrupt: what is stored cannot be read by this version.
	ErrCorrupt = errors.New("jackcache: stored data cannot be read")
	// ErrDisabled: the feature is off; the message names its setting.
	ErrDisabled = errors.New("jackcache: disabled")
	// ErrBusy: it is done as often at a time as is allowed; try again later.
	ErrBusy = errors.New("jackcache: busy")
	// ErrTimeout: a load takes longer than KindOptions.HardTimeout. It goes on; try
	// again later.
	ErrTimeout = errors.New("jackcache: timeout")
	// ErrClosed: the cache was closed.
	ErrClosed = errors.New("jackcache: closed")
)

// ConflictError tells which message of an append was in conflict.
type ConflictError struct{ ID string }

// Error names the message.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: message id %q is stored with another role or content", ErrConflict, e.ID)
}

// Unwrap makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// PartialError says that some reads of a call for several could not be answered. What
// could be is returned beside it. errors.Is finds the errors of the others.
type PartialError struct {
	// Errs has the error of each read, in the order of the call; nil: it was answered.
	Errs []error
}

// Error tells how many could not be answered, and the first error.
func (e *PartialError) Error() string {
	return "jackcache: " + (&store.PartialError{Errs: e.Errs}).Error()
}

// Unwrap returns the errors of those that could not be answered.
func (e *PartialError) Unwrap() []error { return (&store.PartialError{Errs: e.Errs}).Unwrap() }

// failedReads are the errors of several reads, in their order; nil: there are none.
type failedReads []error

// of returns the error of one.
func (f failedReads) of(i int) error {
	if f == nil {
		return nil
	}
	return f[i]
}

// fails notes the error of one of n.
func (f *failedReads) fails(i, n int, err error) {
	if *f == nil {
		*f = make(failedReads, n)
	}
	(*f)[i] = err
}

// err is what a call returns; nil where all were answered.
func (f failedReads) err() error {
	if f == nil {
		return nil
	}
	return &PartialError{Errs: f}
}

// mapped are the inner errors and what they are called here, the most specific
// first.
var mapped = []struct{ inner, outer error }{
	{engine.ErrClosed, ErrClosed},
	{engine.ErrTimeout, ErrTimeout},
	{engine.ErrJournalFull, ErrJournalFull},
	{engine.ErrJournal, ErrJournal},
	{engine.ErrConflict, ErrConflict},
	{engine.ErrCondition, ErrPrecondition},
	{store.ErrFull, ErrFull},
	{store.ErrRejected, ErrRejected},
	{store.ErrCorrupt, ErrCorrupt},
	{store.ErrWrongStore, ErrWrongStore},
	{store.ErrUnavailable, ErrUnavailable},
	{keys.ErrInvalid, ErrInvalid},
}

// mapError turns an inner error into one of this package's and keeps its text.
// A deadline that this package set is the store's failure, not the caller's.
func mapError(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if loader := (*engine.LoadError)(nil); errors.As(err, &loader) {
		return loader.Err
	}
	if errors.Is(err, store.ErrUnknown) {
		// Also where the caller gave up: what was sent may still happen.
		return fmt.Errorf("%s: %w: %w", op, ErrUnknown, err)
	}
	if errors.Is(err, store.ErrUnseen) {
		return fmt.Errorf("%s: %w: %w", op, ErrUnseen, err)
	}
	if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
		return fmt.Errorf("%s: %w", op, err)
	}
	for _, m := range mapped {
		if errors.Is(err, m.inner) {
			return fmt.Errorf("%s: %w: %w", op, m.outer, err)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
