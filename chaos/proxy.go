package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/jackcache/jackcache/internal/redistest"
)

// proxies are the network between instances and Redis.
type proxies struct {
	server *toxiproxy.ApiServer // what proxies need; it does not listen

	mu  sync.Mutex
	all map[string]*proxy // guarded by mu; by owner and target
}

func newProxies() *proxies {
	return &proxies{
		server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop()),
		all:    map[string]*proxy{},
	}
}

// proxy is the way of one instance to one server. Its address stays the same.
type proxy struct {
	owner  int // the instance
	addr   string
	target string
	p      *toxiproxy.Proxy
}

// to returns the proxy of an instance to target, and makes it at the first time.
func (ps *proxies) to(owner int, target string) (*proxy, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	name := strconv.Itoa(owner) + " " + target
	if p := ps.all[name]; p != nil {
		return p, nil
	}
	port, err := redistest.FreePort()
	if err != nil {
		return nil, err
	}
	p := &proxy{owner: owner, target: target, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	p.p = toxiproxy.NewProxy(ps.server, name, p.addr, target)
	if err := p.p.Start(); err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	ps.all[name] = p
	return p, nil
}

// dial connects an instance to addr through its proxy.
func (ps *proxies) dial(ctx context.Context, owner int, addr string) (net.Conn, error) {
	p, err := ps.to(owner, addr)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", p.addr)
}

// of returns the proxies of an instance; less than 0 means all.
func (ps *proxies) of(owner int) []*proxy {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var some []*proxy
	for _, p := range ps.all {
		if owner < 0 || p.owner == owner {
			some = append(some, p)
		}
	}
	return some
}

// refuse closes the connections and refuses new ones.
func (p *proxy) refuse() { p.p.Stop() }

// accept ends refuse. It returns an error when somebody took the port meanwhile.
func (p *proxy) accept() error {
	if err := p.p.Start(); err != nil && err != toxiproxy.ErrProxyAlreadyStarted {
		return fmt.Errorf("accept connections: %w", err)
	}
	return nil
}

// delay holds all bytes back by so many milliseconds, give or take jitter.
func (p *proxy) delay(millis, jitter int) error {
	for _, way := range []string{"upstream", "downstream"} {
		_, err := p.p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
			`{"name":"delay-%s","type":"latency","stream":"%s","attributes":{"latency":%d,"jitter":%d}}`, way, way, millis/2, jitter/2)))
		if err != nil {
			return fmt.Errorf("delay: %w", err)
		}
	}
	return nil
}

// clear ends delay.
func (p *proxy) clear() { p.p.Toxics.ResetToxics(context.Background()) }

func (ps *proxies) close() {
	for _, p := range ps.of(-1) {
		p.refuse()
	}
}
