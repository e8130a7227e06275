package jackcache

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
)

// NearOptions says how copies of what Redis has are kept in this process. A copy is
// given as long as it is proven to be current: Redis tells of every change, by
// whomever, and a signal that is sent all the time proves that it still does. The
// embedded store needs no copies.
type NearOptions struct {
	// MaxBytes bounds all copies, with their keys and what keeping them costs. Default
	// 256 MiB; negative: there are none.
	MaxBytes int64
	// Share is the part of MaxBytes that one organisation may have, above 0 and at
	// most 1. Default 0.5.
	Share float64
	// Freshness is how old the proof may be by which a copy counts as current, 500 ms
	// to 1 min: later than that after a write no instance gives the older value.
	// Default 1 s; a change is mostly known within a millisecond.
	Freshness time.Duration
}

// The defaults of NearOptions.
const (
	DefaultNearBytes = 256 << 20
	DefaultNearShare = 0.5
	DefaultFreshness = time.Second
	// DefaultNearTTL is how long a copy is kept at most.
	DefaultNearTTL = 10 * time.Minute
)

// NearStats tells of the copies in this process.
type NearStats struct {
	// Enabled is false where none are kept; then all else is zero.
	Enabled         bool
	Entries         int
	Bytes, MaxBytes int64
	// Fresh counts reads that were answered by a copy that is current. Stale ones
	// found one that was not proven to be, Misses none.
	Fresh, Stale, Misses uint64
	// Fills were kept, Refused were not: RefusedFor has the reasons.
	Fills, Refused uint64
	RefusedFor     NearRefusals
	// Evictions went for want of room, that of their organisation included.
	Evictions uint64
	// Orgs is how many organisations have copies.
	Orgs int
}

func (c *Cache) nearStats() NearStats {
	s, ok := c.engine.Near()
	if !ok {
		return NearStats{}
	}
	refused := NearRefusals(s.Rejected)
	return NearStats{
		Enabled: true, Entries: s.Entries, Bytes: int64(s.Bytes), MaxBytes: int64(s.MaxBytes),
		Fresh: s.HitsFresh, Stale: s.HitsStale, Misses: s.Misses, Fills: s.Fills,
		Refused: refused.Total(), RefusedFor: refused, Evictions: s.Evictions + s.OwnEvictions, Orgs: s.Orgs,
	}
}

// listener passes on what Redis tells: to the copies first, then to those who wait.
type listener struct {
	tier   *near.Tier
	engine atomic.Pointer[engine.Engine] // nil until it is open
}

func (l *listener) Changed(names []string) {
	l.tier.Changed(names)
	if e := l.engine.Load(); e != nil {
		e.Changed(names)
	}
}

func (l *listener) Ended(o keys.Org, g uint64) {
	if e := l.engine.Load(); e != nil {
		e.Ended(o, g)
	}
}

// openNear makes the tier of copies, nil where there is none.
func (c *Cache) openNear() error {
	o := c.opts.Near
	if c.opts.Redis == nil || o.MaxBytes < 0 {
		return nil
	}
	tier, err := near.New(near.Options{MaxBytes: uint64(o.MaxBytes), Share: o.Share, Bound: o.Freshness, Space: c.space})
	if err != nil {
		return err
	}
	c.listener = &listener{tier: tier}
	return nil
}

// decodeFor is decode into e for a kind, which may declare that nobody changes what it
// gives: then all share what was decoded once.
func decodeFor[T any](k *kind, v *engine.Value, e *Entry[T]) error {
	if k.opts.Immutable && v.Copy != nil {
		if value, ok := v.Copy.Form().(*T); ok {
			e.Value, e.Version, e.Source, e.Age = *value, Version(v.Copy.Version()), Source(v.Source), v.Age
			return nil
		}
	}
	decoded, err := decode[T](v)
	if err != nil {
		return err
	}
	*e = decoded
	if k.opts.Immutable && v.Copy != nil {
		own := new(T)
		*own = decoded.Value
		if value, ok := v.Copy.Shape(own).(*T); ok { // otherwise somebody reads the kind as another type
			e.Value = *value
		}
	}
	return nil
}

// decodeLog returns all messages of a copy, decoded once.
func decodeLog(c *engine.Copy) ([]Message, error) {
	if all, ok := c.Form().([]Message); ok {
		return all, nil
	}
	stored := c.Log().Messages
	out := make([]Message, len(stored))
	for i, m := range stored {
		payload, err := m.Payload()
		if err == nil {
			out[i], err = parseMessage(gjson.ParseBytes(payload))
		}
		if err != nil {
			return nil, fmt.Errorf("%w: message %q: %w", ErrCorrupt, m.ID, err)
		}
	}
	return c.Shape(out).([]Message), nil
}

// own makes messages the caller's.
func own(all []Message) []Message {
	out := slices.Clone(all)
	size := 0
	for _, m := range all {
		size += len(m.JSON)
	}
	buf := make([]byte, 0, size)
	for i, m := range all {
		at := len(buf)
		buf = append(buf, m.JSON...)
		out[i].JSON = json.RawMessage(buf[at:len(buf):len(buf)])
	}
	return out
}
