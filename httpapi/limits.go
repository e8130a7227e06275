package httpapi

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What is served at a time of the routes whose requests take much memory.
const (
	batchesAtOnce = 16
	importsAtOnce = 2
	// batchWait is how long a batch waits for others to end.
	batchWait = 10 * time.Second
)

// gate lets so many in at a time as it has room for.
type gate chan struct{}

// try reports whether the caller is in, who then calls leave.
func (g gate) try() bool {
	select {
	case g <- struct{}{}:
		return true
	default:
		return false
	}
}

// enter waits to be in, and then the caller calls leave.
func (g gate) enter(ctx context.Context) error {
	if g.try() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, batchWait)
	defer cancel()
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %d batches are under way, the most at a time; repeat it later", errBusy, cap(g))
}

func (g gate) leave() { <-g }
