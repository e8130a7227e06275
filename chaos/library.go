package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// library is the cache inside the driver's process. It is closed in order: what
// it is like to be killed is for the processes to show.
type library struct {
	dir            string
	redis          *jackcache.RedisOptions
	withoutJournal bool

	offset atomic.Int64 // nanoseconds that its clock is ahead

	lives atomic.Uint32
	mu    sync.RWMutex
	a     *assistant.Assistant // guarded by mu: nil while it is closed
	log   *os.File             // guarded by mu
}

func (l *library) life() uint16 { return uint16(l.lives.Load()) }

func (l *library) start() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.a != nil {
		return nil
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(l.dir, "jackcache.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	o := jackcache.Options{
		DataDir: filepath.Join(l.dir, "data"), Redis: l.redis,
		Logger:       slog.New(slog.NewTextHandler(log, nil)),
		Conversation: jackcache.ConversationOptions{Window: window},
		Now:          func() time.Time { return time.Now().Add(time.Duration(l.offset.Load())) },
	}
	if l.withoutJournal {
		o.Journal.Mode = jackcache.JournalOff
	}
	a, err := assistant.Open(ctx, o, assistant.TTLs{})
	if err != nil {
		return errors.Join(err, log.Close())
	}
	l.lives.Add(1)
	l.a, l.log = a, log
	return nil
}

func (l *library) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.a == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	_ = l.a.Close(ctx) // its Redis may be away
	_ = l.log.Close()
	l.a = nil
}

func (l *library) close() { l.kill() }

func (l *library) open() *assistant.Assistant {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.a
}

func (l *library) write(ctx context.Context, k *key, o op) (outcome, error) {
	a := l.open()
	if a == nil {
		return refused, nil
	}
	ctx, receipt := jackcache.WithReceipt(ctx)
	err := k.apply(ctx, a, o)
	switch {
	case err == nil && receipt.Pending():
		return pending, nil
	case err == nil, errors.Is(err, jackcache.ErrUnseen): // done all the same
		return shared, nil
	case errors.Is(err, jackcache.ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		return unknown, nil
	case slices.ContainsFunc(refusals, func(r error) bool { return errors.Is(err, r) }):
		return refused, nil
	}
	return refused, err
}

// refusals are the errors that faults excuse, after which nothing was stored.
var refusals = []error{jackcache.ErrUnavailable, jackcache.ErrJournal, jackcache.ErrFull, jackcache.ErrClosed}

func (k *key) apply(ctx context.Context, a *assistant.Assistant, o op) error {
	org := a.Cache.Org(k.org)
	c := org.Conversation(k.name())
	switch o.verb {
	case appends, replaces:
		msgs, err := jackcache.ParseMessages(k.messages(o))
		if err != nil {
			return err
		}
		write := c.Append
		if o.verb == replaces {
			write = c.Replace
		}
		_, err = write(ctx, msgs...)
		return err
	case clears:
		return c.Clear(ctx)
	case invalidates:
		return org.Invalidate(ctx)
	case forgets:
		_, err := org.Forget(ctx, k.name())
		return err
	}
	kind := a.Kinds.AgentConfig.Info().Name
	if k.form == summary {
		kind = a.Kinds.Summary.Info().Name
	}
	raw, err := a.Cache.RawKind(kind)
	if err != nil {
		return err
	}
	if o.verb == deletes {
		return raw.Delete(ctx, org, k.name())
	}
	_, err = raw.Set(ctx, org, k.name(), k.value(o.first))
	return err
}

func (l *library) read(ctx context.Context, k *key, last int) seen {
	a := l.open()
	if a == nil {
		return seen{refused: true}
	}
	org := a.Cache.Org(k.org)
	switch k.form {
	case agentConfig:
		e, err := a.Kinds.AgentConfig.Entry(ctx, org, k.name())
		return k.valueRead(gjson.GetBytes(e.Value, "text").Str, e.Source, err)
	case summary:
		e, err := a.Kinds.Summary.Entry(ctx, org, k.name())
		return k.valueRead(e.Value.Text, e.Source, err)
	}
	t, err := org.Conversation(k.name()).Messages(ctx, jackcache.ReadOptions{Last: last})
	if err != nil {
		return seen{refused: true}
	}
	s := seen{partial: !t.Complete}
	for _, m := range t.Messages {
		s.numbers = append(s.numbers, k.number(m.ID))
	}
	return s
}

func (k *key) valueRead(text string, source jackcache.Source, err error) seen {
	switch {
	case err == nil:
		partial := source == jackcache.SourcePending || source == jackcache.SourceStale
		return seen{found: true, numbers: []uint32{k.number(text)}, partial: partial}
	case errors.Is(err, jackcache.ErrNotFound):
		return seen{}
	}
	return seen{refused: true}
}

func (l *library) health(context.Context) health {
	a := l.open()
	if a == nil {
		return health{pending: -1, replayed: -1}
	}
	h := a.Cache.Health()
	j := h.Journal
	if j.Mode == "" {
		return health{reached: true, status: string(h.Status), store: h.Store.State, problems: h.Problems, pending: -1, replayed: -1}
	}
	return health{
		reached: true, status: string(h.Status), store: h.Store.State, problems: h.Problems,
		pending: j.Pending, replayed: int64(j.Replayed), restoring: int64(j.Restoring), setAside: j.SetAside, expired: int64(j.Expired),
	}
}
