package engine

import (
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Copy is what this process keeps of a value or a conversation. Nobody may change
// anything that it gives: all who read the same share it. Safe for concurrent use.
type Copy struct {
	value Value
	log   Log
	most  int // of the newest messages, the log has so many; zero: all
	text  string
	bytes int  // of the messages, as stored
	plain bool // none of them is compressed

	read store.Read // what the store has instead of a value

	form atomic.Pointer[any]
	// due is when the life of the value in the store is to be prolonged because the
	// copy is read, as store.Now; 0: never.
	due atomic.Int64
}

// Form returns the form that the copy was given first, nil: none was yet.
func (c *Copy) Form() any {
	if f := c.form.Load(); f != nil {
		return *f
	}
	return nil
}

// Shape gives the copy the form in which it is read, and returns that which it was
// given first. All callers have to make the same one.
func (c *Copy) Shape(form any) any {
	c.form.CompareAndSwap(nil, &form)
	return *c.form.Load()
}

// Version returns that of the value, as text.
func (c *Copy) Version() string { return c.text }

// Log returns all that was read of the conversation.
func (c *Copy) Log() Log { return c.log }

// Fits reports whether all messages, as stored, have together no more than so many
// bytes, and none is compressed.
func (c *Copy) Fits(bytes int) bool { return c.plain && c.bytes <= bytes }

// logEntry is about what a message of a copy takes beside its bytes, once it is
// decoded.
const logEntry = 300

// readSize is about what the copy of a read takes.
const readSize = 160

// copies are what this process keeps of the shared store. The zero copies are none.
type copies struct {
	tier    *near.Tier
	tracked store.Tracked
}

func (e *Engine) openCopies() {
	if e.cfg.Near == nil {
		return
	}
	if t := store.TrackedOf(e.cfg.Store); t != nil {
		e.copies = copies{tier: e.cfg.Near, tracked: t}
	}
}

// nearly returns the copy of a key, and whether it is current. What this instance
// has accepted and the store has not makes none current. The handle may be nil.
func (e *Engine) nearly(k *keys.Key, h *near.Handle) (c *Copy, it *near.Item, fresh bool) {
	it, fresh = e.copies.tier.Get(k.String(), h, e.copies.tracked.Covers(k.String(), k.Org()))
	if it == nil {
		return nil, nil, false
	}
	if fresh && e.journal != nil && (e.waits(k) || e.endings.Load() > 0 && e.isEnding(k.Org())) {
		fresh = false
	}
	c, _ = it.Value.(*Copy)
	return c, it, fresh
}

// lease is taken before a read that may be kept.
func (e *Engine) lease(k keys.Key) near.Lease {
	return e.copies.tier.Lease(k, e.copies.tracked.Covers(k.String(), k.Org()))
}

// fresh puts the current copy of a value into v, which is zero, and reports whether
// there is one.
func (e *Engine) fresh(k *keys.Key, h *near.Handle, p *Policy, v *Value) bool {
	if e.copies.tier == nil || p.Near <= 0 {
		return false
	}
	c, it, fresh := e.nearly(k, h)
	switch {
	case !fresh:
		return false
	case it.Absent:
		v.Copy = c
		return true
	case c == nil:
		return false
	}
	if p.Sliding {
		e.touch(k, p, c)
	}
	*v = c.value
	return true
}

// keepValue keeps what was read of the store under a lease.
func (e *Engine) keepValue(k keys.Key, p Policy, l near.Lease, r seenValue, v *Value) {
	if r.source != FromShared {
		return
	}
	it := near.Item{Absent: !v.Found, TTL: min(p.Near, p.TTL)}
	if v.Found {
		it.Version, it.Generation, it.Size = v.Version, r.Value.Generation, 2*len(v.Payload)
		it.TTL, it.Retain = min(it.TTL, e.leftOf(p, r)), p.StaleFor
		v.Shared, v.Copy = true, &Copy{text: v.Version.String()}
		v.Copy.value, it.Value = *v, v.Copy
		v.Copy.value.Source = FromNear
	} else {
		if r.Found { // a deletion has a version
			it.Version, it.Generation = r.Value.Version, r.Value.Generation
		}
		if p.NegativeTTL > 0 {
			if r.Found && r.Value.Version.IsAbsence() {
				it.TTL = min(it.TTL, p.NegativeTTL)
			}
			read := r.Read
			read.Value.Stored = nil
			it.Value, it.Size = &Copy{read: read}, readSize
		}
		if p.StaleFor > 0 && !e.ends(k, r) {
			return
		}
	}
	if !e.copies.tier.Fill(k, l, it) && !v.Found && p.Stale {
		e.ends(k, r)
	}
}

// ends ends what is kept of a value that was deleted or invalidated, and reports
// whether nothing is kept of it any more: what has only expired may still be given
// as stale, and a copy that says so must not take its place.
func (e *Engine) ends(k keys.Key, r seenValue) bool {
	s, ok := e.copies.tier.Stale(k, e.copies.tracked.Covers(k.String(), k.Org()))
	if !ok {
		return true
	}
	if outlives(s, r) {
		return false
	}
	e.drop(k)
	return false // the lease is from before that
}

// leftOf is what is left of the life of a value that was read: as the store told
// where that was asked, and otherwise as far as its version tells.
func (e *Engine) leftOf(p Policy, r seenValue) time.Duration {
	switch {
	case r.Left > 0:
		return r.Left
	case p.Sliding:
		return p.TTL
	}
	if at := r.Value.Version.WrittenAt(); !at.IsZero() {
		return at.Add(p.TTL).Sub(e.cfg.Clock.Time())
	}
	return p.TTL
}

// freshLog is fresh for a conversation, of which the newest last messages are
// wanted.
func (e *Engine) freshLog(k *keys.Key, h *near.Handle, last int, log *Log) bool {
	if e.copies.tier == nil || e.cfg.NearLogs <= 0 {
		return false
	}
	c, it, fresh := e.nearly(k, h)
	switch {
	case !fresh:
		return false
	case it.Absent:
		log.Source = FromNear
		return true
	case c == nil:
		return false
	}
	if c.most > 0 && len(c.log.Messages) >= c.most && (last == 0 || last > c.most) {
		return false
	}
	*log = c.log
	log.Messages = newest(log.Messages, last)
	return true
}

// keepLog keeps what was read of a conversation under a lease.
func (e *Engine) keepLog(k keys.Key, last int, ttl time.Duration, l near.Lease, log *Log) {
	if log.Source != FromShared || log.Partial {
		return
	}
	it := near.Item{Absent: len(log.Messages) == 0, TTL: ttl}
	if n := len(log.Messages); n > 0 {
		newest := log.Messages[n-1]
		if log.Left > 0 {
			it.TTL = min(ttl, log.Left)
		}
		it.Version, it.Generation = newest.Order.Version, newest.Generation
		c := &Copy{log: *log, most: last, plain: true}
		for _, m := range log.Messages {
			it.Size += 2*len(m.Stored) + logEntry
			c.bytes += len(m.Stored)
			c.plain = c.plain && m.Flags&record.Zstd == 0
		}
		log.Copy, c.log.Copy, c.log.Source = c, c, FromNear
		it.Value = c
	}
	e.copies.tier.Fill(k, l, it)
}

// drop ends the copies of keys that this instance has written, or may have.
func (e *Engine) drop(ks ...keys.Key) {
	for _, k := range ks {
		e.written.of(k).Add(1)
		if e.copies.tier != nil {
			e.copies.tier.Drop(k)
		}
	}
}

// Wrote tells that the store has got something that waited.
func (e *Engine) Wrote(k keys.Key) { e.drop(k) }

// Changed implements store.Listener: it wakes who waits for a load of another
// process. The copies are told before.
func (e *Engine) Changed(names []string) { e.wake.Changed(names) }

// Ended implements store.Listener. What this process writes from now on counts as
// written after the invalidation, also where the store loses the generation before
// this process reads it.
func (e *Engine) Ended(o keys.Org, g uint64) { e.learn(o, g) }

// ProofAge returns how long ago a copy of a key that was just given as current is
// known to have been so.
func (e *Engine) ProofAge(k keys.Key) time.Duration {
	if e.copies.tier == nil {
		return 0
	}
	return e.copies.tier.ProofAge(e.copies.tracked.Covers(k.String(), k.Org()))
}

// Near tells of the copies; false: there are none.
func (e *Engine) Near() (near.Stats, bool) {
	if e.copies.tier == nil {
		return near.Stats{}, false
	}
	return e.copies.tier.Stats(), true
}
