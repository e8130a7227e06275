package engine

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"

	"github.com/jackcache/jackcache/internal/flight"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// LoadResult is what a ManyLoader brought for one key: a payload, or an error, which may
// be a NothingError.
type LoadResult struct {
	Payload []byte
	Err     error
}

// ManyLoader brings the values of several keys, which it is given by their indexes, in
// the order of these. An error counts for all of them.
type ManyLoader func(ctx context.Context, which []int) ([]LoadResult, error)

// GetOrLoadMany is GetOrLoad for several keys of one organisation, none of which comes
// twice. They are read in one round trip, and those that are missing and that nobody
// loads are loaded by one call. Those that another call of this process loads are
// waited for, when the own load has begun: two calls that want the same in another
// order do not wait for each other. What another process loads is waited for like in
// GetOrLoad, and loaded alone where it does not come.
//
// What a loader does not find is not there. Any other error ends the call, not its
// loads.
func (e *Engine) GetOrLoadMany(ctx context.Context, ks []keys.Key, p Policy, load ManyLoader) (vs []Value, err error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	t := e.taps.beginMany(ctx, OpGetMany, ks)
	t.in(&p)
	defer func() { t.end(err) }()
	l := &manyLoad{e: e, ks: ks, p: p, load: load, vs: make([]Value, len(ks)), misses: make([]miss, len(ks))}
	var missed []int
	for i, k := range ks {
		var ok bool
		if l.vs[i], ok = e.freshToLoad(k, p); !ok {
			missed = append(missed, i)
		}
	}
	if len(missed) > 0 {
		if err := l.get(ctx, missed); err != nil {
			return nil, err
		}
	}
	t.readAll(l.vs)
	return l.vs, nil
}

// manyLoad is a call of GetOrLoadMany.
type manyLoad struct {
	e      *Engine
	ks     []keys.Key
	p      Policy
	load   ManyLoader
	vs     []Value
	misses []miss // of those of which there is no copy
}

// get reads the values of keys, and loads what is missing.
func (l *manyLoad) get(ctx context.Context, which []int) error {
	b := l.p.bounds()
	l.look(ctx, b, which)
	var missed []int
	for _, i := range which {
		k, m := l.ks[i], l.misses[i]
		if m.err == nil && (l.vs[i].Found || l.e.nothing(k, l.p, m.seen.Read)) {
			continue
		}
		if m.err != nil {
			v, ok, err := l.e.unseen(ctx, k, l.p, m, b)
			if err != nil {
				return err
			}
			if l.vs[i] = v; ok {
				continue
			}
		}
		missed = append(missed, i)
	}
	if len(missed) == 0 {
		return nil
	}
	names := make([]string, len(missed))
	for n, i := range missed {
		names[n] = l.e.flightKey(l.ks[i], l.misses[i])
	}
	calls := l.e.flights.Start(ctx, names, l.e.cfg.LoadTimeout, func(ctx context.Context, mine []int, done func(int, Value, error)) {
		l.run(ctx, missed, mine, done)
	})
	for n, i := range missed {
		v, err := l.e.await(ctx, l.ks[i], l.p, l.misses[i], b, calls[n])
		if err != nil && !foundNothing(err) {
			return err
		}
		l.vs[i] = v
	}
	return nil
}

// look reads keys, and notes what was seen.
func (l *manyLoad) look(ctx context.Context, b bounds, which []int) {
	type answer struct {
		seen []seenValue
		vs   []Value
		errs []error
	}
	began := store.Now()
	a, slow := within(ctx, b, l.e.cfg.Timeout, func(ctx context.Context) (a answer, err error) {
		a.vs = make([]Value, len(l.ks))
		a.seen, a.errs = l.readAll(ctx, which, a.vs)
		return a, nil
	})
	for n, i := range which {
		m := miss{began: began, err: slow}
		if slow == nil {
			m.err = a.errs[n]
		}
		if m.err == nil {
			m.seen, l.vs[i] = a.seen[n], a.vs[i]
		}
		l.misses[i] = m
	}
}

// readAll reads keys into vs, and returns what was seen of each, or why nothing was.
func (l *manyLoad) readAll(ctx context.Context, which []int, vs []Value) (seen []seenValue, errs []error) {
	if !l.p.LocalOnly {
		seen, errs = l.e.lookMany(ctx, l.ks, slices.Repeat([]Policy{l.p}, len(l.ks)), which, vs)
		if errs == nil {
			errs = make([]error, len(which))
		}
		return seen, errs
	}
	seen, errs = make([]seenValue, len(which)), make([]error, len(which))
	for n, i := range which {
		seen[n], vs[i], errs[n] = l.e.look(ctx, l.ks[i], l.p)
	}
	return seen, errs
}

// toLoad is a key that this call loads.
type toLoad struct {
	n       int // among those that were missed
	i       int // among all
	seen    seenValue
	missing error  // why nothing was seen
	release func() // gives its lease back
}

