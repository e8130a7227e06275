package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	// maxRedirects bounds how often a call follows a slot that moves.
	maxRedirects = 3
	// tryAgainAfter is the pause before a call whose keys are just being moved is
	// sent again.
	tryAgainAfter = 2 * time.Millisecond
)

// line is a client of the node that has a key. While a slot moves, a command has
// to say that it knows (ASKING).
//
// See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#ask-redirection
type line struct {
	rueidis.Client
	asking bool
}

// Do sends a command.
func (l line) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	if !l.asking {
		return l.Client.Do(ctx, cmd)
	}
	return l.DoMulti(ctx, cmd)[0]
}

// DoMulti sends commands.
func (l line) DoMulti(ctx context.Context, cmds ...rueidis.Completed) []rueidis.RedisResult {
	if !l.asking {
		return l.Client.DoMulti(ctx, cmds...)
	}
	all := make(rueidis.Commands, 0, 2*len(cmds))
	for _, cmd := range cmds {
		all = append(all, l.B().Asking().Build(), cmd)
	}
	rs := l.Client.DoMulti(ctx, all...)
	for i := range cmds {
		rs[i] = rs[2*i+1]
	}
	return rs[:len(cmds)]
}

// redirection is what a server says of a slot that is not, or not only, its own.
type redirection struct {
	slot     int
	host     string // of who has it
	port     string
	ask      bool // for this command only
	tryAgain bool // in a moment, here
}

// redirected reads a redirection: "MOVED slot host:port", "ASK slot host:port".
// An empty host is that of the server that answered.
func redirected(err error) (r redirection, ok bool) {
	re, isReply := rueidis.IsRedisErr(err)
	if !isReply {
		return r, false
	}
	parts := strings.Fields(re.Error())
	switch {
	case len(parts) > 0 && parts[0] == "TRYAGAIN":
		return redirection{tryAgain: true}, true
	case len(parts) != 3 || parts[0] != "MOVED" && parts[0] != "ASK":
		return r, false
	}
	r.ask = parts[0] == "ASK"
	colon := strings.LastIndexByte(parts[2], ':') // IPv6 comes without brackets
	if r.slot, err = strconv.Atoi(parts[1]); err != nil || r.slot < 0 || r.slot >= slotCount || colon < 0 {
		return redirection{}, false
	}
	r.host, r.port = strings.Trim(parts[2][:colon], "[]"), parts[2][colon+1:]
	if n, err := strconv.ParseUint(r.port, 10, 16); err != nil || n == 0 || strings.ContainsAny(r.host, "[]?") {
		return redirection{}, false
	}
	return r, true
}

// addr is where a redirection of n leads.
func (r redirection) addr(n *node) string {
	host := r.host
	if host == "" {
		host, _, _ = net.SplitHostPort(n.addr)
	}
	return net.JoinHostPort(host, r.port)
}

// on calls f with the master that has key, behind its guard, and follows slots
// that move. F may be called several times; all calls but the last were refused
// without effect.
func (s *Store) on(ctx context.Context, key string, c call, f func(rueidis.Client) error) error {
	return s.follow(ctx, key, func(n *node, asking bool) error {
		return n.do(ctx, c, func(l *link) error { return f(line{Client: l.call(), asking: asking}) })
	})
}

// jobOn runs commands of a long job on the master that has a key.
func (s *Store) jobOn(ctx context.Context, key string, f func(rueidis.Client) error) error {
	return s.job(func() error {
		return s.follow(ctx, key, func(n *node, asking bool) error {
			return n.job(func(l *link) error { return f(line{Client: l.jobs, asking: asking}) })
		})
	})
}

// jobOnEach runs commands of a long job on every master, one after the other.
func (s *Store) jobOnEach(_ context.Context, f func(addr string, c rueidis.Client) error) error {
	return s.job(func() error {
		l := s.layout.Load()
		if len(l.masters) == 0 {
			return s.noMaster("")
		}
		var errs []error // one that is away does not stop the others
		for _, n := range l.masters {
			errs = append(errs, n.job(func(l *link) error { return f(n.addr, l.jobs) }))
		}
		return errors.Join(errs...)
	})
}

// job runs f, and Close waits for it.
func (s *Store) job(f func() error) error {
	if s.closed.Load() {
		return errClosed
	}
	s.working.Add(1)
	defer s.working.Done()
	return f()
}

func (s *Store) follow(ctx context.Context, key string, f func(n *node, asking bool) error) error {
	defer s.underway.leave(s.underway.enter())
	n, asking := s.layout.Load().node(key), false
	if n == nil {
		return s.noMaster(key)
	}
	for redirects := 0; ; redirects++ {
		err := f(n, asking)
		if errors.Is(err, errClosed) && !s.closed.Load() && redirects < maxRedirects {
			// It was let go of meanwhile; nothing was sent.
			if n, asking = s.layout.Load().node(key), false; n == nil {
				return s.noMaster(key)
			}
			continue
		}
		if err == nil || s.opts.Mode != Cluster {
			return err
		}
		r, ok := redirected(err)
		switch {
		case !ok || ctx.Err() != nil:
			return err
		case r.tryAgain:
			if !pause(ctx, tryAgainAfter) {
				return err
			}
			redirects = 0
			if m := s.layout.Load().node(key); m != nil {
				n, asking = m, false
			}
		case redirects == maxRedirects:
			return err
		default:
			addr := r.addr(n)
			m := s.master(addr)
			if r.ask {
				n.shake() // what is read there is not covered
				s.want(addr)
			} else {
				s.moved(r.slot, addr)
			}
			if m == nil {
				return fmt.Errorf("%w: slot %d is at %s now, which is being connected", errNoMaster, r.slot, addr)
			}
			n, asking = m, r.ask
		}
	}
}

// pause waits and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
