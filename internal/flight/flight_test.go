package flight

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const timeout = time.Second

type key struct{}

// result is what a caller got, and when.
type result struct {
	value string
	err   error
	took  time.Duration
}

// call starts a caller and returns where its result comes.
func call(g *Group[string], ctx context.Context, fn func(context.Context) (string, error)) <-chan result {
	got := make(chan result, 1)
	go func() {
		begun := time.Now()
		v, err := g.Do(ctx, "key", timeout, fn)
		got <- result{v, err, time.Since(begun)}
	}()
	synctest.Wait() // it has joined
	return got
}

// takes returns a function that takes a time, heeds its context and counts.
func takes(d time.Duration, calls *int) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		*calls++
		select {
		case <-time.After(d):
			return "value", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// Callers who come before the call has returned share it; who comes then makes a new
// one.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string]
		calls := 0
		var all []<-chan result
		for range 5 {
			all = append(all, call(&g, t.Context(), takes(100*time.Millisecond, &calls)))
			time.Sleep(10 * time.Millisecond)
		}
		for i, c := range all {
			if r := <-c; r.value != "value" || r.err != nil || r.took != time.Duration(100-10*i)*time.Millisecond {
				t.Errorf("caller %d: %+v", i, r)
			}
		}
		if r := <-call(&g, t.Context(), takes(0, &calls)); r.value != "value" || calls != 2 {
			t.Errorf("after it %+v; %d calls, want 2", r, calls)
		}
	})
}

// Callers leave when their own contexts end, the first one, too: the call goes on for
// the others, with the values of the first one's context.
func TestCallersLeaveAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string]
		calls, seen := 0, ""
		fn := takes(500*time.Millisecond, &calls)
		first, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "first"))
		a := call(&g, first, func(ctx context.Context) (string, error) {
			v, err := fn(ctx)
			seen, _ = ctx.Value(key{}).(string)
			return v, err
		})
		hasty, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		b := call(&g, hasty, fn)
		c := call(&g, t.Context(), fn)
		cancel()
		if r := <-a; !errors.Is(r.err, context.Canceled) || r.took != 0 {
			t.Errorf("the first one: %+v", r)
		}
		if r := <-b; !errors.Is(r.err, context.DeadlineExceeded) || r.took != 50*time.Millisecond {
			t.Errorf("one in a hurry: %+v", r)
		}
		if r := <-c; r.value != "value" || r.err != nil || r.took != 500*time.Millisecond {
			t.Errorf("one who waits: %+v", r)
		}
		if calls != 1 || seen != "first" {
			t.Errorf("%d calls, the last with %q", calls, seen)
		}
	})
}

// A call that heeds its context ends with the timeout, and its own error is given.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string]
		mine := errors.New("gave up")
		r := <-call(&g, t.Context(), func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", mine
		})
		if !errors.Is(r.err, mine) || r.took != timeout {
			t.Errorf("%+v", r)
		}
	})
}

// One that does not keeps nobody longer than the grace, those who joined late no longer
// than their own time, and later callers do not join it.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string]
		release := make(chan struct{})
		hangs := func(context.Context) (string, error) {
			<-release
			return "late", nil
		}
		a := call(&g, t.Context(), hangs)
		time.Sleep(timeout / 2)
		b := call(&g, t.Context(), hangs)
		for _, c := range []<-chan result{a, b} {
			if r := <-c; !errors.Is(r.err, context.DeadlineExceeded) || r.took != timeout+grace || !strings.Contains(r.err.Error(), "1s") {
				t.Errorf("%+v", r)
			}
		}
		calls := 0
		if r := <-call(&g, t.Context(), takes(0, &calls)); r.value != "value" || calls != 1 {
			t.Errorf("after it %+v, %d calls", r, calls)
		}
		close(release)
		synctest.Wait()
	})
}

// A panic is an error of every caller, with its value and the place, and the next
// caller makes a new call.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string]
		panics := func(context.Context) (string, error) {
			time.Sleep(10 * time.Millisecond)
			panic("broken")
		}
		for _, c := range []<-chan result{call(&g, t.Context(), panics), call(&g, t.Context(), panics)} {
			r := <-c
			var p *PanicError
			if !errors.As(r.err, &p) || p.Value != "broken" || !strings.Contains(string(p.Stack), "flight_test.go") || r.err.Error() != "panic: broken" {
				t.Errorf("%+v", r)
			}
		}
		calls := 0
		if r := <-call(&g, t.Context(), takes(0, &calls)); r.value != "value" {
			t.Errorf("after it %+v", r)
		}
	})
}

// An error is given with the zero value or with what came with it, to all.
func TestError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string]
		mine := errors.New("mine")
		fails := func(context.Context) (string, error) {
			time.Sleep(time.Millisecond)
			return "part", mine
		}
		for _, c := range []<-chan result{call(&g, t.Context(), fails), call(&g, t.Context(), fails)} {
			if r := <-c; !errors.Is(r.err, mine) || r.value != "part" {
				t.Errorf("%+v", r)
			}
		}
	})
}
