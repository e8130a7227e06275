package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// Nobody waits longer than the hard bound, and what is loaded is kept all the same.
func TestHardTimeout(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		const load, hard = time.Second, 300 * time.Millisecond
		bound := lenient
		bound.SoftTimeout, bound.HardTimeout = 0, hard
		late := func() {
			t.Helper()
			began := time.Now()
			_, err := p.GetOrLoad(t.Context(), c.key, bound, c.loader("x", load))
			if took := time.Since(began); !errors.Is(err, ErrTimeout) || took != hard {
				t.Errorf("got %v after %v, want a timeout after %v", err, took, hard)
			}
		}
		late()
		late()
		c.loaded(1)
		elapse(load)
		c.gets(p, bound, c.loader("y", load), "x", FromShared, 0)
		c.expire()
		c.gets(p, bound, c.loader("z", load), "x", FromStale, hard)
		elapse(load)
		c.gets(p, bound, c.loader("y", load), "z", FromShared, 0)
	})
}

// Nor for a store that hangs.
func TestHardTimeoutOfARead(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		const hard = 5 * time.Millisecond // less than the store may take
		bound := lenient
		bound.SoftTimeout, bound.HardTimeout = 0, hard
		c.has(p, "old")
		p.line.hangs.Store(true)
		defer p.line.hangs.Store(false)
		c.gets(p, bound, fails, "old", FromStale, hard)
		c.changed()
		began := time.Now()
		_, err := p.GetOrLoad(t.Context(), c.key, bound, c.loader("x", 0))
		if took := time.Since(began); !errors.Is(err, ErrTimeout) || took != hard {
			t.Errorf("got %v after %v, want ErrTimeout after %v", err, took, hard)
		}
		elapse(time.Minute) // the load goes on behind
	})
}

// What is loaded together does not expire together, and never lives longer.
func TestTTLJitter(t *testing.T) {
	for _, jitter := range []float64{0, 0.1, 1} {
		p := Policy{TTL: time.Hour, Jitter: jitter}
		least, most := p.TTL, time.Duration(0)
		for range 10_000 {
			ttl := p.fillTTL()
			least, most = min(least, ttl), max(most, ttl)
		}
		low := p.TTL - time.Duration(jitter*float64(p.TTL))
		if least < low || most > p.TTL || least <= 0 {
			t.Errorf("jitter %v: %v to %v", jitter, least, most)
		}
		if spread := time.Duration(jitter * float64(p.TTL) / 2); most-least < spread {
			t.Errorf("jitter %v: %v to %v are not apart", jitter, least, most)
		}
	}
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		var ttl atomic.Int64
		p := f.processes[0]
		p.line.applying = func(op store.Op) { ttl.Store(int64(op.TTL)) }
		jittered := plain
		jittered.Jitter = 1
		if _, err := p.GetOrLoad(t.Context(), f.key, jittered, f.loader("x", 0)); err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(ttl.Load()); got <= 0 || got >= plain.TTL {
			t.Errorf("it was stored for %v", got)
		}
		if _, err := p.Set(t.Context(), f.key, []byte("y"), jittered, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(ttl.Load()); got != plain.TTL {
			t.Errorf("a caller's value was stored for %v", got)
		}
	})
}

// Who has written, deleted or invalidated, or comes when another one has, does not get
// what a load brings that began before, though the store is too slow to tell what was missed.
func TestSlowReadAfterAWrite(t *testing.T) {
	tells := func(p process, name string) error {
		p.copies.tier.Changed([]string{name})
		return nil
	}
	for name, do := range map[string]func(*testing.T, process, keys.Key) error{
		"told": func(_ *testing.T, p process, k keys.Key) error { return tells(p, k.String()) },
		"told of the organisation": func(t *testing.T, p process, k keys.Key) error {
			space, err := keys.NewSpace(keys.Dev)
			return errors.Join(err, tells(p, space.Generation(k.Org())))
		},
		"set": func(t *testing.T, p process, k keys.Key) error {
			return second(p.Set(t.Context(), k, []byte("new"), lenient, store.Condition{}))
		},
		"delete": func(t *testing.T, p process, k keys.Key) error {
			return p.Delete(t.Context(), k, lenient, store.Condition{})
		},
		"invalidate": func(t *testing.T, p process, k keys.Key) error { return second(p.Invalidate(t.Context(), k.Org())) },
	} {
		t.Run(name, func(t *testing.T) {
			inCopied(t, 1, func(t *testing.T, c *copied) {
				p := c.processes[0]
				hasty := lenient
				hasty.SoftTimeout = 5 * time.Millisecond // less than the store may take
				p.line.hangs.Store(true)
				before := make(chan struct{})
				go func() {
					defer close(before)
					_, _ = p.GetOrLoad(context.Background(), c.key, hasty, c.loader("old", time.Second))
				}()
				elapse(500 * time.Millisecond)
				if err := do(t, p, c.key); err != nil {
					t.Fatal(err)
				}
				v, err := p.GetOrLoad(t.Context(), c.key, hasty, c.loader("new", 0))
				if err != nil || string(v.Payload) != "new" {
					t.Errorf("got %q from %d, %v; want what is there since", v.Payload, v.Source, err)
				}
				p.line.hangs.Store(false)
				<-before
			})
		})
	}
}

// A copy of what was loaded lives no longer than that, though its version does not
// tell what the jitter has taken.
func TestJitterBoundsCopies(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		kind := Policy{TTL: 30 * time.Minute, Keep: time.Hour, CompressAbove: -1, Near: time.Hour, Jitter: 1}
		var ttl time.Duration
		p.line.applying = func(op store.Op) { ttl = op.TTL }
		kept := func() bool {
			it, _ := c.tiers[0].Get(c.key.String(), nil, c.told(0).Covers(c.key.String(), c.key.Org()))
			return it != nil && !it.Absent
		}
		for name, read := range map[string]func() error{
			"one": func() error { return second(p.Get(t.Context(), c.key, kind)) },
			"many": func() error {
				return second(p.GetMany(t.Context(), []keys.Key{c.key}, []Policy{kind}))
			},
		} {
			c.gets(p, kind, c.loader("x", 0), "x", FromLoader, 0)
			if err := read(); err != nil || !kept() {
				t.Fatalf("%s: no copy, %v", name, err)
			}
			elapse(ttl + time.Millisecond)
			if kept() {
				t.Errorf("%s: there is a copy after the life of %v", name, ttl)
			}
			elapse(time.Hour)
		}
	})
}
