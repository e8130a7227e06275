package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/store"
)

// TestWaitingBeforeCopies: from when the journal has a write its own instance reads
// that, though the copy from before it is proven to be current and not dropped yet; and
// the copy is not given as stale either.
func TestWaitingBeforeCopies(t *testing.T) {
	f, s := journaled(t)
	tier, err := near.New(near.Options{MaxBytes: 8 << 20, Share: 1, Bound: time.Hour, Space: f.space})
	if err != nil {
		t.Fatal(err)
	}
	p := &proven{faulty: s}
	p.cover.Prove(p.cover.Epoch(), store.Now())
	f.copies, f.cfg.NearLogs = copies{tier: tier, tracked: p}, time.Hour
	ctx, k, person, policy := t.Context(), f.key("org-1", "agent-1"), f.phone("org-1", "+16049085474"), shared
	policy.Near, policy.Stale = time.Hour, true
	write := func(text string) {
		t.Helper()
		if _, err := f.Set(ctx, k, []byte(text), policy, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Append(ctx, person, []Message{{ID: text, Payload: []byte("{}")}}, limits); err != nil {
			t.Fatal(err)
		}
	}
	read := func(from Source, text string) {
		t.Helper()
		if v, err := f.Get(ctx, k, policy); err != nil || v.Source != from || string(v.Payload) != text {
			t.Errorf("%q from %d, %v; want %q from %d", v.Payload, v.Source, err, text, from)
		}
	}
	messages := func(from Source, last string) {
		t.Helper()
		log, err := f.Messages(ctx, person, 0)
		if n := len(log.Messages); err != nil || n == 0 || log.Source != from || log.Messages[n-1].ID != last {
			t.Errorf("%d messages from %d, %v; want %q at the end, from %d", n, log.Source, err, last, from)
		}
	}
	write("old")
	for range 2 {
		if err := errors.Join(second(f.Get(ctx, k, policy)), second(f.Messages(ctx, person, 0))); err != nil {
			t.Fatal(err)
		}
	}
	read(FromNear, "old")
	messages(FromNear, "old")

	s.away = true
	kicks := 0
	f.cfg.Journaling.Kick = func() { // the journal has it, and nobody was told
		if kicks++; kicks == 1 {
			read(FromPending, "new")
			if v, st := f.stale(k, policy, miss{err: store.ErrUnavailable}); st != none {
				t.Errorf("%q may be given as stale", v.Payload)
			}
			return
		}
		messages(FromPending, "new")
	}
	write("new")
	if kicks != 2 {
		t.Fatalf("%d writes wait, want 2", kicks)
	}
}

// TestConditionWhileAWriteWaits: a condition is not compared with what the store has
// while that lacks a write which was acknowledged.
func TestConditionWhileAWriteWaits(t *testing.T) {
	f, s := journaled(t)
	ctx, k := t.Context(), f.key("org-1", "agent-1")
	s.away = true
	if _, err := f.Set(ctx, k, []byte("1"), shared, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s.away = false
	if _, err := f.Set(ctx, k, []byte("2"), shared, store.Condition{Kind: store.IfAbsent}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	f.drain(s)
	if _, err := f.Set(ctx, k, []byte("2"), shared, store.Condition{Kind: store.IfAbsent}); !errors.Is(err, ErrCondition) {
		t.Errorf("%v, want ErrCondition", err)
	}
}
