package engine

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Loader brings a value from where it is kept for good.
type Loader func(context.Context) ([]byte, error)

// LoadError is what a loader returned.
type LoadError struct{ Err error }

// Error is that of the loader.
func (e *LoadError) Error() string { return e.Err.Error() }

// Unwrap gives the loader's error.
func (e *LoadError) Unwrap() error { return e.Err }

// GetOrLoad reads a value, or loads it once for all callers who miss it at the
// same time, and keeps what was loaded if nobody wrote meanwhile. When the store
// is away the loader runs, once in this process, and nothing is kept.
//
// Callers share a load only if they missed the same: one who comes after a
// write, a deletion or an invalidation, wherever it was made, sees another
// version or generation and does not get a value from before it.
//
// The callers of other processes wait until the value is in the store. They load
// themselves where it does not come: one process after the other where the loader
// failed, each for its own error, and all of them once half of LoadTimeout has
// passed, so that a load that hangs here does not hang everywhere.
func (e *Engine) GetOrLoad(ctx context.Context, k keys.Key, p Policy, load Loader) (v Value, err error) {
	if err := e.check(); err != nil {
		return Value{}, err
	}
	t := e.taps.begin(ctx, OpGet, &k)
	t.in(&p)
	defer func() { t.end(err) }()
	defer func() { t.read(&v) }()
	if e.fresh(&k, nil, &p, &v) && v.Found {
		return v, nil
	}
	seen, v, missing := e.look(ctx, k, p)
	switch {
	case missing == nil && v.Found:
		return v, nil
	case missing != nil && !errors.Is(missing, store.ErrUnavailable):
		return Value{}, missing
	}
	v, err = e.flights.Do(ctx, flightKey(k, seen, missing), e.cfg.LoadTimeout, func(ctx context.Context) (Value, error) {
		return e.load(ctx, k, p, seen, missing, load)
	})
	v.Shared = true
	return v, err
}

func flightKey(k keys.Key, seen seenValue, missing error) string {
	if missing != nil {
		return k.String() + " unseen"
	}
	return k.String() + " " + seen.Value.Version.String() + " " + strconv.FormatUint(seen.Generation, 16)
}

// load is GetOrLoad for one who missed, and the only one in this process who
// missed that; missing says why nothing was seen.
func (e *Engine) load(ctx context.Context, k keys.Key, p Policy, seen seenValue, missing error, load Loader) (Value, error) {
	alone := p.LocalOnly || e.leaser == nil
	if alone || missing != nil {
		// A load that has just ended may have left it, or the store may be back.
		if seen, missing = e.seen(ctx, k, p); missing == nil {
			if v, err := e.read(k, seen, p); err != nil || v.Found {
				return v, err
			}
		}
	}
	if alone || missing != nil {
		return e.loadHere(ctx, k, p, seen, missing, load)
	}
	return e.loadTogether(ctx, k, p, seen, load)
}

// loadHere calls the loader in this process, and keeps what it gave where it is
// known what was missing.
func (e *Engine) loadHere(ctx context.Context, k keys.Key, p Policy, seen seenValue, missing error, load Loader) (Value, error) {
	payload, err := e.callLoader(ctx, k, load)
	if err != nil {
		return Value{}, err
	}
	v := Value{Found: true, Version: e.fillVersion(seen), Payload: payload, Source: FromLoader}
	if missing == nil {
		e.fill(ctx, k, p, v, seen)
	}
	return v, nil
}

func (e *Engine) callLoader(ctx context.Context, k keys.Key, load Loader) (payload []byte, err error) {
	t := e.taps.begin(ctx, OpLoad, &k)
	t.loads()
	defer func() { t.end(err) }()
	err = errPanicked // until it returns
	ctx, m := e.measure(ctx, OpLoad, k.Type())
	defer func() { m.end(err) }()
	if payload, err = load(ctx); err != nil {
		return nil, &LoadError{Err: err}
	}
	t.wrote(payload)
	return payload, nil
}

// fillVersion is higher than what was seen and lower than any live write, so
// that a fill never wins over a write that was acknowledged elsewhere.
func (e *Engine) fillVersion(seen seenValue) clock.Version {
	node := e.cfg.Clock.Node()
	v := clock.Historic(e.cfg.Clock.Time(), node)
	if seen.Found {
		if n := seen.Value.Version.Next(node); n.Compare(v) > 0 {
			return n
		}
	}
	return v
}

// fill stores a loaded value unless the key changed since it was seen. Failing
// costs a later load, nothing else, so it is only counted.
func (e *Engine) fill(ctx context.Context, k keys.Key, p Policy, v Value, seen seenValue) {
	var err error
	t := e.taps.begin(ctx, OpFill, &k)
	t.in(&p)
	t.wrote(v.Payload)
	defer func() { t.end(err) }()
	if p.LocalOnly {
		r := record.Value{Version: v.Version, Generation: seen.Generation, Stored: append([]byte(nil), v.Payload...)}
		e.local.Fill(k, r, p.life(), seen.Value.Version)
		return
	}
	defer e.drop(k)
	ctx, end := e.begin(ctx, OpFill, k.Type())
	defer end(&err)
	stored, flags := record.Compress(v.Payload, p.CompressAbove)
	cond := store.Condition{Kind: store.IfSeen}
	if seen.Found {
		cond.Version = seen.Value.Version
	}
	var res store.Result
	res, err = e.cfg.Store.Apply(ctx, store.Op{
		Action: store.Set, Key: k, Version: v.Version, Generation: seen.Generation,
		TTL: p.TTL, Flags: flags, Payload: stored, If: cond,
	})
	t.filled(res)
}
