package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache"
)

const (
	// sweepTime bounds the removal, which passes over all keys of the store.
	sweepTime = time.Minute
	// sweepCount is the COUNT hint of SCAN: other callers wait for each step.
	sweepCount = 500
	// sweepRounds bounds how often it is looked whether nothing is left: writes
	// that were given up may come late.
	sweepRounds = 5
	// sweepAgain is the pause before another try where the store is away.
	sweepAgain = 200 * time.Millisecond
	dialTime   = 2 * time.Second
)

// sweep removes every key of this run, whatever kind it has: deletions of the
// cache leave tombstones, on purpose, and this leaves nothing. Masters are those
// that the instance a has found; where one is away it is waited for.
func (s *session) sweep(ctx context.Context) (removed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	giveUp := time.Now().Add(s.o.Patience)
	again := time.NewTicker(sweepAgain)
	defer again.Stop()
	for {
		n, err := s.sweepAll(ctx)
		removed += n
		if err == nil || denied(err) || time.Now().After(giveUp) {
			return removed, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return removed, err
		}
	}
}

// denied reports whether a server said no and would again.
func denied(err error) bool {
	var re *rueidis.RedisError
	return errors.As(err, &re) && strings.HasPrefix(re.Error(), "NOPERM")
}

// sweepAll passes over all masters until nothing is found.
func (s *session) sweepAll(ctx context.Context) (removed int, err error) {
	for range sweepRounds {
		masters := s.a.Cache.Health().Store.Nodes
		if len(masters) == 0 {
			return removed, errors.New("no master is known")
		}
		n := 0
		for _, m := range masters {
			k, err := s.sweepMaster(ctx, m.Addr)
			if n += k; err != nil {
				return removed + n, fmt.Errorf("redis %s: %w", m.Addr, err)
			}
		}
		if removed += n; n == 0 {
			return removed, nil
		}
	}
	return removed, errors.New("new ones appear all the time")
}

// sweepMaster removes what one server has.
func (s *session) sweepMaster(ctx context.Context, addr string) (removed int, err error) {
	c, err := dial(s.o.Cache.Redis, addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	pattern := s.report.KeyPrefix + "*" + s.report.Token + "*"
	for cursor := uint64(0); ; {
		page, err := c.Do(ctx, c.B().Scan().Cursor(cursor).Match(pattern).Count(sweepCount).Build()).AsScanEntry()
		if err != nil {
			return removed, fmt.Errorf("look for keys: %w", err)
		}
		deletions := make(rueidis.Commands, len(page.Elements))
		for i, key := range page.Elements {
			deletions[i] = c.B().Del().Key(key).Build()
		}
		for i, r := range c.DoMulti(ctx, deletions...) {
			n, err := r.AsInt64()
			if err != nil {
				return removed, fmt.Errorf("remove %s: %w", page.Elements[i], err)
			}
			removed += int(n)
		}
		if cursor = page.Cursor; cursor == 0 {
			return removed, nil
		}
	}
}

// encryption is how the servers, or the Sentinels, are reached now; nil: without
// TLS.
func encryption(fixed *tls.Config, current func() (*tls.Config, error)) (*tls.Config, error) {
	if current != nil {
		return current()
	}
	return fixed, nil
}

// dial makes a client of one server.
func dial(r *jackcache.RedisOptions, addr string) (rueidis.Client, error) {
	encrypt, err := encryption(r.TLS, r.CurrentTLS)
	if err != nil {
		return nil, err
	}
	o := rueidis.ClientOption{
		InitAddress: []string{addr}, Username: r.Username, Password: r.Password, SelectDB: r.DB,
		ClientName: "jackcache-check", DisableCache: true, ForceSingleClient: true,
		Dialer: net.Dialer{Timeout: dialTime}, TLSConfig: encrypt, DialCtxFn: through(r.Dial),
	}
	if r.Credentials != nil {
		if o.Username, o.Password, err = r.Credentials(); err != nil {
			return nil, err
		}
	}
	return rueidis.NewClient(o)
}

// through adds TLS to connections of a caller's dialer; nil: the client's own.
func through(dial dialFunc) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	if dial == nil {
		return nil
	}
	return func(ctx context.Context, addr string, _ *net.Dialer, c *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, addr)
		if err != nil || c == nil {
			return conn, err
		}
		if c.ServerName == "" {
			c = c.Clone()
			c.ServerName, _, _ = net.SplitHostPort(addr) // every address has a port here
		}
		return tls.Client(conn, c), nil
	}
}
