// Package flight lets callers who want the same key share one call for it.
package flight

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// grace is how long after its timeout a function that heeds its ctx has to
// return.
const grace = 50 * time.Millisecond

// errNoResult is what callers get when the shared function ended without a result
// for their key.
var errNoResult = errors.New("the shared call ended without a result")

// Group shares calls by key. The zero Group is ready. Safe for concurrent use.
type Group[T any] struct {
	mu    sync.Mutex
	calls map[string]*Call[T] // guarded by mu: those under way
}

// Call is a call for one key, under way or over. Safe for concurrent use.
type Call[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// Done is closed when there is a result.
func (c *Call[T]) Done() <-chan struct{} { return c.done }

// Result returns what came of the call. It counts once Done is closed.
func (c *Call[T]) Result() (T, error) { return c.value, c.err }

// PanicError is what callers get when the shared function panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error tells the value of the panic; the stack is a field of its own.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Start returns a call for each key, and does not wait: for the keys of which one is
// under way that one, for the others a new one. All new ones are run together by one
// fn, which is given their indexes and calls done once for each, in any order.
// No key may come twice.
//
// What fn runs for does not depend on who waits: it goes on with the values of ctx,
// until timeout. After that the calls end with an error, whether fn heeds its
// context or not, and later callers start calls of their own. A panic of fn ends its
// calls with a PanicError.
func (g *Group[T]) Start(ctx context.Context, keys []string, timeout time.Duration, fn func(ctx context.Context, mine []int, done func(i int, v T, err error))) []*Call[T] {
	calls := make([]*Call[T], len(keys))
	var mine []int
	g.mu.Lock()
	if g.calls == nil {
		g.calls = make(map[string]*Call[T])
	}
	for i, k := range keys {
		if calls[i] = g.calls[k]; calls[i] == nil {
			calls[i] = &Call[T]{done: make(chan struct{})}
			g.calls[k] = calls[i]
			mine = append(mine, i)
		}
	}
	g.mu.Unlock()
	if len(mine) > 0 {
		done := func(i int, v T, err error) { g.end(keys[i], calls[i], v, err) }
		go run(context.WithoutCancel(ctx), timeout, mine, done, fn)
	}
	return calls
}

// run calls fn, and ends what it leaves without a result.
func run[T any](ctx context.Context, timeout time.Duration, mine []int, done func(int, T, error), fn func(context.Context, []int, func(int, T, error))) {
	endAll := func(err error) {
		var zero T
		for _, i := range mine {
			done(i, zero, err)
		}
	}
	late := time.AfterFunc(timeout+grace, func() {
		endAll(fmt.Errorf("no result within %v: %w", timeout, context.DeadlineExceeded))
	})
	defer late.Stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := Protect(func() (struct{}, error) {
		fn(ctx, mine, done)
		return struct{}{}, errNoResult
	}, func() { endAll(errNoResult) })
	endAll(err)
}

// Protect calls fn and turns a panic into a PanicError. Where fn ends its goroutine
// instead of returning, exits is called.
func Protect[T any](fn func() (T, error), exits func()) (v T, err error) {
	returned := false
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		} else if !returned {
			exits()
		}
	}()
	v, err = fn()
	returned = true
	return v, err
}

// end gives a call its result, unless it has one.
func (g *Group[T]) end(key string, c *Call[T], v T, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[key] != c {
		return
	}
	delete(g.calls, key)
	c.value, c.err = v, err
	close(c.done)
}
