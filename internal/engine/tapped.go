package engine

import (
	"context"
	"errors"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// errPanicked stands for what a loader that panics does not return.
var errPanicked = &LoadError{Err: errors.New("the loader panicked")}

// tapped is an operation that somebody listens to. Its methods do nothing on
// nil, which is what begin returns where nobody does.
type tapped struct {
	taps   *taps
	caller context.Context
	key    keys.Key
	ev     Event
	found  int // of a read
}

// begin notes the begin of an operation on k.
func (t *taps) begin(ctx context.Context, op Operation, k *keys.Key) *tapped {
	if t.list.Load() == nil {
		return nil
	}
	return t.tapped(ctx, op, *k)
}

func (t *taps) tapped(ctx context.Context, op Operation, k keys.Key) *tapped {
	return &tapped{taps: t, caller: ctx, key: k, ev: Event{
		Time: time.Now(), Op: op, Type: k.Type(), Org: k.Org().String(), Source: FromShared, Outcome: Done,
	}}
}

// beginAt notes the begin of an operation that is not on one key.
func (t *taps) beginAt(ctx context.Context, op Operation, typ keys.Type, o keys.Org) *tapped {
	c := t.begin(ctx, op, &keys.Key{})
	if c != nil {
		c.ev.Type, c.ev.Org = typ, o.String()
	}
	return c
}

// beginMany notes the begin of an operation on several keys of one organisation.
func (t *taps) beginMany(ctx context.Context, op Operation, ks []keys.Key) *tapped {
	if t.list.Load() == nil || len(ks) == 0 {
		return nil
	}
	c := t.begin(ctx, op, &ks[0])
	if c == nil {
		return nil // the last one left
	}
	c.ev.Count = len(ks)
	if len(ks) > 1 {
		c.key = keys.Key{}
	}
	for _, k := range ks[1:] {
		if k.Type() != c.ev.Type {
			c.ev.Type = ""
		}
	}
	return c
}

// read notes a value that was asked for.
func (c *tapped) read(v *Value) {
	if c != nil {
		c.noteValue(v)
	}
}

func (c *tapped) noteValue(v *Value) {
	c.ev.Outcome = Miss
	if !v.Found {
		return
	}
	c.found++
	c.ev.Bytes += len(v.Payload)
	c.ev.Source, c.ev.Outcome = v.Source, Hit
	if v.Source == FromLoader {
		c.ev.Outcome = Loaded
	}
}

// readAll notes the values of several keys.
func (c *tapped) readAll(vs []Value) {
	if c == nil {
		return
	}
	for i := range vs {
		c.read(&vs[i])
	}
	switch c.found {
	case 0:
		c.ev.Outcome = Miss
	case len(vs):
		c.ev.Outcome = Hit
	default:
		c.ev.Outcome = Partial
	}
}

// readLog notes the messages that were read.
func (c *tapped) readLog(l *Log) {
	if c != nil {
		c.noteLog(l)
	}
}

func (c *tapped) noteLog(l *Log) {
	c.ev.Source, c.ev.Outcome = l.Source, Miss
	c.ev.Count = len(l.Messages)
	for i := range l.Messages {
		c.ev.Bytes += len(l.Messages[i].Stored)
	}
	if len(l.Messages) > 0 {
		c.ev.Outcome = Hit
	}
}

// wrote notes a payload.
func (c *tapped) wrote(payload []byte) {
	if c != nil {
		c.ev.Bytes += len(payload)
	}
}

// wroteAll notes messages.
func (c *tapped) wroteAll(msgs []Message) {
	if c == nil {
		return
	}
	c.ev.Count = len(msgs)
	for i := range msgs {
		c.ev.Bytes += len(msgs[i].Payload)
	}
}

// merged notes what an import brings.
func (c *tapped) merged(op store.Op) {
	if c == nil {
		return
	}
	c.ev.Bytes, c.ev.Count = len(op.Payload), len(op.Messages)
	for i := range op.Messages {
		c.ev.Bytes += len(op.Messages[i].Payload)
	}
}

// listed notes the entries of a page.
func (c *tapped) listed(p store.Page) {
	if c != nil {
		c.ev.Count = len(p.Entries)
	}
}

// in notes that the operation stays in the process, if it does.
func (c *tapped) in(p *Policy) {
	if c != nil && p.LocalOnly {
		c.ev.Source = FromNear
	}
}

// pending notes that what was written waits for the store, if it does.
func (c *tapped) pending(w Written) {
	if c != nil && w.Pending {
		c.ev.Source, c.ev.Outcome = FromPending, Accepted
	}
}

// filled notes what became of a fill.
func (c *tapped) filled(r store.Result) {
	if c != nil && r.Status != store.Applied && r.Status != store.Unchanged {
		c.ev.Outcome = NotKept
	}
}

// loads notes that a loader was called.
func (c *tapped) loads() {
	if c != nil {
		c.ev.Source = FromLoader
	}
}

// end tells all who listen now.
func (c *tapped) end(err error) {
	if c != nil {
		c.tell(err)
	}
}

func (c *tapped) tell(err error) {
	all := c.taps.list.Load()
	if all == nil {
		return
	}
	c.ev.Took = time.Since(c.ev.Time)
	if err != nil {
		c.ev.Outcome = outcomeOf(c.caller, err)
	}
	for _, t := range *all {
		t.offer(c.ev, c.key)
	}
}
