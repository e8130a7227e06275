// Package redisstore is the shared store: Redis, or Valkey, standalone, with
// Sentinel, or as a Cluster. It holds the connections, the Lua scripts that make
// every write repeatable, the guard that keeps calls within their budget while a
// server is away, the search for the masters, and the only code that looks at
// errors of Redis.
package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/sabotage"
	"github.com/jackcache/jackcache/internal/store"
)

// Mode is how the servers belong together.
type Mode string

// The modes.
const (
	Standalone Mode = "standalone" // one server, or the master among several
	Sentinel   Mode = "sentinel"
	Cluster    Mode = "cluster"
)

// Access is how a server lets this process in.
type Access struct {
	Username, Password string
	// Credentials, if set, is asked at every new connection instead.
	Credentials func() (username, password string, err error)
	TLS         *tls.Config
	// CurrentTLS, if set, is asked at every new connection instead.
	CurrentTLS func() (*tls.Config, error)
}

// encryption is how a new connection is encrypted; nil: not at all.
func (a Access) encryption() (*tls.Config, error) {
	if a.CurrentTLS != nil {
		return a.CurrentTLS()
	}
	return a.TLS, nil
}

// Options says which servers, and how. Space, Mode, Addrs, Connections, InFlight,
// Timeout and Clock are required.
type Options struct {
	Space keys.Space
	Mode  Mode
	// Addrs are servers, Sentinels or members of the Cluster.
	Addrs     []string
	Access    Access
	Sentinels Access // to the Sentinels
	Master    string // its name among the Sentinels
	// Dial makes connections, TLS excluded. Nil: TCP.
	Dial        func(ctx context.Context, addr string) (net.Conn, error)
	DB          int
	Connections int // to each server
	// InFlight is how many commands may wait for an answer of one server, at most
	// 4096.
	InFlight int
	// Timeout is the budget of one operation; it tells callers who gave up early
	// from a server that does not answer.
	Timeout time.Duration
	// Witness is asked what heartbeats say, and told when a server may have lost
	// something, from before Open returns on. Nil: there are no heartbeats, and
	// nothing is ever doubtful.
	Witness store.Witness
	// Listener is told which keys change on the servers, by whomever. Nil: nothing
	// is listened to, and Covers has nothing.
	Listener store.Listener
	// Freshness is how old the proof may be by which the Listener gives copies as
	// fresh. Default 1 s.
	Freshness time.Duration
	// Process is a random id of this process, which no other one ever had. Default: a
	// new one.
	Process string
	// Dead has the ids of processes that do not live any more, for sure: who
	// invalidates does not wait for them once this one gives copies.
	Dead []string
	// Identity says which deployment this has to be. Nil: any.
	Identity *Identity
	// Clock is told the number that this instance claimed.
	Clock  *clock.Clock
	Logger *slog.Logger
	// Tracer and Meter observe the trips to servers. Nil: nobody does.
	Tracer trace.Tracer
	Meter  metric.Meter
}

// Store is the shared store. Safe for concurrent use.
type Store struct {
	opts   Options
	trips  observer
	layout atomic.Pointer[layout]
	finder finder // nil: there is nothing to find
	bootID string
	begun  time.Time

	suspension string // the key by which this process is told that it is suspended
	patience   patience

	mu      sync.Mutex
	nodes   map[string]*node     // guarded by mu: the masters, by address
	wanted  map[string]time.Time // guarded by mu: servers that are needed without slots, since when
	problem string               // guarded by mu: why masters are not found; empty: they are
	since   time.Time            // guarded by mu: of problem
	claimed bool                 // guarded by mu: the instance number

	reconnects atomic.Int64 // of all masters there were

	canaries atomic.Uint64 // names of canaries that were used
	surveyed atomic.Int64  // when the masters were asked for that were found last, as store.Now

	listing  listing
	notes    notes
	barriers atomic.Uint64 // of this process
	heard    chan string   // barriers of others that are to be answered

	identity identity
	beats    beatBook
	underway underway
	started  atomic.Bool    // Open has started the nodes
	kicked   chan struct{}  // to look for masters now
	closed   atomic.Bool    // written with mu held
	working  sync.WaitGroup // jobs under way
	stop     chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup
}

