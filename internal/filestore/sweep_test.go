package filestore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func (f *fixture) mustSweep() {
	f.t.Helper()
	if err := f.sweep(context.Background()); err != nil {
		f.t.Fatal(err)
	}
}

func TestSweepExpired(t *testing.T) {
	f := newFixture(t)
	f.apply(f.set(f.value("a", "1"), "x"), store.Applied)
	f.apply(f.tombstone(f.value("a", "2")), store.Applied)
	f.apply(f.append(f.talk("a", "1"), "a", "b", "c"), store.Applied)
	f.apply(f.set(f.directory(), "x"), store.Applied)
	clear := f.append(f.talk("a", "2"), "d")
	clear.Action, clear.Keep = store.Replace, 3*time.Hour
	f.apply(clear, store.Applied)
	long := f.set(f.value("b", "1"), "long")
	long.TTL = 5 * time.Hour
	f.apply(long, store.Applied)

	before := f.commits.Load()
	f.mustSweep()
	if n := f.commits.Load() - before; n != 0 {
		t.Errorf("%d commits with nothing due", n)
	}
	f.advance(2 * time.Hour)
	f.mustSweep()
	if n := f.Health().Keys; n != 2 {
		t.Errorf("%d keys are left, want the floor and what lives longer", n)
	}
	if n := f.rowCount(f.names.directory); n != 0 {
		t.Errorf("%d rows are left in the directory", n)
	}
	if n := f.rowCount(f.names.organisations); n != 4 { // two buckets, a floor, a value
		t.Errorf("%d rows are left", n)
	}
	late := appendAt(f.talk("a", "2"), clear.Version, "late")
	late.Version = f.clockBefore(clear)
	f.apply(late, store.Superseded) // the floor is kept
	f.advance(2 * time.Hour)
	f.mustSweep()
	f.advance(2 * time.Hour)
	f.mustSweep()
	for _, bucket := range [][]byte{f.names.organisations, f.names.directory, f.names.due, f.names.sweeping} {
		if n := f.rowCount(bucket); n != 0 {
			t.Errorf("%d rows are left in %s", n, bucket)
		}
	}
	if n := f.Health().Keys; n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// TestSweepSlides: a life that was prolonged, shortened or renewed ends when
// it should, though the plan of the sweep was made before.
func TestSweepSlides(t *testing.T) {
	f := newFixture(t)
	talk, lead := f.talk("a", "1"), f.value("a", "1")
	f.apply(f.append(talk, "a"), store.Applied)
	long := f.set(lead, "long")
	long.TTL = 4 * time.Hour
	f.apply(long, store.Applied)
	f.advance(30 * time.Minute)
	f.apply(f.append(talk, "b"), store.Applied)
	short := f.set(lead, "short")
	short.TTL = time.Minute
	f.apply(short, store.Applied)
	f.advance(45 * time.Minute)
	f.mustSweep()
	if n := len(f.ids(talk)); n != 2 {
		t.Errorf("%d messages of a conversation that was prolonged", n)
	}
	if n := f.Health().Keys; n != 1 {
		t.Errorf("%d keys, want the conversation only", n)
	}
	f.advance(16 * time.Minute)
	f.mustSweep()
	if n := f.Health().Keys; n != 0 {
		t.Errorf("%d keys after the end of the life", n)
	}
	// What comes back after it was swept is planned anew.
	f.apply(f.set(lead, "again"), store.Applied)
	f.advance(61 * time.Minute)
	f.mustSweep()
	if n := f.Health().Keys; n != 0 {
		t.Errorf("%d keys, want none", n)
	}
}

func TestSweepOldGenerations(t *testing.T) {
	f := newFixture(t)
	const n = 1500 // more than one step
	f.applyAll(n, func(i int) store.Op { return f.set(f.value("a", fmt.Sprint(i)), "x") })
	talk, floor := f.talk("a", "1"), f.talk("a", "2")
	f.apply(f.append(talk, "a", "b"), store.Applied)
	clear := f.append(floor, "c")
	clear.Action = store.Replace
	f.apply(clear, store.Applied)
	f.apply(f.set(f.value("b", "1"), "x"), store.Applied)
	g, err := f.Invalidate(context.Background(), f.org("a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	fresh := f.set(f.value("a", "fresh"), "x")
	fresh.Generation = g
	f.apply(fresh, store.Applied)
	before := f.commits.Load()
	f.mustSweep()
	if steps := f.commits.Load() - before; steps < 2 {
		t.Errorf("%d rows were removed in %d steps", n, steps)
	}
	if n := f.Health().Keys; n != 3 { // fresh, the floor, the value of b
		t.Errorf("%d keys are left, want 3", n)
	}
	if got := f.live(fresh.Key); got != "x" {
		t.Errorf("the value of the present generation is %q", got)
	}
	late := f.append(floor, "late")
	late.Version, late.Generation = f.clockBefore(clear), g
	f.apply(late, store.Superseded) // a floor is of no generation
	if n := f.rowCount(f.names.sweeping); n != 0 {
		t.Errorf("%d organisations are still to be swept", n)
	}
}

// TestSweepLongConversation: one conversation with more rows than a step.
func TestSweepLongConversation(t *testing.T) {
	f := newFixture(t)
	talk := f.talk("a", "1")
	for i := range 10 {
		var ids []string
		for j := range 100 {
			ids = append(ids, fmt.Sprintf("%d-%d", i, j))
		}
		f.apply(f.append(talk, ids...), store.Applied)
	}
	f.advance(2 * time.Hour)
	before := f.commits.Load()
	f.mustSweep()
	if steps := f.commits.Load() - before; steps < 3 {
		t.Errorf("3000 rows went in %d steps", steps)
	}
	if n := f.rowCount(f.names.organisations); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestSweepTicks: the sweep runs by itself.
func TestSweepTicks(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.SweepEvery = time.Millisecond })
	f.apply(f.set(f.value("a", "1"), "x"), store.Applied)
	f.advance(2 * time.Hour)
	deadline := time.Now().Add(20 * time.Second)
	for f.Health().Keys != 0 {
		if time.Now().After(deadline) {
			t.Fatal("nothing was swept")
		}
		yield()
	}
}

func TestDropOrganisation(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	for i := range 20 {
		f.apply(f.set(f.value("a", fmt.Sprint(i)), "x"), store.Applied)
		f.apply(f.append(f.talk("a", fmt.Sprint(i)), "a", "b"), store.Applied)
		f.apply(f.set(f.value("ab", fmt.Sprint(i)), "x"), store.Applied)
	}
	if _, err := f.RaiseGeneration(ctx, f.org("a"), 3); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		if err := f.DropOrganisation(ctx, f.org("a")); err != nil {
			t.Fatal(err)
		}
		if n := f.Health().Keys; n != 20 {
			t.Errorf("%d keys are left, want 20", n)
		}
	}
	if err := f.DropOrganisation(ctx, keys.Org{}); err == nil {
		t.Error("the directory was dropped")
	}
	if g, err := f.Generation(ctx, f.org("a")); g != 3 || err != nil {
		t.Errorf("generation %d, %v after the drop, want 3", g, err)
	}
	if got := f.live(f.value("ab", "1")); got != "x" {
		t.Errorf("a neighbour holds %q", got)
	}
	f.apply(f.set(f.value("a", "1"), "old"), store.Applied)
	if got := f.live(f.value("a", "1")); got != "" {
		t.Errorf("a late write of an old generation is live: %q", got)
	}
	f.advance(2 * time.Hour) // what was planned for the dropped rows does no harm
	f.mustSweep()
	if n := f.rowCount(f.names.due); n != 0 {
		t.Errorf("%d rows are due for ever", n)
	}
}
