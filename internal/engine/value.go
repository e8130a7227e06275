package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
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
	// Age is how long ago it was last known to be current, where the store was not
	// asked and cannot be: of FromPending and FromStale.
	Age  time.Duration
	Copy *Copy // what this process keeps of it; nil: nothing
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
	// Near is how long copies may be given from this process, as far as they are
	// current; zero or less: there are none. Stale lets those be given that need not
	// be current, where the store is away.
	Near  time.Duration
	Stale bool
	// Sliding says that reads prolong the life of a value to TTL, up to MaxLife from
	// its write.
	Sliding bool
	MaxLife time.Duration
	// StaleFor is how long after they were last known to be current those may be
	// given; zero: as long as Near.
	StaleFor time.Duration
	// SoftTimeout is how long GetOrLoad waits where a copy may be given instead,
	// HardTimeout how long it waits at all. Zero: no bound of that sort.
	SoftTimeout, HardTimeout time.Duration
	// NegativeTTL is how long it is remembered that a loader found nothing.
	NegativeTTL time.Duration
	// Jitter is the part of its TTL, 0 to 1, that is taken at most from what GetOrLoad
	// stores.
	Jitter float64
}

// life is that of a value that stays in the process.
func (p Policy) life() near.Life { return near.Life{TTL: p.TTL, Sliding: p.Sliding, Max: p.MaxLife} }

// keeps reports whether there are copies of values of the kind.
func (e *Engine) keeps(p Policy) bool { return e.copies.tier != nil && p.Near > 0 && !p.LocalOnly }

// Get reads one value.
func (e *Engine) Get(ctx context.Context, k keys.Key, p Policy) (v Value, err error) {
	err = e.GetAt(ctx, &k, nil, &p, &v)
	return v, err
}

// GetAt is Get into v, which is zero, for one who has a handle of the key; nil: there
// is none. See MessagesAt.
func (e *Engine) GetAt(ctx context.Context, k *keys.Key, h *near.Handle, p *Policy, v *Value) (err error) {
	if err := e.check(); err != nil {
		return err
	}
	t := e.taps.begin(ctx, OpGet, k)
	t.in(p)
	if !e.fresh(k, h, p, v) {
		_, *v, err = e.look(ctx, *k, *p)
	}
	if err != nil && away(err) {
		if old, stale := e.stale(*k, *p, miss{err: err}); stale == current {
			*v, err = old, nil
		}
	}
	t.read(v)
	t.end(err)
	return err
}

// look reads a value, of the store unless it stays in the process, and keeps a copy.
func (e *Engine) look(ctx context.Context, k keys.Key, p Policy) (r seenValue, v Value, err error) {
	if p.LocalOnly {
		if r, err = e.seen(ctx, k, p); err == nil {
			v, err = e.read(k, r, p)
		}
		return r, v, err
	}
	ctx, end := e.begin(ctx, OpGet, k.Type()) // what is waited for another's trip, too
	defer end(&err)
	if !e.keeps(p) {
		return e.lookUp(ctx, k, p, nil)
	}
	l := e.lease(k)
	t, shared := e.values.join(e, k, l, 0)
	if shared {
		if got, ok := t.await(ctx); ok {
			e.wasRead(k, p, got.seen, &got.value)
			return got.seen, got.value, nil
		}
		return e.lookUp(ctx, k, p, nil)
	}
	defer func() {
		e.values.end(k, t, looked{r, v}, err == nil && r.source == FromShared)
	}()
	return e.lookUp(ctx, k, p, &l)
}

// lookUp reads a value of the store, and keeps a copy under a lease; nil: it keeps none.
func (e *Engine) lookUp(ctx context.Context, k keys.Key, p Policy, l *near.Lease) (r seenValue, v Value, err error) {
	if r, err = e.asked(ctx, k, e.wantsLife(p)); err != nil {
		return r, Value{}, err
	}
	if v, err = e.read(k, r, p); err == nil && l != nil {
		e.keepValue(k, p, *l, r, &v)
	}
	if err == nil {
		e.wasRead(k, p, r, &v)
	}
	return r, v, err
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
	switch {
	case p.LocalOnly:
		v.Source, v.Shared = FromNear, true
	case v.Source != FromShared:
		v.Age = e.sinceWritten(v.Version)
	}
	return v, nil
}

