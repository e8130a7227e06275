package engine

import (
	"context"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Limits is how conversations are kept.
type Limits struct {
	TTL           time.Duration // from the last write
	MaxLife       time.Duration // from the first; zero: no bound
	Keep          time.Duration // of a floor
	Window        store.Window
	CompressAbove int // bytes of a message
}

// Message is one message as a caller brings it.
type Message struct {
	ID      string
	Digest  [8]byte
	Payload []byte
	At      record.Order // imports only
}

func (l Limits) op(a store.Action, k keys.Key, msgs []Message) store.Op {
	op := store.Op{
		Action: a, Key: k, TTL: l.TTL, MaxLife: l.MaxLife, Window: l.Window,
		Messages: make([]store.Message, len(msgs)),
	}
	for i, m := range msgs {
		stored, flags := record.Compress(m.Payload, l.CompressAbove)
		op.Messages[i] = store.Message{
			ID: m.ID, Digest: m.Digest, Index: uint16(i), At: m.At, Flags: flags, Payload: stored,
		}
	}
	return op
}

// Append adds messages at the end of a conversation, all or none.
func (e *Engine) Append(ctx context.Context, k keys.Key, msgs []Message, l Limits) (res Written, err error) {
	return e.converse(ctx, OpAppend, l.op(store.Append, k, msgs), msgs)
}

// Replace puts messages in the place of all that the conversation has; none
// clears it.
func (e *Engine) Replace(ctx context.Context, k keys.Key, msgs []Message, l Limits) (res Written, err error) {
	op := l.op(store.Replace, k, msgs)
	op.Keep = l.Keep
	return e.converse(ctx, OpReplace, op, msgs)
}

func (e *Engine) converse(ctx context.Context, operation Operation, op store.Op, msgs []Message) (res Written, err error) {
	if err := e.check(); err != nil {
		return res, err
	}
	t := e.taps.begin(ctx, operation, &op.Key)
	t.wroteAll(msgs)
	defer func() { t.end(err) }()
	res, err = e.write(ctx, operation, false, op)
	t.pending(res)
	return res, err
}

// Import merges messages that carry orders of their own.
func (e *Engine) Import(ctx context.Context, k keys.Key, msgs []Message, l Limits) (store.Result, error) {
	op := l.op(store.Append, k, msgs)
	for _, m := range op.Messages {
		if m.At.Version.Compare(op.Version) > 0 {
			op.Version = m.At.Version
		}
	}
	return e.Merge(ctx, op)
}

// Log is the messages of a conversation, oldest first.
type Log struct {
	store.Log
	Source Source
	// Partial: there may be more, which this instance does not know of.
	Partial bool
	Age     time.Duration // as that of a Value
	Copy    *Copy         // what this process keeps of it: others read the same; nil: nothing
}

// Messages reads the newest messages of a conversation; zero means all of its
// window.
func (e *Engine) Messages(ctx context.Context, k keys.Key, last int) (log Log, err error) {
	err = e.MessagesAt(ctx, &k, nil, last, &log)
	return log, err
}

// MessagesAt is Messages into log, which is zero, for one who has a handle of the key;
// nil: there is none. A hit is nearly as quick as looking the copy up: nothing large is
// passed by value, and nothing deferred.
func (e *Engine) MessagesAt(ctx context.Context, k *keys.Key, h *near.Handle, last int, log *Log) (err error) {
	if err := e.check(); err != nil {
		return err
	}
	t := e.taps.begin(ctx, OpMessages, k)
	if !e.freshLog(k, h, last, log) {
		*log, err = e.messages(ctx, *k, last)
	}
	if err == nil {
		t.readLog(log)
	}
	t.end(err)
	return err
}

// messages is Messages of the store, and keeps a copy.
func (e *Engine) messages(ctx context.Context, k keys.Key, last int) (log Log, err error) {
	ctx, end := e.begin(ctx, OpMessages, k.Type())
	defer end(&err)
	if e.copies.tier == nil || e.cfg.NearLogs <= 0 {
		return e.askedLog(ctx, k, last)
	}
	l := e.lease(k)
	t, shared := e.logs.join(e, k, l, last)
	if shared {
		if log, kept := t.await(ctx); kept {
			return log, nil
		}
		return e.askedLog(ctx, k, last)
	}
	defer func() { e.logs.end(k, t, log, err == nil && log.Source == FromShared && !log.Partial) }()
	if log, err = e.askedLog(ctx, k, last); err == nil {
		e.keepLog(k, last, e.cfg.NearLogs, l, &log)
	}
	return log, err
}

// askedLog is what the store answers, completed by what this instance knows.
func (e *Engine) askedLog(ctx context.Context, k keys.Key, last int) (log Log, err error) {
	for again := true; again; {
		log = Log{Source: FromShared}
		begun := e.outset(k)
		if err = e.endPending(ctx, k.Org()); err == nil {
			log.Log, err = e.cfg.Store.Messages(ctx, k, last)
		}
		answered := err == nil
		if e.journal != nil {
			log, err = e.recallLog(ctx, k, last, begun, log, err)
		}
		again = answered && e.overtaken(k.Org(), begun)
		if answered && err == nil && !again {
			again, err = e.adopted(ctx, k, begun)
		}
	}
	if err != nil {
		return log, err
	}
	e.learn(k.Org(), log.Generation)
	if n := len(log.Messages); n > 0 {
		newest := log.Messages[n-1].Order.Version
		e.cfg.Clock.Observe(newest)
		if log.Source != FromShared {
			log.Age = e.sinceWritten(newest)
		}
	}
	return log, nil
}
