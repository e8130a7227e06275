package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackcache/jackcache/internal/sabotage"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// canaryWait is how long one is waited for. Later it would prove nothing that is
	// worth knowing.
	canaryWait = time.Second
	// canaryTTL is the life of its key, where the DEL behind it does not arrive.
	canaryTTL = 10 * time.Second
)

var (
	// errUnheard: a canary was written, and the tap did not tell.
	errUnheard = errors.New("a key that was written was not told of: the connection on which redis tells what changes hangs, or leads to another server")
	errShaken  = errors.New("redis was emptied, or the connection on which it tells what changes has ended")
	// errSlotless: a node of a Cluster has no slot that a canary could lie in.
	errSlotless = errors.New("it has no slots")
)

// flight is a canary on its way: one key for each connection for calls, as each may
// lead to another server. No key is used twice, so the change of one says that it
// was written, and that was after sent: whatever else changes it, its DEL, or its
// removal for lack of memory, is later still.
type flight struct {
	cover *store.Cover
	epoch uint64 // from before sent
	sent  int64
	// doubts are those of the entry in the list by sent: with another one since, it
	// proves nothing.
	doubts uint64
	away   []string      // keys that have not come back
	back   chan struct{} // closed when all have
	void   bool          // written before back is closed
}

// prove sends a canary and waits until it has come back. There is one under way
// at a time.
func (t *tap) prove() error {
	n := t.n
	if !n.s.listing.counts() {
		return errUnlisted
	}
	near, err := n.canaryNear()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(n.life, canaryWait)
	defer cancel()
	var f *flight
	err = n.job(func(*link) error {
		var names []string
		f, names = t.depart(near, n.s.opts.Connections)
		// The link is that from after the epoch: where it is replaced later, the
		// epoch is raised after that, and nothing is proven.
		return n.release(ctx, n.link.Load(), names)
	})
	defer t.land()
	if _, moved := redirected(err); moved {
		n.hearing.place("") // another slot may be its own
		n.s.kick()
	}
	if err != nil && (f == nil || isReply(err) || neverSent(err)) {
		return fmt.Errorf("a key that proves that changes are told could not be written: %w", err)
	}
	select {
	case <-f.back:
		if f.void {
			return errUnlisted
		}
		return nil
	case <-t.shaken:
		t.look() // who rests looks
		return errShaken
	case <-ctx.Done():
	}
	if err != nil { // it may not have arrived at all
		return fmt.Errorf("a key that proves that changes are told: %w", err)
	}
	return errUnheard
}

// depart names n keys and begins to wait for them.
func (t *tap) depart(near string, n int) (f *flight, names []string) {
	s := t.n.s
	for range n {
		names = append(names, s.opts.Space.Canary(near, s.bootID, s.canaries.Add(1)))
	}
	f = &flight{back: make(chan struct{}), away: slices.Clone(names)}
	f.cover, f.epoch = t.n.hearing.now()
	// Who is not in the list gives nothing as fresh: nobody waits for it.
	f.sent, f.doubts = s.listing.signal()
	if s.opts.Mode == Cluster {
		// Of a slot that has left its master another one tells, so what is proven is as
		// old as the layout.
		f.sent = min(f.sent, s.surveyed.Load())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flight = f
	if sabotage.On("canary") {
		f.away = nil
		f.cover.Prove(f.epoch, f.sent)
		close(f.back)
	}
	return f, names
}

// land ends the wait: what comes back from now on proves nothing.
func (t *tap) land() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flight = nil
}

// returned is told which keys changed, after the Listener was.
func (t *tap) returned(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.flight
	if f == nil || len(f.away) == 0 {
		return
	}
	for _, name := range names {
		if i := slices.Index(f.away, name); i >= 0 {
			f.away = slices.Delete(f.away, i, i+1)
		}
	}
	if len(f.away) == 0 {
		if f.void = t.n.s.listing.doubted(f.doubts); !f.void {
			f.cover.Prove(f.epoch, f.sent)
		}
		close(f.back)
	}
}

// release writes a key on each connection for calls, and takes it away again in
// the same trip: it is told of once, and nothing stays behind. It has no more time
// than a probe: calls may have to wait with it for a connection.
func (n *node) release(ctx context.Context, l *link, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var writes []func() error
	for i, c := range l.calls {
		name := names[i]
		writes = append(writes, func() error {
			return c.DoMulti(ctx,
				c.B().Set().Key(name).Value("1").Px(canaryTTL).Build(),
				c.B().Del().Key(name).Build())[0].Error()
		})
	}
	return together(writes...)
}

// canaryNear returns a key in whose slot the canaries of the node lie; in a
// Cluster the one that served last, or the next one whose slot the node has.
func (n *node) canaryNear() (string, error) {
	l, h := n.s.layout.Load(), &n.hearing
	if l.slots == nil {
		return *n.probe.Load(), nil
	}
	if near := h.near; near != "" && l.node(near) == n { // nobody else writes it
		return near, nil
	}
	if !l.serves(n) {
		return "", errSlotless
	}
	for range 64 * slotCount {
		h.salt++
		if near := n.s.opts.Space.SlotProbe(n.s.opts.Clock.Node(), h.salt); l.node(near) == n {
			return h.place(near), nil
		}
	}
	return "", errSlotless
}

// place keeps the key in whose slot canaries lie.
func (h *hearing) place(near string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.near = near
	return near
}
