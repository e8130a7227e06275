package check

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// dialFunc makes connections.
type dialFunc func(ctx context.Context, addr string) (net.Conn, error)

// orTCP is f, or what makes connections where there is none.
func (f dialFunc) orTCP() dialFunc {
	if f != nil {
		return f
	}
	return func(ctx context.Context, addr string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", addr)
	}
}

// gate is a proxy inside this process: connections pass through it until it cuts
// or stalls them.
type gate struct {
	dial dialFunc

	mu      sync.Mutex
	refused bool          // guarded by mu: no connections
	open    chan struct{} // guarded by mu: closed where bytes pass
	conns   map[net.Conn]struct{}
	made    int // guarded by mu
	relays  sync.WaitGroup
}

func newGate(dial dialFunc) *gate {
	g := &gate{dial: dial.orTCP(), open: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(g.open)
	return g
}

// cut closes all connections and refuses new ones.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = true
	for c := range g.conns {
		_ = c.Close() // it is in the way of nothing then
	}
}

// stall keeps connections, and lets new ones be made, but no byte passes.
func (g *gate) stall() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = false
	g.open = make(chan struct{})
}

// letThrough ends what cut and stall began. What was sent meanwhile arrives.
func (g *gate) letThrough() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = false
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// passed returns how many connections were made through the gate.
func (g *gate) passed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.made
}

// Dial makes a connection through the gate.
func (g *gate) Dial(ctx context.Context, addr string) (net.Conn, error) {
	refuse := func() error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	g.mu.Lock()
	refused := g.refused
	g.mu.Unlock()
	if refused {
		return nil, refuse()
	}
	server, err := g.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refused {
		_ = server.Close() // it was not used
		return nil, refuse()
	}
	g.made++
	g.conns[server], g.conns[far] = struct{}{}, struct{}{}
	ended := make(chan struct{})
	end := sync.OnceFunc(func() {
		close(ended)
		_, _ = server.Close(), far.Close() // what is lost with them is what a cut loses
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, server)
		delete(g.conns, far)
	})
	g.relays.Go(func() { defer end(); g.relay(server, far, ended) })
	g.relays.Go(func() { defer end(); g.relay(far, server, ended) })
	return near, nil
}

// relay passes bytes on, each when the gate is open.
func (g *gate) relay(to, from net.Conn, ended <-chan struct{}) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			g.mu.Lock()
			open := g.open
			g.mu.Unlock()
			select {
			case <-open:
			case <-ended:
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// close ends all connections and waits for what passes their bytes.
func (g *gate) close() {
	g.cut()
	g.relays.Wait()
}