// run loads those of the keys that were missed which are this call's to load.
func (l *manyLoad) run(ctx context.Context, missed, mine []int, done func(int, Value, error)) {
	var others sync.WaitGroup
	defer others.Wait()
	var batch []toLoad
	unseen := mine
	if !l.p.LocalOnly && l.e.leaser != nil {
		var seen []int
		seen, unseen = l.bySight(missed, mine)
		batch = l.claim(ctx, missed, seen, &others, done)
	}
	if len(unseen) > 0 {
		batch = append(batch, l.again(ctx, missed, unseen, done)...)
	}
	if len(batch) == 0 {
		return
	}
	slices.SortFunc(batch, func(a, b toLoad) int { return a.i - b.i })
	defer func() {
		for _, t := range batch {
			t.release()
		}
	}()
	got, err := flight.Protect(func() ([]LoadResult, error) { return l.call(ctx, batch) }, func() {})
	var keeping sync.WaitGroup
	for at, t := range batch {
		if err != nil {
			done(t.n, Value{}, err)
			continue
		}
		keeping.Go(func() {
			v, err := l.keep(ctx, t, got[at])
			done(t.n, v, err)
		})
	}
	keeping.Wait()
}

// bySight divides what is to be loaded into what the store was asked for, and what it
// could not be.
func (l *manyLoad) bySight(missed, mine []int) (seen, unseen []int) {
	for _, n := range mine {
		if l.misses[missed[n]].err == nil {
			seen = append(seen, n)
		} else {
			unseen = append(unseen, n)
		}
	}
	return seen, unseen
}

// again reads what is to be loaded once more: a load that has just ended may have left
// it, or the store may be back. It returns what is missing still.
func (l *manyLoad) again(ctx context.Context, missed, mine []int, done func(int, Value, error)) (batch []toLoad) {
	which := make([]int, len(mine))
	for at, n := range mine {
		which[at] = missed[n]
	}
	seen, missing := l.readAll(ctx, which, make([]Value, len(l.ks)))
	for at, n := range mine {
		t := toLoad{n: n, i: missed[n], missing: missing[at], release: func() {}}
		if t.missing == nil {
			t.seen = seen[at]
			if v, ok, err := l.e.answers(l.ks[t.i], l.p, t.seen); ok {
				done(n, v, err)
				continue
			}
		}
		batch = append(batch, t)
	}
	return batch
}

// claim takes the leases of what is to be loaded, all at a time, and returns what it
// got and is missing still. What another process loads is waited for beside.
func (l *manyLoad) claim(ctx context.Context, missed, mine []int, others *sync.WaitGroup, done func(int, Value, error)) (batch []toLoad) {
	var (
		claims sync.WaitGroup
		mu     sync.Mutex // guards batch
	)
	for _, n := range mine {
		claims.Go(func() {
			k, seen := l.ks[missed[n]], l.misses[missed[n]].seen
			token := store.LoadToken(seen.Read, strconv.FormatUint(rand.Uint64(), 36))
			now, left, missing := l.e.claim(ctx, k, token, seen)
			if left > 0 || missing == nil && !now.Live() && store.Miss(now.Read) > store.Miss(seen.Read) {
				others.Go(func() { l.wait(ctx, n, missed[n], now, done) })
				return
			}
			release := l.e.keepLease(ctx, k, token)
			if missing == nil {
				if v, ok, err := l.e.answers(k, l.p, now); ok {
					release()
					done(n, v, err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			batch = append(batch, toLoad{n: n, i: missed[n], seen: now, missing: missing, release: release})
		})
	}
	claims.Wait()
	return batch
}

// wait waits for a key that another process loads, and loads it alone where it does
// not come.
func (l *manyLoad) wait(ctx context.Context, n, i int, seen seenValue, done func(int, Value, error)) {
	alone := func(ctx context.Context) ([]byte, error) {
		got, err := l.load(ctx, []int{i})
		if err != nil {
			return nil, err
		}
		return got[0].Payload, got[0].Err
	}
	v, err := flight.Protect(func() (Value, error) { return l.e.loadTogether(ctx, l.ks[i], l.p, seen, alone) }, func() {})
	done(n, v, err)
}

// call calls the loader for a batch.
func (l *manyLoad) call(ctx context.Context, batch []toLoad) (got []LoadResult, err error) {
	which, ks := make([]int, len(batch)), make([]keys.Key, len(batch))
	for at, t := range batch {
		which[at], ks[at] = t.i, l.ks[t.i]
	}
	t := l.e.taps.beginMany(ctx, OpLoad, ks)
	t.loads()
	defer func() { t.end(err) }()
	err = errPanicked // until it returns
	ctx, m := l.e.measure(ctx, OpLoad, ks[0].Type())
	defer func() { m.end(err) }()
	if got, err = l.load(ctx, which); err != nil {
		return nil, loadError(err)
	}
	for _, g := range got {
		t.wrote(g.Payload)
	}
	return got, nil
}

// keep keeps what was loaded for a key.
func (l *manyLoad) keep(ctx context.Context, t toLoad, got LoadResult) (Value, error) {
	k := l.ks[t.i]
	if got.Err != nil {
		err := loadError(got.Err)
		if foundNothing(err) {
			l.e.foundNothing(ctx, k, l.p, t.seen, t.missing)
		}
		return Value{}, err
	}
	return l.e.loaded(ctx, k, l.p, t.seen, t.missing, got.Payload), nil
}
