package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/httpapi"
)

type logger = *slog.Logger

const (
	// dialTime bounds finding out whether somebody listens.
	dialTime = 3 * time.Second
	// closeTime bounds letting go of a store.
	closeTime = 10 * time.Second
	// carryTime bounds waiting for a carry-over. What is done then stays done.
	carryTime = time.Minute
)

// need says what a command needs where no server listens.
type need uint8

const (
	existing need = iota // a store that is there
	anyStore             // a store, made if it is not there
	aServer              // one that runs, and nothing else
)

// connect returns a client of the server that was named, of the one at
// JACKCACHE_ADDR, or, where nothing listens there, of the store itself.
func (a *app) connect(ctx context.Context, n need) (*client, error) {
	s, err := a.settings(toAsk)
	if err != nil {
		return nil, err
	}
	for _, w := range s.warnings {
		a.say("warning: %s", w)
	}
	c := newClient((&net.Dialer{Timeout: dialTime}).DialContext)
	c.token = value[string](s, "JACKCACHE_API_TOKEN")
	c.transport.Proxy = http.ProxyFromEnvironment
	if a.server != "" {
		c.base, err = serverURL(a.server)
		return c, err
	}
	addr := reachable(value[string](s, "JACKCACHE_ADDR"))
	c.base = "http://" + addr
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", addr)
	switch {
	case err == nil:
		return c, conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED) && n == aServer:
		return nil, fmt.Errorf("nothing listens at %s, and this command watches a server at work: start one with 'jackcache serve', or name it with --server", c.base)
	case errors.Is(err, syscall.ECONNREFUSED):
		return a.private(ctx, s, n, c.base)
	}
	return nil, fmt.Errorf("%s: %w", c.base, err)
}

func serverURL(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.User != nil {
		return "", usage(fmt.Sprintf("--server is %q: allowed are URLs such as http://127.0.0.1:8080", s))
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// reachable is where a server that listens on addr is reached from this host.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// private serves the store to this process alone, so that a command does the
// same whether it talks to a server or not.
func (a *app) private(ctx context.Context, s *settings, n need, base string) (*client, error) {
	if err := s.ofStore.err(); err != nil {
		return nil, err
	}
	dir := value[string](s, "JACKCACHE_DATA_DIR")
	if err := s.mayOpen(n, base, dir); err != nil {
		return nil, err
	}
	a.say("nothing listens at %s: opening the store (%s) in %s", base, s.store(), dir)
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cache, err := open(ctx, s, log)
	if err != nil {
		return nil, err
	}
	if err := carried(ctx, cache); err != nil {
		return nil, errors.Join(err, cache.Close(context.WithoutCancel(ctx)))
	}
	l := newPipeListener()
	api := httpapi.New(cache, httpapi.Options{Version: version(), Logger: log})
	srv := httpapi.NewHTTPServer(api)
	go func() { _ = srv.Serve(l) }() // it ends with the program, or by Close below
	c := newClient(l.dial)
	c.base, c.name = "http://jackcache", "the store in "+dir
	c.close = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		return errors.Join(srv.Close(), cache.Close(ctx))
	}
	return c, nil
}

// carried waits for a carry-over that opening the store began.
func carried(ctx context.Context, cache *assistant.Assistant) error {
	ctx, cancel := context.WithTimeout(ctx, carryTime)
	defer cancel()
	return cache.Cache.Wait(ctx)
}

// mayOpen refuses to make a store where a command wants one that is there, and
// where a server was named that is not there: it has the store that was meant.
func (s *settings) mayOpen(n need, base, dir string) error {
	if s.usesRedis() {
		return nil
	}
	_, err := os.Stat(filepath.Join(dir, "embedded.db"))
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return nil
	case s.set("JACKCACHE_ADDR"):
		return fmt.Errorf("nothing listens at %s, which JACKCACHE_ADDR names (%s), and there is no store in %s: start the server, or unset JACKCACHE_ADDR to work on the embedded store directly", base, s.origin["JACKCACHE_ADDR"], dir)
	case n == existing:
		return fmt.Errorf("nothing listens at %s, and there is no store in %s: start one with 'jackcache serve', or name the server with --server", base, dir)
	}
	return nil
}

// pipeListener is a network of this process alone.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "jackcache", Net: "pipe"} }

// with runs fn with a client and lets go of it.
func (a *app) with(ctx context.Context, n need, fn func(context.Context, *client) error) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	c, err := a.connect(ctx, n)
	if err != nil {
		return err
	}
	return errors.Join(asUsage(fn(ctx, c)), c.close())
}