// sinceWritten is how long ago something was written: so long ago this instance, which
// wrote it, knew last that it was current.
func (e *Engine) sinceWritten(v clock.Version) time.Duration {
	if at := v.WrittenAt(); !at.IsZero() {
		return max(0, e.cfg.Clock.Time().Sub(at))
	}
	return 0
}

// GetMany reads several values of one organisation, each by its policy: those of
// which there is no current copy in one round trip. With a *store.PartialError it
// returns those that it has an answer for.
func (e *Engine) GetMany(ctx context.Context, ks []keys.Key, ps []Policy) (vs []Value, err error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	t := e.taps.beginMany(ctx, OpGetMany, ks)
	defer func() { t.end(err) }()
	vs = make([]Value, len(ks))
	var missed []int
	for i, k := range ks {
		if !e.fresh(&k, nil, &ps[i], &vs[i]) {
			missed = append(missed, i)
		}
	}
	if len(missed) > 0 {
		_, failed := e.lookMany(ctx, ks, ps, missed, vs)
		err = e.insteadOfMany(ks, ps, missed, failed, vs)
	}
	t.readAll(vs)
	return vs, err
}

// insteadOfMany gives copies that need not be current in place of values that could not
// be read, where they may be. The rest of them is its error.
func (e *Engine) insteadOfMany(ks []keys.Key, ps []Policy, missed []int, failed []error, vs []Value) error {
	var errs []error
	for n, err := range failed {
		if err == nil {
			continue
		}
		at := missed[n]
		if away(err) {
			if old, stale := e.stale(ks[at], ps[at], miss{err: err}); stale == current {
				vs[at] = old
				continue
			}
		}
		if errs == nil {
			errs = make([]error, len(ks))
		}
		errs[at] = err
	}
	return store.JoinErrors(errs)
}

// lookMany reads those of the keys that were missed into vs, and keeps copies. It
// returns what was seen of them, and their errors; nil: there are none.
func (e *Engine) lookMany(ctx context.Context, ks []keys.Key, ps []Policy, missed []int, vs []Value) (rs []seenValue, errs []error) {
	ctx, end := e.begin(ctx, OpGetMany, "")
	defer func() {
		err := store.JoinErrors(errs)
		end(&err)
	}()
	names := make([]keys.Key, len(missed))
	leases := make([]near.Lease, len(missed))
	for i, at := range missed {
		names[i] = ks[at]
		if e.copies.tier != nil && ps[at].Near > 0 {
			leases[i] = e.lease(ks[at])
		}
	}
	rs, errs = e.seenMany(ctx, names, slices.ContainsFunc(missed, func(at int) bool { return e.wantsLife(ps[at]) }))
	for i, r := range rs {
		if errs != nil && errs[i] != nil {
			continue
		}
		at := missed[i]
		v, err := e.read(ks[at], r, ps[at])
		if err != nil {
			if errs == nil {
				errs = make([]error, len(rs))
			}
			errs[i] = err
			continue
		}
		vs[at] = v
		if e.copies.tier != nil && ps[at].Near > 0 {
			e.keepValue(ks[at], ps[at], leases[i], r, &vs[at])
		}
		e.wasRead(ks[at], ps[at], r, &vs[at])
	}
	return rs, errs
}

