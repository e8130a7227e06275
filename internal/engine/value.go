package engine

import (
	"context"
	"errors"
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
}

// Get reads one value.
func (e *Engine) Get(ctx context.Context, k keys.Key, p Policy) (v Value, err error) {
	if err := e.check(); err != nil {
		return v, err
	}
	if p.LocalOnly {
		return e.localGet(k)
	}
	ctx, end := e.begin(ctx, OpGet)
	defer end(&err)
	r, err := e.cfg.Store.Get(ctx, k)
	if err != nil {
		return v, err
	}
	return e.read(k, r)
}

// read turns what a store holds into what a caller sees.
func (e *Engine) read(k keys.Key, r store.Read) (Value, error) {
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
	return Value{Found: true, Version: r.Value.Version, Payload: payload, Source: FromShared}, nil
}

// GetMany reads several values of one organisation in one round trip.
func (e *Engine) GetMany(ctx context.Context, ks []keys.Key) (vs []Value, err error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	ctx, end := e.begin(ctx, OpGetMany)
	defer end(&err)
	rs, err := e.cfg.Store.GetMany(ctx, ks)
	if err != nil {
		return nil, err
	}
	vs = make([]Value, len(rs))
	for i, r := range rs {
		if vs[i], err = e.read(ks[i], r); err != nil {
			return nil, err
		}
	}
	return vs, nil
}

// Set writes a value and returns its version.
func (e *Engine) Set(ctx context.Context, k keys.Key, payload []byte, p Policy, cond store.Condition) (v clock.Version, err error) {
	if err := e.check(); err != nil {
		return v, err
	}
	if p.LocalOnly {
		return e.localSet(k, payload, p, cond)
	}
	ctx, end := e.begin(ctx, OpSet)
	defer end(&err)
	defer e.flights.Detach(k.String())
	stored, flags := record.Compress(payload, p.CompressAbove)
	res, err := e.apply(ctx, store.Op{
		Action: store.Set, Key: k, TTL: p.TTL, Flags: flags, Payload: stored, If: cond,
	})
	return res.Version, err
}

// Delete removes a value and leaves a tombstone, so that no older write brings
// it back.
func (e *Engine) Delete(ctx context.Context, k keys.Key, p Policy, cond store.Condition) (err error) {
	if err := e.check(); err != nil {
		return err
	}
	if p.LocalOnly {
		if cond.Kind != store.Always {
			return ErrCondition
		}
		e.local.Delete(k)
		return nil
	}
	ctx, end := e.begin(ctx, OpDelete)
	defer end(&err)
	defer e.flights.Detach(k.String())
	_, err = e.apply(ctx, store.Op{
		Action: store.Set, Key: k, TTL: p.Keep, Flags: record.Tombstone, If: cond,
	})
	return err
}

// Loader brings a value from where it is kept for good.
type Loader func(context.Context) ([]byte, error)

// GetOrLoad reads a value, or loads it once for all callers in this process who
// miss it at the same time, and keeps what was loaded if nobody wrote
// meanwhile. When the store is away the loader runs and nothing is kept.
func (e *Engine) GetOrLoad(ctx context.Context, k keys.Key, p Policy, load Loader) (Value, error) {
	v, err := e.Get(ctx, k, p)
	if err == nil && v.Found {
		return v, nil
	}
	if err != nil && !errors.Is(err, store.ErrUnavailable) {
		return Value{}, err
	}
	v, err = e.flights.Do(ctx, k.String(), e.cfg.LoadTimeout, func(ctx context.Context) (Value, error) {
		return e.load(ctx, k, p, load)
	})
	v.Shared = true
	return v, err
}

func (e *Engine) load(ctx context.Context, k keys.Key, p Policy, load Loader) (Value, error) {
	var seen store.Read
	keep := false
	if p.LocalOnly {
		if v, _ := e.localGet(k); v.Found {
			return v, nil
		}
	} else {
		var err error
		if seen, err = e.seen(ctx, k); err == nil {
			if v, err := e.read(k, seen); err != nil || v.Found {
				return v, err
			}
			keep = true
		}
	}
	start := time.Now()
	payload, err := load(ctx)
	e.meters.done(OpLoad, time.Since(start), err)
	if err != nil {
		return Value{}, err
	}
	v := Value{Found: true, Version: e.fillVersion(seen), Payload: payload, Source: FromLoader}
	switch {
	case p.LocalOnly:
		_, err = e.localSet(k, payload, p, store.Condition{})
	case keep:
		e.fill(ctx, k, p, v, seen)
	}
	return v, err
}

func (e *Engine) seen(ctx context.Context, k keys.Key) (store.Read, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	return e.cfg.Store.Get(ctx, k)
}

// fillVersion is higher than what was seen and lower than any live write, so
// that a fill never wins over a write that was acknowledged elsewhere.
func (e *Engine) fillVersion(seen store.Read) clock.Version {
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
func (e *Engine) fill(ctx context.Context, k keys.Key, p Policy, v Value, seen store.Read) {
	var err error
	ctx, end := e.begin(ctx, OpFill)
	defer end(&err)
	stored, flags := record.Compress(v.Payload, p.CompressAbove)
	cond := store.Condition{Kind: store.IfSeen}
	if seen.Found {
		cond.Version = seen.Value.Version
	}
	_, err = e.cfg.Store.Apply(ctx, store.Op{
		Action: store.Set, Key: k, Version: v.Version, Generation: seen.Generation,
		TTL: p.TTL, Flags: flags, Payload: stored, If: cond,
	})
}

func (e *Engine) localGet(k keys.Key) (Value, error) {
	r, ok := e.local.Get(k)
	if !ok || r.Generation < e.known(k.Org()) {
		return Value{}, nil
	}
	return Value{Found: true, Version: r.Version, Payload: r.Stored, Source: FromNear, Shared: true}, nil
}

func (e *Engine) localSet(k keys.Key, payload []byte, p Policy, cond store.Condition) (clock.Version, error) {
	if cond.Kind != store.Always {
		return clock.Version{}, ErrCondition
	}
	v := record.Value{
		Version: e.cfg.Clock.Now(), Generation: e.known(k.Org()),
		Stored: append([]byte(nil), payload...),
	}
	e.local.Set(k, v, p.TTL)
	return v.Version, nil
}
