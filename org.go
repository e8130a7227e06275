package jackcache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// MaxReads is the most values that one batch reads.
const MaxReads = 100

// Org is one organisation's part of a cache. It is a small value: make it where
// it is needed. No call on it reaches another organisation's data.
type Org struct {
	cache     *Cache
	org       keys.Org
	directory bool
	err       error
}

// String returns the organisation's id.
func (o Org) String() string {
	if o.directory {
		return "the directory"
	}
	return o.org.String()
}

// IsDirectory reports whether o is the directory without an organisation.
func (o Org) IsDirectory() bool { return o.directory }

func (o Org) check() error {
	switch {
	case o.cache == nil:
		return invalid("the zero Org belongs to no cache; use Cache.Org")
	case o.err == nil:
		return nil
	case errors.Is(o.err, keys.ErrInvalid):
		return fmt.Errorf("%w: %w", ErrInvalid, o.err)
	}
	return o.err
}

// key builds the key of a kind's value, the only way in this package.
func (o Org) key(k *kind, id string) (keys.Key, error) {
	if err := o.check(); err != nil {
		return keys.Key{}, err
	}
	if o.cache.counts[k] == nil {
		return keys.Key{}, invalid("kind %q was not given to Open in Options.Kinds", k.opts.Name)
	}
	if o.directory {
		if !k.opts.Directory {
			return keys.Key{}, invalid("kind %q is not kept without an organisation", k.opts.Name)
		}
		p, err := o.cache.phone(id)
		if err != nil {
			return keys.Key{}, err
		}
		return o.cache.space.Directory(p), nil
	}
	kid, err := o.cache.id(k, id)
	if err != nil {
		return keys.Key{}, err
	}
	return o.cache.space.Key(k.typ, o.org, kid), nil
}

func (c *Cache) id(k *kind, id string) (keys.ID, error) {
	switch k.opts.ID {
	case NoID:
		if id != "" {
			return keys.ID{}, invalid("kind %q has one value per organisation and no id, got %q", k.opts.Name, id)
		}
		return keys.NoID, nil
	case PhoneID, PlusPhoneID:
		p, err := c.phone(id)
		if err != nil {
			return keys.ID{}, err
		}
		if k.opts.ID == PhoneID {
			return p.DigitsID(), nil
		}
		return p.PlusID(), nil
	}
	kid, err := keys.ParseID(id)
	if err != nil {
		return kid, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return kid, nil
}

// KindID names one value for a batch read.
type KindID struct {
	Kind AnyKind
	ID   string
}

// RawEntry is a value as JSON. Found is false where there is none.
type RawEntry struct {
	Found   bool
	JSON    []byte // the caller's
	Version Version
	Source  Source
	// Age is that of an Entry. RawKind.Get measures it of copies, too.
	Age time.Duration
}

// ReadMany reads several values of several kinds, in the order of reads: those of
// which this process has no current copy in one round trip. At most MaxReads. Each is
// answered as by Get of its kind; a *PartialError is that of Kind.GetMany.
func (o Org) ReadMany(ctx context.Context, reads ...KindID) ([]RawEntry, error) {
	vs, failed, err := o.getMany(ctx, reads)
	if err != nil {
		return nil, err
	}
	out := make([]RawEntry, len(vs))
	for i, v := range vs {
		if v.Found {
			e, err := decode[json.RawMessage](&v)
			if err != nil {
				failed.fails(i, len(vs), err)
				continue
			}
			out[i] = RawEntry{Found: true, JSON: e.Value, Version: e.Version, Source: e.Source, Age: e.Age}
		}
	}
	return out, failed.err()
}

// getMany reads several values. An error counts for all of them.
func (o Org) getMany(ctx context.Context, reads []KindID) (out []engine.Value, failed failedReads, err error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	if len(reads) > MaxReads {
		return nil, nil, fmt.Errorf("%w: %d reads in one call; allowed are %d", ErrTooLarge, len(reads), MaxReads)
	}
	out = make([]engine.Value, len(reads))
	var (
		shared   []keys.Key
		policies []engine.Policy
		at       []int
	)
	for i, r := range reads {
		if r.Kind == nil {
			return nil, nil, invalid("read %d of %d has no Kind", i+1, len(reads))
		}
		k := r.Kind.kind()
		key, err := o.key(k, r.ID)
		if err != nil {
			return nil, nil, err
		}
		if !k.opts.LocalOnly {
			shared, policies, at = append(shared, key), append(policies, k.policy), append(at, i)
			continue
		}
		if out[i], err = o.cache.engine.Get(ctx, key, k.policy); err != nil {
			return nil, nil, mapError(ctx, "get "+k.opts.Name, err)
		}
	}
	if len(shared) > 0 {
		vs, err := o.cache.engine.GetMany(ctx, shared, policies)
		part := (*store.PartialError)(nil)
		if err != nil && !errors.As(err, &part) {
			return nil, nil, mapError(ctx, "get many", err)
		}
		for i, v := range vs {
			out[at[i]] = v
			if part != nil && part.Errs[i] != nil {
				failed.fails(at[i], len(reads), mapError(ctx, "get "+reads[at[i]].Kind.kind().opts.Name, part.Errs[i]))
			}
		}
	}
	for i, r := range reads {
		if failed.of(i) == nil {
			o.cache.counts[r.Kind.kind()].countValue(&out[i])
		}
	}
	return out, failed, nil
}

// Invalidate makes everything that is kept for the organisation invisible, on
// all instances, whatever its size: one write. What is written after Invalidate
// returned is kept. The space is given back in the background, by
// Options.ReclaimRate, or as lives end.
//
// It returns when no instance gives a copy of before any more. Those that keep
// copies answer, mostly within a millisecond or two; one that hangs is waited for
// until its copies are not current any more, its NearOptions.Freshness, whatever
// Options.Budget says; not again by later calls, except in a Cluster. ErrUnseen: ctx ended before, or it cannot be found out which
// instances there are; the invalidation is done all the same.
//
// While Redis is away the invalidation waits for it, as WithReceipt tells: until
// then other instances see what was there, and Invalidate returns at once.
func (o Org) Invalidate(ctx context.Context) error {
	err := o.invalidate(ctx)
	if err == nil || errors.Is(err, ErrUnseen) {
		o.cache.engine.Reclaim(o.org)
	}
	return err
}

// invalidate is Invalidate for who gives the space back himself.
func (o Org) invalidate(ctx context.Context) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.directory {
		return invalid("the directory cannot be invalidated")
	}
	_, err := o.cache.engine.InvalidateSeen(ctx, o.org)
	return mapError(ctx, "invalidate", err)
}

