package replay_test

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Who looks is answered when what there is to adopt is adopted, or cannot be.
func TestLook(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		g := at(time.Now())
		elapse(time.Millisecond)
		x.write(x.set(value(org(1), 1), "after"))
		x.brought(org(1), g)
		if err := x.r.Look(t.Context(), org(1)); err != nil {
			t.Fatal(err)
		}
		if got := x.reads(value(org(1), 1)); got != `"after"` {
			t.Errorf("%q when it was looked", got)
		}
		x.s.is(func(call) fault { return fault{err: errAway} })
		if err := x.r.Look(t.Context(), org(1)); err == nil {
			t.Error("no error where the store is away")
		}
		x.s.is(func(call) fault { return fault{hangs: true} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := x.r.Look(ctx, org(1)); err == nil || ctx.Err() == nil {
			t.Errorf("%v, %v where the store hangs", err, ctx.Err())
		}
		x.s.well()
		x.j.Begin() // somebody has been answered, and not recorded it
		x.brought(org(1), g+1)
		if err := x.r.Look(ctx, org(1)); err == nil {
			t.Error("no error after its time")
		}
	})
}

// Who looks is answered when a generation that is noted is restored, not before.
func TestLookWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		g := at(time.Now())
		elapse(time.Millisecond)
		x.write(x.set(value(org(1), 1), "after"))
		x.s.noted(org(1), g, time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		answer := make(chan error, 1)
		go func() { answer <- x.r.Look(ctx, org(1)) }()
		elapse(100 * time.Millisecond)
		select {
		case err := <-answer:
			t.Fatalf("%v before it is restored", err)
		default:
		}
		var told []string
		x.back = func() { told = append(told, x.reads(value(org(1), 1))) }
		x.brought(org(1), g)
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
		if got := x.reads(value(org(1), 1)); got != `"after"` {
			t.Errorf("%q when who looked is answered", got)
		}
		if fmt.Sprint(told) != `["after"]` {
			t.Errorf("what was read when it was told that something is restored: %q", told)
		}
	})
}