// Set writes a value and returns its version.
func (e *Engine) Set(ctx context.Context, k keys.Key, payload []byte, p Policy, cond store.Condition) (v clock.Version, err error) {
	if err := e.check(); err != nil {
		return v, err
	}
	t := e.taps.begin(ctx, OpSet, &k)
	t.in(&p)
	t.wrote(payload)
	defer func() { t.end(err) }()
	if p.LocalOnly {
		r := record.Value{Version: e.cfg.Clock.Now(), Stored: append([]byte(nil), payload...)}
		return r.Version, e.localWrite(k, r, p.life(), cond)
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
	t := e.taps.begin(ctx, OpDelete, &k)
	t.in(&p)
	defer func() { t.end(err) }()
	if p.LocalOnly {
		return e.localWrite(k, record.Value{Flags: record.Tombstone}, near.Life{TTL: p.Keep}, cond)
	}
	// A load that is under way must not outlive the tombstone.
	p.Keep = max(p.Keep, p.TTL+e.cfg.LoadTimeout+time.Minute)
	res, err := e.write(ctx, OpDelete, p.Derived, store.Op{
		Action: store.Set, Key: k, TTL: p.Keep, Flags: record.Tombstone, If: cond,
	})
	t.pending(res)
	return err
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
	return e.asked(ctx, k, e.wantsLife(p))
}

// wantsLife reports whether the version of a value does not tell how long it lives, and
// it matters.
func (e *Engine) wantsLife(p Policy) bool { return p.Sliding || p.Jitter > 0 && e.keeps(p) }

// asked is what the store answers, where it is wanted with the life of the value,
// completed by what this instance knows.
func (e *Engine) asked(ctx context.Context, k keys.Key, lives bool) (r seenValue, err error) {
	for {
		begun := e.outset(k)
		r = seenValue{source: FromShared}
		if err = e.endPending(ctx, k.Org()); err == nil {
			r.Read, err = e.getOne(ctx, k, lives)
		}
		answered := err == nil
		r, err = e.recall(k, begun, r, err)
		again := answered && e.overtaken(k.Org(), begun)
		if answered && err == nil && !again {
			again, err = e.adopted(ctx, k, begun)
		}
		if !again {
			return r, err
		}
	}
}

func (e *Engine) getOne(ctx context.Context, k keys.Key, lives bool) (store.Read, error) {
	if !lives {
		return e.cfg.Store.Get(ctx, k)
	}
	rs, err := e.cfg.Store.GetLives(ctx, []keys.Key{k})
	if err != nil {
		return store.Read{}, err
	}
	return rs[0], nil
}

func (e *Engine) get(ctx context.Context, ks []keys.Key, lives bool) ([]store.Read, error) {
	if lives {
		return e.cfg.Store.GetLives(ctx, ks)
	}
	return e.cfg.Store.GetMany(ctx, ks)
}

// seenMany is seen for several keys of one organisation, in one round trip, which
// asks for their lives, too, where that of one is wanted. Each is completed by what this
// instance knows; the errors are those of the others; nil: there are none.
func (e *Engine) seenMany(ctx context.Context, ks []keys.Key, lives bool) (all []seenValue, errs []error) {
	begun := make([]outset, len(ks))
	all = make([]seenValue, len(ks))
	for again := true; again; {
		for i, k := range ks {
			begun[i] = e.outset(k)
		}
		var rs []store.Read
		err := e.endPending(ctx, ks[0].Org())
		if err == nil {
			rs, err = e.get(ctx, ks, lives)
		}
		part := (*store.PartialError)(nil)
		some := errors.As(err, &part)
		again, errs = false, nil
		for i, k := range ks {
			r, failed := seenValue{source: FromShared}, err
			if some {
				failed = part.Errs[i]
			}
			if failed == nil {
				r.Read = rs[i]
			}
			var missing error
			all[i], missing = e.recall(k, begun[i], r, failed)
			again = again || failed == nil && e.overtaken(k.Org(), begun[i])
			if failed == nil && missing == nil && !again {
				again, missing = e.adopted(ctx, k, begun[i])
			}
			if missing != nil {
				if errs == nil {
					errs = make([]error, len(ks))
				}
				errs[i] = missing
			}
		}
	}
	return all, errs
}

func (e *Engine) localWrite(k keys.Key, r record.Value, life near.Life, cond store.Condition) error {
	if cond.Kind != store.Always {
		return ErrCondition
	}
	if r.Version.IsZero() {
		r.Version = e.cfg.Clock.Now()
	}
	r.Generation = e.known(k.Org())
	e.absences.Invalidate(k.String()) // the value may be evicted before that is over
	if !e.local.Set(k, r, life) {
		return fmt.Errorf("%w: the value is larger than what the process may keep", store.ErrFull)
	}
	return nil
}
