// Package redisstore is the shared store: Redis, or Valkey. It holds the
// connections, the Lua scripts that make every write repeatable, the guard that
// keeps calls within their budget while the server is away, and the only code
// that looks at errors of Redis.
package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"
	"golang.org/x/sync/semaphore"

	"github.com/jackcache/jackcache/internal/breaker"
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// dialTime bounds making a connection; keepAlive and writeTime together how
	// long a silent connection is believed.
	dialTime  = 250 * time.Millisecond
	keepAlive = 250 * time.Millisecond
	writeTime = 500 * time.Millisecond
	// ringScale is the logarithm of the commands that one connection can have
	// under way. A full ring blocks callers whatever their deadline, so the slots
	// of a node must stay below it, with room for commands that were given up.
	ringScale = 13
	// jobTime bounds a command of a long job: it has a client of its own, because
	// callers who wait for a connection wait as long as the first of them may.
	jobTime = 5 * time.Second

	readBuffer  = 128 << 10
	writeBuffer = 64 << 10
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
	// Clock is told the number that this instance claimed.
	Clock  *clock.Clock
	Logger *slog.Logger
}

// Store is the shared store. Safe for concurrent use.
type Store struct {
	opts   Options
	node   *node          // the only one, standalone
	jobs   rueidis.Client // for SCAN, INFO and the like
	bootID string
	server server

	closed   atomic.Bool
	working  sync.WaitGroup // jobs under way
	stop     chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open connects, and goes on connecting for ever if the server is away: that is
// no error. Ctx bounds the first try.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Store{opts: o, bootID: uuid.NewString(), stop: make(chan struct{})}
	n := &node{
		addr: o.Addrs[0], breaker: breaker.New(openAfter, closeAfter, nil, "not connected yet"),
		slots: semaphore.NewWeighted(int64(o.InFlight)), size: int64(o.InFlight),
		timeout: o.Timeout, logger: o.Logger,
		probe: o.Space.Probe(o.Clock.Node()),
	}
	var err error
	// OnInvalidations is called with nil when a connection ends, also where
	// nothing is tracked.
	if n.client, err = s.connect(func(m []rueidis.RedisMessage) {
		if m == nil && !s.closed.Load() {
			n.lost()
		}
	}); err != nil {
		return nil, err
	}
	if s.jobs, err = s.connect(nil); err != nil {
		n.client.Close()
		return nil, err
	}
	s.node = n
	s.server.init()
	if n.probeOnce() == nil {
		s.firstContact(ctx)
	}
	s.done.Add(2)
	go func() { defer s.done.Done(); n.watch(s.stop) }()
	go func() { defer s.done.Done(); s.monitor() }()
	return s, nil
}

// connect makes a client. A server that is away is no error: the client connects
// when it is used.
func (s *Store) connect(onEnd func([]rueidis.RedisMessage)) (rueidis.Client, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.opts.Addrs[0]}, Username: s.opts.Access.Username, Password: s.opts.Access.Password,
		SelectDB: s.opts.DB, ClientName: "jackcache",
		// One connection, the commands of all callers one behind the other: with
		// few cores batching wins over spreading.
		ForceSingleClient: true, PipelineMultiplex: -1, AlwaysPipelining: true,
		// A repetition is decided by who knows whether it is safe.
		DisableRetry: true, DisableCache: true,
		ConnWriteTimeout:   writeTime,
		Dialer:             net.Dialer{Timeout: dialTime, KeepAlive: keepAlive},
		RingScaleEachConn:  ringScale,
		ReadBufferEachConn: readBuffer, WriteBufferEachConn: writeBuffer,
		OnInvalidations: onEnd,
	})
	if c == nil {
		return nil, fmt.Errorf("redis %s: %w", s.opts.Addrs[0], err)
	}
	if err != nil {
		s.opts.Logger.Warn("redis is not reached yet", "addr", s.opts.Addrs[0], "err", err)
	}
	return c, nil
}

// job runs a command on the client for long jobs, which Close waits for too.
func (s *Store) job(f func() error) error {
	if s.closed.Load() {
		return errClosed
	}
	if !s.node.breaker.Allow() {
		return errOpen
	}
	s.working.Add(1)
	defer s.working.Done()
	return f()
}

// jobOn runs commands of a long job on the server that has a key.
func (s *Store) jobOn(_ context.Context, _ string, f func(rueidis.Client) error) error {
	return s.job(func() error { return f(s.jobs) })
}

// jobOnEach runs commands of a long job on every master, one after the other.
func (s *Store) jobOnEach(_ context.Context, f func(addr string, c rueidis.Client) error) error {
	return s.job(func() error { return f(s.opts.Addrs[0], s.jobs) })
}

// firstContact lets a server that is there serve from the first call on.
func (s *Store) firstContact(ctx context.Context) {
	for range closeAfter {
		s.node.breaker.Probe(nil)
	}
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	defer cancel()
	s.claimInstance(ctx)
	s.inspect(ctx)
}

// Close waits for the commands under way until ctx ends, then disconnects.
func (s *Store) Close(ctx context.Context) error {
	s.closed.Store(true)
	s.node.closed.Store(true)
	s.stopOnce.Do(func() { close(s.stop) })
	err := s.node.slots.Acquire(ctx, s.node.size)
	if err == nil {
		defer s.node.slots.Release(s.node.size)
	} else {
		err = fmt.Errorf("%d commands still wait for redis: %w", s.node.waiting.Load(), err)
	}
	ended := make(chan struct{})
	go func() { // a server that hangs may keep Close waiting
		defer close(ended)
		s.working.Wait()
		s.node.client.Close()
		s.jobs.Close()
		s.done.Wait()
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}
