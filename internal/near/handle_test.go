package near

import (
	"runtime"
	"testing"
	"weak"

	"github.com/jackcache/jackcache/internal/keys"
)

// TestHandle: whatever ends a copy ends it for who has a handle, too, and who had one
// finds the next copy.
func TestHandle(t *testing.T) {
	for name, end := range map[string]func(f *fixture, k keys.Key, h *Handle){
		"told":        func(f *fixture, k keys.Key, h *Handle) { f.Changed([]string{k.String()}) },
		"written":     func(f *fixture, k keys.Key, h *Handle) { f.Drop(k) },
		"replaced":    func(f *fixture, k keys.Key, h *Handle) { f.mustFill(k, item(2)); f.Drop(k) },
		"generation":  func(f *fixture, k keys.Key, h *Handle) { f.DropOrg(k.Org()) },
		"its account": func(f *fixture, k keys.Key, h *Handle) { f.remove(h.entry()) },
		"no room": func(f *fixture, k keys.Key, h *Handle) {
			f.cache.SetMaximum(1)
			f.cache.CleanUp()
			f.cache.SetMaximum(f.max)
		},
	} {
		f := newFixture(t, Options{})
		k, h := f.key("a", "1"), new(Handle)
		f.mustFill(k, item(1))
		for range 2 {
			if it, fresh := f.Tier.Get(k.String(), h, f.c); it == nil || it.Value != int64(1) || !fresh {
				t.Fatalf("%s: before, it is %v, fresh %v", name, it, fresh)
			}
		}
		end(f, k, h)
		if it, _ := f.Tier.Get(k.String(), h, f.c); it != nil {
			t.Errorf("%s: it is still there", name)
		}
		f.mustFill(k, item(3))
		if it, fresh := f.Tier.Get(k.String(), h, f.c); it == nil || it.Value != int64(3) || !fresh {
			t.Errorf("%s: afterwards it is %v, fresh %v", name, it, fresh)
		}
	}
}

// TestHandleOfReplaced: who has a handle does not get the copy that another one has
// taken the place of, even while the other one is being put in.
func TestHandleOfReplaced(t *testing.T) {
	f := newFixture(t, Options{})
	k, h := f.key("a", "1"), new(Handle)
	f.mustFill(k, item(1))
	f.Tier.Get(k.String(), h, f.c)
	f.mustFill(k, item(2))
	if it, fresh := f.Tier.Get(k.String(), h, f.c); it == nil || it.Value != int64(2) || !fresh {
		t.Errorf("it is %v, fresh %v", it, fresh)
	}
}

// TestHandleKeepsNothing: a handle that nobody uses does not keep alive what the tier
// has let go of.
func TestHandleKeepsNothing(t *testing.T) {
	f := newFixture(t, Options{})
	k, h := f.key("a", "1"), new(Handle)
	value := new([1 << 16]byte)
	alive := weak.Make(value)
	it := item(1)
	it.Value = value
	f.mustFill(k, it)
	f.Tier.Get(k.String(), h, f.c)
	value, it = nil, Item{}
	f.Drop(k)
	f.cache.CleanUp()
	poll(t, func() bool { runtime.GC(); return alive.Value() == nil })
	runtime.KeepAlive(h)
}

// TestHandleIsOfUse: reads by a handle count when something has to go, each for itself
// where they are rare.
func TestHandleIsOfUse(t *testing.T) {
	f := newFixture(t, Options{})
	k, h := f.key("a", "1"), new(Handle)
	f.mustFill(k, item(1))
	f.Tier.Get(k.String(), h, f.c)
	e := h.entry()
	for range 3 {
		heard := e.counted.Load()
		poll(t, func() bool { f.Tier.Get(k.String(), h, f.c); return e.counted.Load() != heard })
	}
	// Copies that are read once each do not push out one that is read all the time.
	small := newFixture(t, Options{MaxBytes: 64 << 10, Share: 0.5})
	k, h = small.key("a", "hot"), new(Handle)
	small.mustFill(k, item(1))
	lost := 0
	for n := range 2000 {
		if it, _ := small.Tier.Get(k.String(), h, small.c); it == nil {
			lost++
			small.mustFill(k, item(1))
		}
		other := small.key("b"+id(n%10), id(n))
		small.fill(other, item(1))
		small.Tier.Get(other.String(), nil, small.c)
	}
	small.cache.CleanUp()
	if s := small.Stats(); s.Evictions < 1000 || lost > 20 {
		t.Errorf("with %d evictions the one in use was lost %d times", s.Evictions, lost)
	}
}