var _ store.Tracked = (*Store)(nil)

// Open connects, and goes on connecting for ever if the servers are away: that
// is no error. A deployment that is there and not the one of Options.Identity is:
// store.ErrWrongStore. Ctx bounds the first try.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Process == "" {
		o.Process = uuid.NewString()
	}
	s := &Store{
		opts: o, bootID: o.Process, suspension: o.Space.Suspension(o.Process), begun: time.Now(), nodes: make(map[string]*node), wanted: make(map[string]time.Time),
		kicked: make(chan struct{}, 1), stop: make(chan struct{}), heard: make(chan string, mostHeard),
	}
	s.listing.wake = make(chan struct{}, 1)
	if s.opts.Freshness <= 0 {
		s.opts.Freshness = defaultFreshness
	}
	if sabotage.On("heartbeat") {
		s.opts.Witness = nil
	}
	s.layout.Store(&layout{})
	var err error
	if s.trips, err = newObserver(o); err != nil {
		return nil, err
	}
	if s.finder, err = s.newFinder(); err != nil {
		return nil, err
	}
	if s.finder == nil {
		err = s.adopt(found{masters: o.Addrs[:1]})
	} else {
		s.find(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.firstContact(ctx)
	s.done.Add(2)
	if s.opts.Listener != nil {
		s.done.Add(2)
		go func() { defer s.done.Done(); s.keepListed() }()
		go func() { defer s.done.Done(); s.answerBarriers() }()
	}
	go func() { defer s.done.Done(); s.search() }()
	go func() { defer s.done.Done(); s.keepClaim() }()
	if w := s.identity.wrong.Load(); w != nil {
		return nil, errors.Join(w, s.Close(ctx))
	}
	return s, nil
}

// firstContact lets servers that are there serve from the first call on.
func (s *Store) firstContact(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	defer cancel()
	var contacts sync.WaitGroup
	for _, n := range s.layout.Load().masters {
		contacts.Go(func() {
			err := n.contact()
			for begun := time.Now(); isTimeout(err) && time.Since(begun) < firstTime; {
				err = n.contact()
			}
			for range closeAfter {
				n.breaker.Probe(err)
			}
			if err != nil {
				s.opts.Logger.Warn("redis is not reached yet", "addr", n.addr, "err", err)
				return
			}
			n.inspect(ctx)
			// Nothing attends the node yet. An instance that has nothing to restore
			// does not begin in doubt.
			if err := n.check(true); err != nil {
				s.opts.Logger.Debug("a heartbeat cannot be read", "addr", n.addr, "err", err)
			}
		})
	}
	contacts.Wait()
	s.claimInstance(ctx)
	s.started.Store(true)
	for _, n := range s.layout.Load().masters {
		n.start()
	}
}

// background runs something that Close waits for, unless it has begun to wait.
func (s *Store) background(f func()) {
	if s.closed.Load() {
		go f()
		return
	}
	s.done.Add(1)
	go func() { defer s.done.Done(); f() }()
}

// Close waits for the commands under way until ctx ends, then disconnects.
func (s *Store) Close(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.stop) })
	s.unlist()
	s.mu.Lock()
	s.closed.Store(true)
	var all []*node
	for _, n := range s.nodes {
		all = append(all, n)
	}
	s.mu.Unlock()
	errs := make([]error, len(all))
	var closing sync.WaitGroup
	for i, n := range all {
		closing.Go(func() { errs[i] = n.close(ctx) })
	}
	closing.Wait()
	ended := make(chan struct{})
	go func() { // a server that hangs may keep Close waiting
		defer close(ended)
		s.working.Wait()
		s.done.Wait()
		if s.finder != nil {
			s.finder.close()
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		errs = append(errs, ctx.Err())
	}
	return errors.Join(errs...)
}
