package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Loader brings a value from where it is kept for good.
type Loader func(context.Context) ([]byte, error)

// LoadError is what a loader returned.
type LoadError struct {
	Err     error
	nothing bool // it says that there is no value
}

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
	if v, ok := e.freshToLoad(k, p); ok {
		return v, nil
	}
	b := p.bounds()
	v, m, ok := e.lookToLoad(ctx, k, p, b)
	if ok {
		return v, nil
	}
	if m.err != nil {
		if v, ok, err := e.unseen(ctx, k, p, m, b); ok || err != nil {
			return v, err
		}
	}
	calls := e.flights.Start(ctx, []string{e.flightKey(k, m)}, e.cfg.LoadTimeout, func(ctx context.Context, _ []int, done func(int, Value, error)) {
		v, err := e.load(ctx, k, p, m.seen, m.err, load)
		done(0, v, err)
	})
	return e.await(ctx, k, p, m, b, calls[0])
}

// freshToLoad is fresh for one who would load: it gives a value, or that it is
// remembered that there is none.
func (e *Engine) freshToLoad(k keys.Key, p Policy) (v Value, ok bool) {
	if !e.fresh(&k, nil, &p, &v) || v.Found {
		return v, v.Found
	}
	return Value{}, v.Copy != nil && e.nothing(k, p, v.Copy.read)
}

// looked is what came of reading a value.
type looked struct {
	seen  seenValue
	value Value
}

// lookToLoad reads a value, but for longer than may be waited; ok: that is the
// answer.
func (e *Engine) lookToLoad(ctx context.Context, k keys.Key, p Policy, b bounds) (v Value, m miss, ok bool) {
	m.began = store.Now()
	l, err := within(ctx, b, e.cfg.Timeout, func(ctx context.Context) (l looked, err error) {
		l.seen, l.value, err = e.look(ctx, k, p)
		return l, err
	})
	m.seen, m.err = l.seen, err
	return l.value, m, err == nil && (l.value.Found || e.nothing(k, p, l.seen.Read))
}

// unseen answers one who would load and could not ask the store: by an error that no
// load mends, or by a stale value. Where the kind has a SoftTimeout the loader is
// called first; what it brought could not be kept, so that otherwise each call in
// an outage would call it.
func (e *Engine) unseen(ctx context.Context, k keys.Key, p Policy, m miss, b bounds) (v Value, ok bool, err error) {
	if away(m.err) && p.SoftTimeout == 0 {
		if v, ok = e.rescue(ctx, k, p, m, b, RescueAway); ok {
			return v, true, nil
		}
	}
	if !errors.Is(m.err, store.ErrUnavailable) {
		return v, false, m.err
	}
	return v, false, nil
}

// flightKey is what those have in common who share a load. Who saw nothing shares it
// with those alone who came since this process last did or heard something of the key:
// who comes after that must not be answered by a load that began before.
func (e *Engine) flightKey(k keys.Key, m miss) string {
	if m.err != nil {
		var key, org uint64
		if e.copies.tier != nil {
			key, org = e.copies.tier.Told(k)
		}
		o := k.Org()
		return fmt.Sprintf("%s unseen %d %d %d %d %d", k, e.written.of(k).Load(), e.known(o), e.endedAt(o), key, org)
	}
	return k.String() + " " + m.seen.Value.Version.String() + " " + strconv.FormatUint(m.seen.Generation, 16)
}

// load is GetOrLoad for one who missed, and the only one in this process who
// missed that; missing says why nothing was seen.
func (e *Engine) load(ctx context.Context, k keys.Key, p Policy, seen seenValue, missing error, load Loader) (Value, error) {
	alone := p.LocalOnly || e.leaser == nil
	if alone || missing != nil {
		// A load that has just ended may have left it, or the store may be back.
		if seen, missing = e.seen(ctx, k, p); missing == nil {
			if v, ok, err := e.answers(k, p, seen); ok {
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
		if foundNothing(err) {
			e.foundNothing(ctx, k, p, seen, missing)
		}
		return Value{}, err
	}
	return e.loaded(ctx, k, p, seen, missing, payload), nil
}

// loaded is the value of a payload that was loaded, which is kept where it is known
// what was missing.
func (e *Engine) loaded(ctx context.Context, k keys.Key, p Policy, seen seenValue, missing error, payload []byte) Value {
	v := Value{Found: true, Version: e.fillVersion(seen), Payload: payload, Source: FromLoader}
	if missing == nil {
		e.fill(ctx, k, p, v, seen)
	}
	return v
}

func (e *Engine) callLoader(ctx context.Context, k keys.Key, load Loader) (payload []byte, err error) {
	t := e.taps.begin(ctx, OpLoad, &k)
	t.loads()
	defer func() { t.end(err) }()
	err = errPanicked // until it returns
	ctx, m := e.measure(ctx, OpLoad, k.Type())
	defer func() { m.end(err) }()
	if payload, err = load(ctx); err != nil {
		return nil, loadError(err)
	}
	t.wrote(payload)
	return payload, nil
}

// fillVersion is higher than what was seen and lower than any live write, so
// that a fill never wins over a write that was acknowledged elsewhere. What was seen of a
// lower generation is below it anyway, or is adopted yet, and must win then.
func (e *Engine) fillVersion(seen seenValue) clock.Version {
	node := e.cfg.Clock.Node()
	v := clock.Historic(e.cfg.Clock.Time(), node)
	if seen.Found && seen.Value.Generation >= seen.Generation {
		if n := seen.Value.Version.Next(node); n.Compare(v) > 0 {
			return n
		}
	}
	return v
}

// fill stores a loaded value unless the key changed since it was seen. Failing
// costs a later load, nothing else, so it is only counted.
func (e *Engine) fill(ctx context.Context, k keys.Key, p Policy, v Value, seen seenValue) {
	ttl := p.fillTTL()
	if p.LocalOnly {
		var err error
		t := e.taps.begin(ctx, OpFill, &k)
		t.in(&p)
		t.wrote(v.Payload)
		defer func() { t.end(err) }()
		r := record.Value{Version: v.Version, Generation: seen.Generation, Stored: append([]byte(nil), v.Payload...)}
		life := p.life()
		life.TTL = ttl
		e.local.Fill(k, r, life, seen.Value.Version)
		return
	}
	defer e.drop(k)
	stored, flags := record.Compress(v.Payload, p.CompressAbove)
	e.fillShared(ctx, k, p, seen, store.Op{Version: v.Version, TTL: ttl, Flags: flags, Payload: stored})
}

// fillShared stores what a load has led to, unless the key changed since it was seen.
func (e *Engine) fillShared(ctx context.Context, k keys.Key, p Policy, seen seenValue, op store.Op) {
	var err error
	t := e.taps.begin(ctx, OpFill, &k)
	t.in(&p)
	t.wrote(op.Payload)
	defer func() { t.end(err) }()
	ctx, end := e.begin(ctx, OpFill, k.Type())
	defer end(&err)
	op.Action, op.Key, op.Generation, op.If.Kind = store.Set, k, seen.Generation, store.IfSeen
	if seen.Found {
		op.If.Version = seen.Value.Version
	}
	var res store.Result
	res, err = e.cfg.Store.Apply(ctx, op)
	t.filled(res)
}

// fillTTL is the life of what was loaded: up to the jitter shorter than the kind's, so
// that what was loaded together does not expire together.
func (p Policy) fillTTL() time.Duration {
	return max(p.TTL-time.Duration(p.Jitter*rand.Float64()*float64(p.TTL)), time.Millisecond)
}
