package filestore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/store"
)

// queueLength bounds the operations that wait for the committer; a caller
// beyond it waits for a place, until its context ends.
const queueLength = 4096

// Store is a store in one file. Safe for concurrent use.
type Store struct {
	path  string
	opts  Options
	names names
	db    *bbolt.DB

	queue   chan *request
	stop    chan struct{}  // closed by the first Close
	stopped chan struct{}  // closed when the file is released
	sweeper sync.WaitGroup // the sweeper
	final   error          // of releasing the file; read after stopped

	mu      sync.Mutex
	closed  bool           // guarded by mu: no new requests
	senders sync.WaitGroup // requests on their way into queue; Add under mu

	health health

	// commits counts the transactions that were written to disk.
	commits atomic.Int64
	// dirty: the file is not marked as closed cleanly. Used by the committer.
	dirty bool
	// taken, if set, is called with the size of each batch before it is
	// applied. Set by tests before the first operation.
	taken func(int)
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file at path and creates it if it is not there;
// its directory must exist. Errors wrap ErrLocked, store.ErrCorrupt (not a
// store file, damaged, or of a later format), or are those of the file system.
//
// After a crash the whole file is read once, to find out which of its pages
// are free.
func Open(path string, o Options) (*Store, error) {
	o = o.withDefaults()
	n := newNames(o.Space)
	if err := inspect(path); err != nil {
		return nil, err
	}
	db, err := openCompacted(path, o.Logger)
	if err != nil {
		return nil, err
	}
	s := &Store{
		path: path, opts: o, names: n, db: db,
		queue:   make(chan *request, queueLength),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if err := s.prepare(); err != nil {
		_ = db.Close() // the error above says more
		return nil, err
	}
	s.health.init(o, db)
	go s.commitLoop()
	if o.SweepEvery > 0 {
		s.sweeper.Go(s.sweepLoop)
	}
	return s, nil
}

// Close refuses new operations, finishes those that wait and releases the
// file. When ctx ends first it returns ctx.Err() and the rest is done in the
// background; Close can be called again to wait for it.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
		go func() {
			s.sweeper.Wait()
			s.senders.Wait()
			close(s.queue)
		}()
	}
	s.mu.Unlock()
	select {
	case <-s.stopped:
		return s.final
	case <-ctx.Done():
		return fmt.Errorf("close %s: %w", s.path, ctx.Err())
	}
}
