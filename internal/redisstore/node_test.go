package redisstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

func openNode(t *testing.T, addr string) *Store { return openWith(t, addr, func(*Options) {}) }

func openWith(t *testing.T, addr string, change func(*Options)) *Store {
	t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Space: space, Mode: Standalone, Addrs: []string{addr}, Connections: 1, InFlight: 2048, Timeout: 10 * time.Second,
		Clock: clock.New(nil, 1, nil), Logger: slog.New(slog.DiscardHandler),
	}
	change(&o)
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error("close:", err)
		}
	})
	return s
}

// Commands whose callers left keep their places in the client's ring. Before
// they fill it, and others wait for a place whatever their deadline, the
// breaker opens; an answer in between starts the count anew.
func TestCallersWhoLeave(t *testing.T) {
	n := openNode(t, redistest.Start(t).Addr()).layout.Load().masters[0]
	leave := func(times int) {
		for range times {
			if err := n.do(t.Context(), call{"X", 1}, func(*link) error { return context.Canceled }); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
	}
	leave(mostGivenUp)
	if !n.breaker.Allow() {
		t.Fatal("open too early")
	}
	if err := n.do(t.Context(), call{"X", 1}, func(*link) error { return nil }); err != nil {
		t.Fatal(err)
	}
	leave(mostGivenUp)
	if !n.breaker.Allow() {
		t.Fatal("open although the node answered in between")
	}
	if err := n.do(t.Context(), call{"X", 1}, func(*link) error { return context.Canceled }); err == nil || n.breaker.Allow() {
		t.Errorf("still closed after %d commands that nobody waits for", mostGivenUp+1)
	}
	if mostGivenUp+maxInFlight >= 1<<ringScale {
		t.Error("the ring can fill")
	}
}

// A call under way when the store is closed has an unknown outcome; one that
// comes later was never sent.
func TestCloseWhileFrozen(t *testing.T) {
	server := redistest.Start(t)
	sent := make(chan struct{})
	s := openWith(t, server.Addr(), func(o *Options) {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			return telling{Conn: c, what: []byte(":lead:"), tell: sync.OnceFunc(func() { close(sent) })}, err
		}
	})
	space, org := s.opts.Space, mustOrg(t, "a")
	op := store.Op{
		Action: store.Set, Key: space.Key("lead", org, keys.NoID), Version: clock.New(nil, 1, nil).Now(),
		TTL: time.Minute, Payload: []byte("1"),
	}
	server.Freeze()
	done := make(chan error, 1)
	go func() {
		_, err := s.Apply(context.Background(), op)
		done <- err
	}()
	<-sent
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err == nil {
		t.Error("close does not say that a command still waits")
	}
	if err := <-done; !errors.Is(err, store.ErrUnknown) {
		t.Errorf("the call under way: %v, want ErrUnknown", err)
	}
	if _, err := s.Apply(t.Context(), op); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a call after close: %v, want ErrUnavailable", err)
	}
	server.Thaw()
}

// telling is a connection that tells when something is written.
type telling struct {
	net.Conn
	what []byte
	tell func()
}

func (c telling) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if bytes.Contains(b, c.what) {
		c.tell()
	}
	return n, err
}

func mustOrg(t *testing.T, id string) keys.Org {
	t.Helper()
	o, err := keys.ParseOrg(id)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
