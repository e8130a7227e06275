package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Source tells where a value came from.
type Source uint8

// The sources.
const (
	FromNear   Source = iota + 1 // this process
	FromShared                   // the store
	FromLoader
	FromPending // this instance, which has accepted it; the store may not have it
	FromStale   // this instance, which wrote it; others may have written since
)

// Value is what a read gives.
type Value struct {
	Found   bool
	Version clock.Version
	Payload []byte
	Source  Source
	Shared  bool // others read the same Payload; otherwise it is the caller's
}

// Policy is how values of a kind are kept.
type Policy struct {
	TTL           time.Duration
	Keep          time.Duration // of a tombstone
	CompressAbove int           // bytes; negative: never
	LocalOnly     bool
	// Derived values can be had again from elsewhere: they are written without a
	// second copy where the journal cannot take one.
	Derived bool
}

// Get reads one value.
func (e *Engine) Get(ctx context.Context, k keys.Key, p Policy) (v Value, err error) {
	if err := e.check(); err != nil {
		return Value{}, err
	}
	t := e.taps.begin(ctx, OpGet, k)
	t.in(p)
	defer t.end(&err)
	r, err := e.seen(ctx, k, p)
	if err != nil {
		return Value{}, err
	}
	v, err = e.read(k, r, p)
	t.read(v)
	return v, err
}

// read turns what a store holds into what a caller sees.
func (e *Engine) read(k keys.Key, r seenValue, p Policy) (Value, error) {
	e.learn(k.Org(), r.Generation)
	if r.Found {
		e.cfg.Clock.Observe(r.Value.Version)
	}
	if !r.Live() {
		return Value{}, nil
	}
	payload, err := r.Value.Payload()
	if err != nil {
		return Value{}, err
	}
	v := Value{Found: true, Version: r.Value.Version, Payload: payload, Source: r.source}
	if p.LocalOnly {
		v.Source, v.Shared = FromNear, true
	}
	return v, nil
}

// GetMany reads several values of one organisation in one round trip.
func (e *Engine) GetMany(ctx context.Context, ks []keys.Key) (vs []Value, err error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	t := e.taps.beginMany(ctx, OpGetMany, ks)
	defer t.end(&err)
	ctx, end := e.begin(ctx, OpGetMany, "")
	defer end(&err)
	rs, err := e.seenMany(ctx, ks)
	if err != nil {
		return nil, err
	}
	vs = make([]Value, len(rs))
	for i, r := range rs {
		if vs[i], err = e.read(ks[i], r, Policy{}); err != nil {
			return nil, err
		}
	}
	t.readAll(vs)
	return vs, nil
}

// Set writes a value and returns its version.
func (e *Engine) Set(ctx context.Context, k keys.Key, payload []byte, p Policy, cond store.Condition) (v clock.Version, err error) {
	if err := e.check(); err != nil {
		return v, err
	}
	t := e.taps.begin(ctx, OpSet, k)
	t.in(p)
	t.wrote(payload)
	defer t.end(&err)
	if p.LocalOnly {
		r := record.Value{Version: e.cfg.Clock.Now(), Stored: append([]byte(nil), payload...)}
		return r.Version, e.localWrite(k, r, p.TTL, cond)
	}
	stored, flags := record.Compress(payload, p.CompressAbove)
	res, err := e.write(ctx, OpSet, p.Derived, store.Op{
		Action: store.Set, Key: k, TTL: p.TTL, Flags: flags, Payload: stored, If: cond,
	})
	t.pending(res)
	return res.Version, err
}

// Delete removes a value and leaves a tombstone, so that no older write brings
// it back.
func (e *Engine) Delete(ctx context.Context, k keys.Key, p Policy, cond store.Condition) (err error) {
	if err := e.check(); err != nil {
		return err
	}
	t := e.taps.begin(ctx, OpDelete, k)
	t.in(p)
	defer t.end(&err)
	if p.LocalOnly {
		return e.localWrite(k, record.Value{Flags: record.Tombstone}, p.Keep, cond)
	}
	// A load that is under way must not outlive the tombstone.
	p.Keep = max(p.Keep, p.TTL+e.cfg.LoadTimeout+time.Minute)
	res, err := e.write(ctx, OpDelete, p.Derived, store.Op{
		Action: store.Set, Key: k, TTL: p.Keep, Flags: record.Tombstone, If: cond,
	})
	t.pending(res)
	return err
}

// Loader brings a value from where it is kept for good.
type Loader func(context.Context) ([]byte, error)

// LoadError is what a loader returned.
type LoadError struct{ Err error }

// Error is that of the loader.
func (e *LoadError) Error() string { return e.Err.Error() }

