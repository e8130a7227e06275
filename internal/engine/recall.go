package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// seenValue is what a key holds, and who said so.
type seenValue struct {
	store.Read
	source Source
}

// away reports whether an error of a read says that the store could not be asked.
func away(err error) bool {
	return !errors.Is(err, store.ErrBlocked) && !errors.Is(err, store.ErrWrongStore) &&
		(errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded))
}

// uncertain reports whether the store may not show all that was acknowledged here.
func (e *Engine) uncertain(k keys.Key) bool {
	return e.journal.PendingCount() > 0 && e.journal.HasPending(k) || e.shared.Doubtful(k)
}

// knownOf returns what the journal knows of a key and is not invalidated.
func (e *Engine) knownOf(k keys.Key) ([]*journal.Record, error) {
	rs, err := e.journal.Known(k)
	if err != nil || len(rs) == 0 {
		return nil, err
	}
	if at, ok := e.ended.Load(k.Org()); ok {
		rs = slices.DeleteFunc(rs, func(r *journal.Record) bool { return r.Position < at.(journal.Position) })
	}
	known := e.known(k.Org())
	return slices.DeleteFunc(rs, func(r *journal.Record) bool {
		return r.Kind == journal.Applied && r.Op.Generation < known
	}), nil
}

// recall completes what a read of the store gave by what this instance has
// acknowledged, or answers in its place where it is away.
func (e *Engine) recall(k keys.Key, r seenValue, err error) (seenValue, error) {
	if e.journal == nil || err == nil && !e.uncertain(k) || err != nil && !away(err) {
		return r, err
	}
	rs, failed := e.knownOf(k)
	if failed != nil {
		return r, errors.Join(err, failed)
	}
	best, at, pending := record.Value{}, (*journal.Record)(nil), false
	now := e.cfg.Clock.Time()
	for _, c := range rs {
		if c.Op.Action != store.Set || !now.Before(c.Op.ExpiresAt) {
			continue
		}
		v := record.Value{Version: c.Op.Version, Generation: c.Op.Generation, Flags: c.Op.Flags, Stored: c.Op.Payload}
		if c.Kind == journal.Pending {
			v.Generation = max(v.Generation, e.known(k.Org()), r.Generation)
		}
		if at == nil || exceeds(v, best) {
			best, at, pending = v, c, c.Kind == journal.Pending
		}
	}
	switch {
	case at == nil:
		return r, err
	case err == nil && r.Found && !exceeds(best, r.Value):
		return r, nil
	}
	source := FromStale
	if pending || err == nil {
		source = FromPending
	}
	return seenValue{source: source, Read: store.Read{
		Found: true, Value: best, Generation: max(r.Generation, e.known(k.Org())),
	}}, nil
}

// exceeds reports whether a stands in the place of b.
func exceeds(a, b record.Value) bool {
	if a.Generation != b.Generation {
		return a.Generation > b.Generation
	}
	return a.Version.Compare(b.Version) > 0
}

// recallLog is recall for a conversation.
func (e *Engine) recallLog(ctx context.Context, k keys.Key, last int, log Log, err error) (Log, error) {
	if err == nil && !e.uncertain(k) || err != nil && !away(err) {
		return log, err
	}
	v, failed := e.view(k)
	if failed != nil {
		return log, errors.Join(err, failed)
	}
	defer v.mu.Unlock()
	if v.records == 0 || !e.cfg.Clock.Time().Before(v.life) {
		return log, err
	}
	if err == nil && last > 0 {
		// A repetition may stand before the last ones.
		if log.Log, err = e.cfg.Store.Messages(ctx, k, 0); err != nil && !away(err) {
			return log, err
		}
	}
	log.Source = FromStale
	if err == nil || e.journal.HasPending(k) {
		log.Source = FromPending
	}
	log.Partial = err != nil || e.shared.Doubtful(k)
	log.Generation = max(log.Generation, e.known(k.Org()))
	window := max(v.window, len(log.Messages))
	if last > 0 {
		window = min(window, last)
	}
	if log.Messages = v.over(log.Messages); window > 0 && len(log.Messages) > window {
		log.Messages = log.Messages[len(log.Messages)-window:]
	}
	return log, nil
}
