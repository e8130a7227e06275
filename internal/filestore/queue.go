package filestore

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/jackcache/jackcache/internal/store"
)

// Bounds of a batch: so many requests, and so many bytes before the next one
// has to wait for the following batch.
const (
	maxBatch      = 512
	maxBatchBytes = 8 << 20
)

// request is one write on its way to the committer.
type request struct {
	// run applies the request. It may run more than once, each time on the
	// state without it. An error is the answer to this request alone.
	run  func(*txn) error
	size int        // about how many bytes it writes
	done chan error // holds one: the committer never waits for a caller

	state atomic.Int32 // queued, then taken or withdrawn
	err   error        // used by the committer
}

const (
	queued = iota
	taken
	withdrawn
)

// submit hands run to the committer and waits for the outcome.
func (s *Store) submit(ctx context.Context, size int, run func(*txn) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.senders.Add(1)
	s.mu.Unlock()

	r := &request{run: run, size: size, done: make(chan error, 1)}
	select {
	case s.queue <- r:
		s.senders.Done()
	case <-ctx.Done():
		s.senders.Done()
		return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, withdrawn) {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
		return fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
	}
}

// gather takes first and what waits behind it, leaving out what was withdrawn.
func (s *Store) gather(first *request) []*request {
	var batch []*request
	bytes := 0
	for r := first; ; {
		if r.state.CompareAndSwap(queued, taken) {
			batch = append(batch, r)
			bytes += r.size
		}
		if len(batch) == maxBatch || bytes >= maxBatchBytes {
			return batch
		}
		var ok bool
		select {
		case r, ok = <-s.queue:
			if !ok {
				return batch
			}
		default:
			return batch
		}
	}
}