// Unwrap gives the loader's error.
func (e *LoadError) Unwrap() error { return e.Err }

// GetOrLoad reads a value, or loads it once for all callers in this process who
// miss it at the same time, and keeps what was loaded if nobody wrote
// meanwhile. When the store is away the loader runs and nothing is kept.
//
// Callers share a load only if they missed the same: one who comes after a
// write, a deletion or an invalidation, wherever it was made, sees another
// version or generation and does not get a value from before it.
func (e *Engine) GetOrLoad(ctx context.Context, k keys.Key, p Policy, load Loader) (v Value, err error) {
	if err := e.check(); err != nil {
		return Value{}, err
	}
	t := e.taps.begin(ctx, OpGet, k)
	t.in(p)
	defer t.end(&err)
	defer func() { t.read(v) }()
	seen, err := e.seen(ctx, k, p)
	switch {
	case err == nil:
		if v, err := e.read(k, seen, p); err != nil || v.Found {
			return v, err
		}
	case !errors.Is(err, store.ErrUnavailable):
		return Value{}, err
	}
	v, err = e.flights.Do(ctx, flightKey(k, seen, err), e.cfg.LoadTimeout, func(ctx context.Context) (Value, error) {
		return e.load(ctx, k, p, load)
	})
	v.Shared = true
	return v, err
}

func flightKey(k keys.Key, seen seenValue, err error) string {
	if err != nil {
		return k.String() + " unseen"
	}
	return k.String() + " " + seen.Value.Version.String() + " " + strconv.FormatUint(seen.Generation, 16)
}

func (e *Engine) load(ctx context.Context, k keys.Key, p Policy, load Loader) (Value, error) {
	seen, missing := e.seen(ctx, k, p)
	if missing == nil {
		if v, err := e.read(k, seen, p); err != nil || v.Found {
			return v, err
		}
	}
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
	t := e.taps.begin(ctx, OpLoad, k)
	t.loads()
	defer t.end(&err)
	err = errPanicked // until it returns
	ctx, m := e.measure(ctx, OpLoad, k.Type())
	defer func() { m.end(err) }()
	if payload, err = load(ctx); err != nil {
		return nil, &LoadError{Err: err}
	}
	t.wrote(payload)
	return payload, nil
}

// seen reads what a key holds, tombstones and old generations included.
func (e *Engine) seen(ctx context.Context, k keys.Key, p Policy) (r seenValue, err error) {
	if p.LocalOnly {
		r.Generation, r.source = e.known(k.Org()), FromNear
		r.Value, r.Found = e.local.Get(k)
		return r, nil
	}
	ctx, end := e.begin(ctx, OpGet, k.Type())
	defer end(&err)
	if err := e.endPending(ctx, k.Org()); err != nil {
		return e.recall(k, outset{}, r, err)
	}
	begun := e.outset(k)
	r.source = FromShared
	r.Read, err = e.cfg.Store.Get(ctx, k)
	return e.recall(k, begun, r, err)
}

// seenMany is seen for several keys of one organisation, in one round trip.
func (e *Engine) seenMany(ctx context.Context, ks []keys.Key) ([]seenValue, error) {
	var (
		rs    []store.Read
		begun = make([]outset, len(ks))
		all   = make([]seenValue, len(ks))
	)
	err := e.endPending(ctx, ks[0].Org())
	if err == nil {
		for i, k := range ks {
			begun[i] = e.outset(k)
		}
		rs, err = e.cfg.Store.GetMany(ctx, ks)
	}
	for i, k := range ks {
		r := seenValue{source: FromShared}
		if err == nil {
			r.Read = rs[i]
		}
		var missing error
		if all[i], missing = e.recall(k, begun[i], r, err); missing != nil {
			return nil, missing
		}
	}
	return all, nil
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
	t := e.taps.begin(ctx, OpFill, k)
	t.in(p)
	t.wrote(v.Payload)
	defer t.end(&err)
	if p.LocalOnly {
		r := record.Value{Version: v.Version, Generation: seen.Generation, Stored: append([]byte(nil), v.Payload...)}
		e.local.Fill(k, r, p.TTL, seen.Value.Version)
		return
	}
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

func (e *Engine) localWrite(k keys.Key, r record.Value, ttl time.Duration, cond store.Condition) error {
	if cond.Kind != store.Always {
		return ErrCondition
	}
	if r.Version.IsZero() {
		r.Version = e.cfg.Clock.Now()
	}
	r.Generation = e.known(k.Org())
	if !e.local.Set(k, r, ttl) {
		return fmt.Errorf("%w: the value is larger than what the process may keep", store.ErrFull)
	}
	return nil
}
