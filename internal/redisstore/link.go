package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// dialTime bounds making a connection, TLS included; keepAlive and writeTime
	// together how long a silent connection is believed.
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
	// Jobs are few at a time, questions about the deployment one.
	jobRingScale, jobBuffer = 10, 32 << 10
	askRingScale, askBuffer = 4, 4 << 10
)

// link is the connections to one server.
type link struct {
	calls []rueidis.Client // of callers who wait, one connection each
	turn  atomic.Uint32    // counts calls
	jobs  rueidis.Client   // for SCAN, INFO and the like
}

// call returns the client for the next call.
func (l *link) call() rueidis.Client {
	if len(l.calls) == 1 {
		return l.calls[0]
	}
	return l.calls[l.turn.Add(1)%uint32(len(l.calls))]
}

// newLink makes the connections to a server, which are dialled when they are
// used. N is told when a connection is made and when it ends. Each connection has
// a client of its own, so that a prober can prove each: one that has to be
// dialled keeps callers waiting whatever their deadline.
func (s *Store) newLink(addr string, n *node) (*link, error) {
	l := &link{}
	peer := server{addr: addr, access: s.opts.Access, db: s.opts.DB, ring: ringScale, read: readBuffer, write: writeBuffer, onDial: n.connected}
	// OnInvalidations is called with nil when a connection ends, also where
	// nothing is tracked.
	peer.onEnd = func(m []rueidis.RedisMessage) {
		if m == nil {
			n.lost(l)
		}
	}
	for range s.opts.Connections {
		c, err := s.connect(peer)
		if err != nil {
			l.close()
			return nil, err
		}
		l.calls = append(l.calls, c)
	}
	peer.onEnd = func(m []rueidis.RedisMessage) {
		if m == nil {
			n.lostJobs(l)
		}
	}
	peer.ring, peer.read, peer.write = jobRingScale, jobBuffer, jobBuffer
	jobs, err := s.connect(peer)
	if err != nil {
		l.close()
		return nil, err
	}
	l.jobs = jobs
	return l, nil
}

func (l *link) close() {
	for _, c := range l.calls {
		c.Close()
	}
	if l.jobs != nil {
		l.jobs.Close()
	}
}

// server is what a client connects to.
type server struct {
	addr        string
	access      Access
	db          int
	ring        int // logarithm of the commands under way
	read, write int // bytes of buffers
	onEnd       func([]rueidis.RedisMessage)
	onDial      func() // nil: nobody is told
	// track is the prefix of the keys whose changes the server tells, to onEnd, as
	// long as its first connection lasts: there is no second one. Empty: none.
	track string
}

// errNotYet is what a dial gets while its client is being made: connections are
// made by probes, which have the time for it.
var errNotYet = errors.New("not dialled yet")

// errEnded is what a dial gets where the first connection was the only one.
var errEnded = errors.New("the connection has ended")

func (s *Store) connect(to server) (rueidis.Client, error) {
	a := to.access
	var made, used atomic.Bool
	dial := s.dialer(a)
	o := rueidis.ClientOption{
		InitAddress: []string{to.addr}, SelectDB: to.db, ClientName: "jackcache",
		Username: a.Username, Password: a.Password,
		// One connection, the commands of all callers one behind the other.
		ForceSingleClient: true, AlwaysPipelining: true, PipelineMultiplex: -1,
		// A repetition is decided by who knows whether it is safe.
		DisableRetry: true, DisableCache: true,
		// It would take a right that Redis before 7.2 does not know.
		ClientSetInfo:      rueidis.DisableClientSetInfo,
		ConnWriteTimeout:   writeTime,
		Dialer:             net.Dialer{Timeout: dialTime, KeepAlive: keepAlive},
		RingScaleEachConn:  to.ring,
		ReadBufferEachConn: to.read, WriteBufferEachConn: to.write,
		OnInvalidations: to.onEnd,
		DialCtxFn: func(ctx context.Context, addr string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
			if !made.Load() {
				return nil, errNotYet
			}
			if used.Swap(true) && to.track != "" {
				return nil, errEnded
			}
			conn, err := dial(ctx, addr, d, c)
			if err == nil && to.onDial != nil {
				to.onDial()
			}
			return conn, err
		},
	}
	if to.track != "" {
		o.DisableCache, o.NewCacheStoreFn = false, noCache
		o.ClientTrackingOptions = []string{"PREFIX", to.track, "BCAST"}
	}
	if a.Credentials != nil {
		o.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			user, password, err := a.Credentials()
			return rueidis.AuthCredentials{Username: user, Password: password}, err
		}
	}
	c, err := rueidis.NewClient(o)
	if c == nil {
		return nil, fmt.Errorf("redis %s: %w", to.addr, err)
	}
	made.Store(true)
	return c, nil // the error is errNotYet
}

// dialer returns what makes connections, bounded by dialTime.
func (s *Store) dialer(a Access) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		encrypt, err := a.encryption()
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("tls: %w", err)}
		}
		conn, err := s.dialTCP(ctx, addr, d)
		if err != nil {
			return nil, err
		}
		if encrypt == nil {
			return &quiet{Conn: conn}, nil
		}
		secured := tls.Client(conn, named(encrypt, addr))
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // the reason is err
			// It counts as a connection that could not be made: nothing was sent.
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: conn.RemoteAddr(), Err: fmt.Errorf("tls: %w", err)}
		}
		return &quiet{Conn: secured}, nil
	}
}

func (s *Store) dialTCP(ctx context.Context, addr string, d *net.Dialer) (net.Conn, error) {
	if s.opts.Dial == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	conn, err := s.opts.Dial(ctx, addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return conn, nil
}

// named returns the configuration with the name of the server, which is the
// host of the address unless the configuration says otherwise.
func named(c *tls.Config, addr string) *tls.Config {
	if c.ServerName != "" {
		return c
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	c = c.Clone()
	c.ServerName = host
	return c
}