// Forgotten tells what Forget removed.
type Forgotten struct {
	Phone string   // in E.164 form
	Lead  string   // that the phone belonged to; empty: none
	Kinds []string // whose values were deleted, "conversation" among them
}

// Forget removes a person: the conversation, every kind whose id is a phone,
// and where the phone belongs to a lead every kind whose id is a lead. What was
// written before does not come back, and for Options.ForgetFor nothing is
// imported for the person. It may be repeated, and must be after an error: what
// was done before stays done.
//
// The phone's entry in the directory, which belongs to no organisation, stays;
// so does the data of a lead that the phone was unlinked from before.
func (o Org) Forget(ctx context.Context, phone string) (Forgotten, error) {
	if err := o.check(); err != nil {
		return Forgotten{}, err
	}
	if o.directory {
		return Forgotten{}, invalid("to forget a person needs an organisation")
	}
	p, err := o.cache.phone(phone)
	if err != nil {
		return Forgotten{}, err
	}
	f := Forgotten{Phone: p.String()}
	if f.Lead, err = o.leadOf(ctx, p); err != nil {
		return f, err
	}
	limits := o.cache.limits()
	limits.Keep = o.cache.opts.ForgetFor
	if _, err := o.cache.engine.Replace(ctx, o.conversationKey(p), nil, limits); err != nil {
		return f, mapError(ctx, "forget conversation", err)
	}
	f.Kinds = append(f.Kinds, "conversation")
	// The mapping goes last: a repetition after an error still finds the lead.
	for _, last := range []bool{false, true} {
		for _, info := range o.cache.opts.Kinds {
			k := info.kind()
			if (k.typ == keys.PhoneToLead) != last {
				continue
			}
			id, ok := personal(k, p, f.Lead)
			if !ok {
				continue
			}
			if err := o.forgetValue(ctx, k, id); err != nil {
				// Some of it is done: that must not read as "nothing was".
				return f, fmt.Errorf("%w: the person is forgotten in part; repeat it: %w", ErrUnknown, err)
			}
			f.Kinds = append(f.Kinds, k.opts.Name)
		}
	}
	return f, nil
}

func personal(k *kind, p keys.Phone, lead string) (string, bool) {
	switch k.opts.ID {
	case PhoneID, PlusPhoneID:
		return p.String(), true
	case LeadID:
		return lead, lead != ""
	}
	return "", false
}

func (o Org) forgetValue(ctx context.Context, k *kind, id string) error {
	key, err := o.key(k, id)
	if err != nil {
		return err
	}
	if !k.opts.LocalOnly {
		// Before the deletion, so that nothing is imported in between. The
		// tombstone alone would end with the next write, or its organisation's
		// generation.
		policy := engine.Policy{TTL: o.cache.opts.ForgetFor, CompressAbove: -1}
		if _, err := o.cache.engine.Set(ctx, o.cache.space.Forgotten(key), []byte("true"), policy, store.Condition{}); err != nil {
			return mapError(ctx, "forget "+k.opts.Name, err)
		}
	}
	err = o.cache.engine.Delete(ctx, key, k.policy, store.Condition{})
	return mapError(ctx, "forget "+k.opts.Name, err)
}

// leadOf returns the lead that a phone belongs to, from the kind whose key type
// is phoneToLead, if there is one.
func (o Org) leadOf(ctx context.Context, p keys.Phone) (string, error) {
	for _, info := range o.cache.opts.Kinds {
		k := info.kind()
		if k.typ != keys.PhoneToLead {
			continue
		}
		key, err := o.key(k, p.String())
		if err != nil {
			return "", err
		}
		v, err := o.cache.engine.Get(ctx, key, k.policy)
		if err != nil {
			return "", mapError(ctx, "forget: look up lead", err)
		}
		if !v.Found {
			return "", nil
		}
		var lead struct {
			LeadID string `json:"leadId"`
		}
		if err := codec.Unmarshal(v.Payload, &lead); err != nil {
			return "", fmt.Errorf("%w: lead mapping: %w", ErrCorrupt, err)
		}
		return lead.LeadID, nil
	}
	return "", nil
}
