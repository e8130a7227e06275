package jackcache

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
)

// GetOrLoad returns the value of an id, or calls load for it: once for all
// callers who miss it at the same time, each of whom keeps the deadline of its own
// context. What was loaded is kept unless somebody wrote meanwhile. An error of
// load is returned as it is and not kept; one that is ErrNotFound (errors.Is) says
// that there is no value, see KindOptions.NegativeTTL.
//
// A kind with ServeStale gets a stale value where load fails otherwise, or takes
// longer than KindOptions allow; LoadEntry tells. A load that nobody waits for
// goes on with a context that ends by Options.LoadTimeout alone.
//
// Callers of other instances over the same Redis wait for the value, too. They
// call their own load, once for each instance, where it does not come: after a
// load that failed, one instance after the other; about a second after the
// instance that loads was killed; when half of Options.LoadTimeout has passed; and
// while Redis is away, when nothing is kept either.
//
// Errors: those of load, ErrNotFound where it is remembered that there is no value,
// ErrTimeout, and those of Get.
func (k *Kind[T]) GetOrLoad(ctx context.Context, o Org, id string, load func(context.Context) (T, error)) (T, error) {
	e, err := k.LoadEntry(ctx, o, id, load)
	return e.Value, err
}

// LoadEntry is GetOrLoad with the value's version and where it came from.
func (k *Kind[T]) LoadEntry(ctx context.Context, o Org, id string, load func(context.Context) (T, error)) (Entry[T], error) {
	key, err := o.key(&k.k, id)
	if err != nil {
		return Entry[T]{}, err
	}
	v, err := o.cache.engine.GetOrLoad(ctx, key, k.k.policy, func(ctx context.Context) ([]byte, error) {
		value, err := load(ctx)
		if err != nil {
			return nil, loaderError(err)
		}
		return k.payload(value)
	})
	if err != nil {
		return Entry[T]{}, mapError(ctx, "load "+k.k.opts.Name, err)
	}
	o.cache.counts[&k.k].countValue(&v)
	if !v.Found {
		return Entry[T]{}, fmt.Errorf("%s of %s: a loader found none: %w", k.k.opts.Name, o, ErrNotFound)
	}
	var e Entry[T]
	err = decodeFor(&k.k, &v, &e)
	return e, err
}

// GetOrLoadMany returns the values of several ids, in the order of ids; an id may come
// twice. Those of which this process has no current copy are read in one round
// trip, and those that are missing are loaded by one call of load, which gets
// their ids as they were given and returns the values by them. Ids that it does not
// return are not there, as by ErrNotFound from the loader of GetOrLoad; absent ones
// have the zero Version. At most MaxReads ids.
//
// Loads are shared, and what was loaded is kept, as by GetOrLoad: an id that another
// call loads is waited for and not among those that load gets. Where another
// instance loads it and the value does not come, load is called for that id
// alone. KindOptions count for each id. The first error that is not ErrNotFound ends
// the call; an error of load is that of all ids that it was called for.
func (k *Kind[T]) GetOrLoadMany(ctx context.Context, o Org, ids []string, load func(ctx context.Context, missing []string) (map[string]T, error)) ([]Entry[T], error) {
	if len(ids) > MaxReads {
		return nil, fmt.Errorf("%w: %d ids in one call; allowed are %d", ErrTooLarge, len(ids), MaxReads)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	all, names, at, err := k.distinct(o, ids)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	vs, err := o.cache.engine.GetOrLoadMany(ctx, all, k.k.policy, func(ctx context.Context, which []int) ([]engine.LoadResult, error) {
		missing := make([]string, len(which))
		for n, i := range which {
			missing[n] = names[i]
		}
		values, err := load(ctx, missing)
		if err != nil {
			return nil, loaderError(err)
		}
		got := make([]engine.LoadResult, len(missing))
		for n, id := range missing {
			if value, ok := values[id]; ok {
				got[n].Payload, got[n].Err = k.payload(value)
			} else {
				got[n].Err = loaderError(fmt.Errorf("%s: the loader did not return it: %w", k.k.opts.Name, ErrNotFound))
			}
		}
		return got, nil
	})
	if err != nil {
		return nil, mapError(ctx, "load "+k.k.opts.Name, err)
	}
	out := make([]Entry[T], len(ids))
	for i := range ids {
		v := vs[at[i]]
		o.cache.counts[&k.k].countValue(&v)
		if !v.Found {
			continue
		}
		// Who comes second must not share what the first may change.
		v.Shared = true
		if err = decodeFor(&k.k, &v, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// distinct returns the keys of ids, each once, with the first id of each, and where
// that of each id is among them.
func (k *Kind[T]) distinct(o Org, ids []string) (all []keys.Key, names []string, at []int, err error) {
	seen := make(map[string]int, len(ids))
	at = make([]int, len(ids))
	for i, id := range ids {
		key, err := o.key(&k.k, id)
		if err != nil {
			return nil, nil, nil, err
		}
		n, ok := seen[key.String()]
		if !ok {
			n = len(all)
			seen[key.String()] = n
			all, names = append(all, key), append(names, id)
		}
		at[i] = n
	}
	return all, names, at, nil
}

// payload is a loaded value as it is stored.
func (k *Kind[T]) payload(value T) ([]byte, error) {
	payload, err := encode(value)
	if err != nil {
		return nil, invalid("loaded %s: %v", k.k.opts.Name, err)
	}
	return payload, k.k.checkSize(len(payload))
}

// loaderError is an error of a loader as the engine takes it.
func loaderError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return &engine.NothingError{Err: err}
	}
	return err
}
