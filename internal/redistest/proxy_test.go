package redistest

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

func dialed(t *testing.T, p *Proxy) *conn {
	t.Helper()
	c, err := access{addr: p.Addr()}.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// port returns the port of the server at the other end.
func port(t *testing.T, c *conn) string {
	t.Helper()
	info, err := c.text("INFO", "server")
	if err != nil {
		t.Fatal(err)
	}
	return field(info, "tcp_port")
}

func TestProxyRetarget(t *testing.T) {
	a, b := Start(t), Start(t)
	p := StartProxy(t, a.Addr())
	old := dialed(t, p)
	port(t, old) // the connection has come through
	p.Retarget(b.Addr())
	if before, after := port(t, old), port(t, dialed(t, p)); before == after {
		t.Errorf("both connections go to port %s", before)
	}
	p.Cut()
	if _, err := old.do("PING"); err == nil {
		t.Error("a connection survives the cut")
	}
	if got := port(t, dialed(t, p)); got != mustPort(b) {
		t.Errorf("after the cut the port is %s", got)
	}
}

func mustPort(s *Server) string {
	_, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		panic(err)
	}
	return port
}

func TestProxyRefuse(t *testing.T) {
	p := StartProxy(t, Start(t).Addr())
	c := dialed(t, p)
	port(t, c) // the connection has come through
	p.Refuse()
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection gives %v", err)
	}
	port(t, c)
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	port(t, dialed(t, p))
	p.Close()
	if err := p.Accept(); err == nil {
		t.Error("a closed proxy accepts")
	}
}

func TestProxyStall(t *testing.T) {
	p := StartProxy(t, Start(t).Addr())
	c := dialed(t, p)
	port(t, c)
	p.Stall()
	if _, err := c.conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := c.conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("a stalled connection gave %v", err)
	}
	p.Resume()
	reply, err := c.text("ECHO", "more")
	if err != nil || reply != "PONG" {
		t.Errorf("the reply held back is %q, %v", reply, err)
	}
	p.Stall() // and Close returns
}

func TestProxyWithoutTarget(t *testing.T) {
	s := Start(t)
	s.Kill()
	c := dialed(t, StartProxy(t, s.Addr()))
	if _, err := c.do("PING"); err == nil {
		t.Error("nobody answers")
	}
}
