package engine

import (
	"context"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/store"
)

// proven is a store of which changes are told, as far as its cover says.
type proven struct {
	*faulty
	cover store.Cover
}

func (p *proven) AwaitSeen(context.Context, time.Time, ...keys.Org) error { return nil }

func (p *proven) Covers(string, keys.Org) store.Covers {
	return store.Covers{Key: &p.cover, Generation: &p.cover}
}

// TestWroteEndsCopies: what the replay has written is read at once, though a copy
// from before it is proven to be current, because nobody has told of the change yet.
func TestWroteEndsCopies(t *testing.T) {
	f, s := journaled(t)
	tier, err := near.New(near.Options{MaxBytes: 8 << 20, Share: 1, Bound: time.Hour, Space: f.space})
	if err != nil {
		t.Fatal(err)
	}
	p := &proven{faulty: s}
	p.cover.Prove(p.cover.Epoch(), store.Now())
	f.copies = copies{tier: tier, tracked: p}
	ctx, k, policy := t.Context(), f.key("org-1", "agent-1"), shared
	policy.Near = time.Hour
	read := func() Value {
		t.Helper()
		v, err := f.Get(ctx, k, policy)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	read()
	op := store.Op{Action: store.Set, Mode: store.Merge, Key: k, Version: f.cfg.Clock.Now(), ExpiresAt: time.Now().Add(time.Hour), Payload: []byte("1")}
	if _, err := s.Memory.Apply(ctx, op); err != nil {
		t.Fatal(err)
	}
	if v := read(); v.Found {
		t.Fatalf("%+v; want the copy which says that nothing is there", v)
	}
	f.Wrote(k)
	if v := read(); !v.Found {
		t.Error("the copy from before it")
	}
}
