// Package flight lets callers who want the same key share one call for it.
package flight

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sync/singleflight"
)

// grace is how long after its timeout a function that heeds its ctx has to
// return.
const grace = 50 * time.Millisecond

// Group shares calls by key. The zero Group is ready. Safe for concurrent use.
type Group[T any] struct{ group singleflight.Group }

// PanicError is what callers get when the shared function panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error tells the value of the panic; the stack is a field of its own.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Do calls fn once for all callers of key who arrive before it returns, and
// gives each its result. A caller whose ctx ends leaves alone: fn goes on for
// the others, with the values of the first caller's ctx, until timeout; after
// that callers are not kept waiting, whether fn heeds its ctx or not, and later
// ones start a call of their own. A panic of fn reaches every caller as a
// PanicError.
func (g *Group[T]) Do(ctx context.Context, key string, timeout time.Duration, fn func(context.Context) (T, error)) (T, error) {
	ch := g.group.DoChan(key, func() (res any, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = &PanicError{Value: p, Stack: debug.Stack()}
			}
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		return fn(ctx)
	})
	var zero T
	late := time.NewTimer(timeout + grace)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-late.C:
		g.group.Forget(key)
		return zero, fmt.Errorf("no result within %v: %w", timeout, context.DeadlineExceeded)
	case r := <-ch:
		if v, ok := r.Val.(T); ok {
			return v, r.Err
		}
		return zero, r.Err
	}
}
