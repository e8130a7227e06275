package redistest

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Proxy forwards TCP connections to a target, and does to them what happens in
// networks. Its address stays the same. Its methods are safe for concurrent
// use.
type Proxy struct {
	addr string

	mu       sync.Mutex
	target   string            // guarded by mu: of new connections
	listener net.Listener      // guarded by mu: nil while it refuses
	conns    map[net.Conn]bool // guarded by mu: both ends of each connection
	closed   bool              // guarded by mu
	stalled  chan struct{}     // guarded by mu: closed when bytes go on, nil while they do

	running sync.WaitGroup
}

// StartProxy forwards to target until the test ends.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := LaunchProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// LaunchProxy is StartProxy without a test. The caller calls Close.
func LaunchProxy(target string) (*Proxy, error) {
	var err error
	for range portTries {
		var port int
		if port, err = FreePort(); err != nil {
			break
		}
		p := &Proxy{addr: net.JoinHostPort(host, strconv.Itoa(port)), target: target, conns: map[net.Conn]bool{}}
		if err = p.Accept(); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("start a proxy: %w", err)
}

// Addr returns host and port.
func (p *Proxy) Addr() string { return p.addr }

// Retarget makes new connections go to addr. Those that there are stay where
// they are: as when a name gets another address.
func (p *Proxy) Retarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// Cut closes all connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked()
}

func (p *Proxy) cutLocked() {
	for c := range p.conns {
		_ = c.Close() // ends its pipe, which is all that is wanted
	}
	clear(p.conns)
}

// Refuse makes new connections fail at once. Those that there are stay.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuseLocked()
}

func (p *Proxy) refuseLocked() {
	if p.listener != nil {
		_ = p.listener.Close() // what it had to do is done
		p.listener = nil
	}
}

// Accept makes new connections work again after Refuse. It returns an error
// when somebody has taken the port meanwhile.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("accept connections: the proxy is closed")
	}
	if p.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("accept connections: %w", err)
	}
	p.listener = l
	p.running.Go(func() { p.serve(l) })
	return nil
}

// Stall holds all bytes back, in both directions. Connections stay open, and
// new ones are accepted.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// Resume lets the bytes go on after Stall, those held back first.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resumeLocked()
}

func (p *Proxy) resumeLocked() {
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// Close ends it and its connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.refuseLocked()
	p.cutLocked()
	p.resumeLocked()
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.forward(client) })
	}
}

// forward connects client to the target. Without one, client is closed.
func (p *Proxy) forward(client net.Conn) {
	if !p.keep(client) {
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, replyTime)
	if err != nil || !p.keep(server) {
		p.drop(client)
		return
	}
	p.running.Go(func() { p.pipe(client, server) })
	p.pipe(server, client)
}

// keep lists a connection for Cut, or closes it when the proxy is closed.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close() // nobody uses it
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = c.Close() // closed twice when the other direction was first
	delete(p.conns, c)
}

// pipe copies one direction until either end is gone, and then closes both.
func (p *Proxy) pipe(from, to net.Conn) {
	defer p.drop(from)
	defer p.drop(to)
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.wait()
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

// wait returns when bytes may go on.
func (p *Proxy) wait() {
	p.mu.Lock()
	stalled := p.stalled
	p.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
}
