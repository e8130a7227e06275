package engine

import (
	"context"
	"errors"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// NothingError is what a loader returns to say that there is no value.
type NothingError struct{ Err error }

// Error is that of the error in it.
func (e *NothingError) Error() string { return e.Err.Error() }

// Unwrap gives the error in it.
func (e *NothingError) Unwrap() error { return e.Err }

// loadError is what callers get of an error of a loader.
func loadError(err error) *LoadError {
	if n, ok := err.(*NothingError); ok {
		return &LoadError{Err: n.Err, nothing: true}
	}
	return &LoadError{Err: err}
}

// foundNothing reports whether an error is that of a loader which says that there is
// no value.
func foundNothing(err error) bool {
	var l *LoadError
	return errors.As(err, &l) && l.nothing
}

// absence is that a loader found nothing for one who had seen a deletion. It counts
// for who sees the same: whatever is written or invalidated ends it.
type absence struct {
	version    clock.Version
	generation uint64
	until      int64 // as store.Now
}

// foundNothing remembers that a loader found nothing for one who had seen this, as far
// as the kind wants it and it is known what was missing.
//
// In the store it is a deletion with a version that is lower than that of any write,
// so that each takes its place. A deletion by a caller must stay for as long as
// a load may run that began before it: beside one it is remembered in this
// process, as it is of kinds that are not shared.
func (e *Engine) foundNothing(ctx context.Context, k keys.Key, p Policy, seen seenValue, missing error) {
	defer e.drop(k) // what is kept of it must not be given as stale any more
	if p.NegativeTTL <= 0 || missing != nil {
		return
	}
	deleted := seen.Found && seen.Value.Generation >= seen.Generation
	if p.LocalOnly || deleted {
		e.absences.Set(k.String(), absence{
			version: seen.Value.Version, generation: seen.Generation, until: store.Now() + int64(p.NegativeTTL),
		})
		return
	}
	e.fillShared(ctx, k, p, seen, store.Op{
		Version: clock.Absence(e.cfg.Clock.Node()), TTL: p.NegativeTTL, Flags: record.Tombstone,
	})
}

// nothing reports whether it is remembered that there is no value, for one who sees
// this.
func (e *Engine) nothing(k keys.Key, p Policy, r store.Read) bool {
	if p.NegativeTTL <= 0 || r.Live() {
		return false
	}
	if r.Found && r.Value.Generation >= r.Generation && r.Value.Version.IsAbsence() {
		return true
	}
	a, ok := e.absences.GetIfPresent(k.String())
	return ok && a.version == r.Value.Version && a.generation == r.Generation && store.Now() < a.until
}

// answers reports whether what was seen is an answer for one who would load: an
// error, a value, or that there is none.
func (e *Engine) answers(k keys.Key, p Policy, r seenValue) (v Value, ok bool, err error) {
	v, err = e.read(k, r, p)
	return v, err != nil || v.Found || e.nothing(k, p, r.Read), err
}
