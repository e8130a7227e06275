package flight

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

type group = Group[string]

// result waits for a call.
func result(t *testing.T, c *Call[string]) (string, error) {
	t.Helper()
	<-c.Done()
	return c.Result()
}

// Each key is run by who wanted it first, and each has its result when it is there.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		slow := func(ctx context.Context, mine []int, done func(int, string, error)) {
			for _, i := range mine {
				time.Sleep(time.Second)
				done(i, string(rune('a'+i)), nil)
				done(i, "twice", nil)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := g.Start(ctx, []string{"1", "2"}, time.Minute, slow)
		cancel() // it goes on
		second := g.Start(t.Context(), []string{"3", "2", "1"}, time.Minute, func(_ context.Context, mine []int, done func(int, string, error)) {
			if len(mine) != 1 || mine[0] != 0 {
				t.Errorf("the second has to run %v", mine)
			}
			done(0, "x", nil)
		})
		began := time.Now()
		for i, c := range []*Call[string]{second[0], first[0], second[2], first[1], second[1]} {
			want := []string{"x", "a", "a", "b", "b"}[i]
			if v, err := result(t, c); v != want || err != nil {
				t.Errorf("call %d: %q, %v; want %q", i, v, err, want)
			}
			if i == 2 && time.Since(began) != time.Second {
				t.Errorf("the first result came after %v", time.Since(began))
			}
		}
		again := g.Start(t.Context(), []string{"1"}, time.Minute, slow)
		if again[0] == first[0] {
			t.Error("a call that is over is shared")
		}
		_, _ = result(t, again[0])
	})
}

// However the function ends, its calls do.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		release := make(chan struct{})
		for name, c := range map[string]struct {
			fn   func(context.Context, []int, func(int, string, error))
			want func(error) bool
		}{
			"panics":  {func(context.Context, []int, func(int, string, error)) { panic("oops") }, func(err error) bool { return errors.As(err, new(*PanicError)) }},
			"exits":   {func(context.Context, []int, func(int, string, error)) { runtime.Goexit() }, func(err error) bool { return errors.Is(err, errNoResult) }},
			"forgets": {func(context.Context, []int, func(int, string, error)) {}, func(err error) bool { return errors.Is(err, errNoResult) }},
			"hangs":   {func(context.Context, []int, func(int, string, error)) { <-release }, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		} {
			began := time.Now()
			for _, call := range g.Start(t.Context(), []string{name, name + " too"}, time.Second, c.fn) {
				if _, err := result(t, call); !c.want(err) || time.Since(began) > time.Second+grace {
					t.Errorf("%s: %v after %v", name, err, time.Since(began))
				}
			}
			g.mu.Lock()
			if len(g.calls) > 0 {
				t.Errorf("%s: %d calls are left", name, len(g.calls))
			}
			g.mu.Unlock()
		}
		close(release)
	})
}
