package redisstore

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// What is refused is asked for again later, not at once; the store works all the
// same, and health says why nothing is fresh.
func TestUntold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rules := func(more ...string) {
		send(t, server, append([]string{"ACL", "SETUSER", "jack", "reset", "on", ">secret", "resetchannels"}, more...)...)
	}
	all := Rights(devSpaceOf(t), Standalone, 0)
	var less []string
	for _, rule := range all {
		if rule != "+client|tracking" {
			less = append(less, rule)
		}
	}
	if len(less) != len(all)-1 {
		t.Fatalf("the right is not among %q", all)
	}
	rules(less...)
	var d dialer
	s := openWith(t, server.Addr(), func(o *Options) {
		listening(o)
		o.Dial, o.Access = d.dial, Access{Username: "jack", Password: "secret"}
	})
	k := mustKey(t, s, "x")
	soon(t, "health says why", func() bool { return strings.Contains(tracked(t, s).Problem, "NOPERM") })
	settled(t, s)
	made := d.made.Load()
	if th := tracked(t, s); th.Proven || !strings.Contains(th.Problem, "jackcache acl") || covered(s, k) {
		t.Errorf("health: %+v", th)
	}
	if err := read(t, s); err != nil || s.Health().State != store.Up {
		t.Errorf("a call: %v; health: %s", err, s.Health().State)
	}
	if d.made.Load()-made > 1 {
		t.Errorf("%d more connections", d.made.Load()-made)
	}
	rules(all...)
	soon(t, "something is proven once it may", func() bool { return covered(s, k) })
}

func devSpaceOf(t testing.TB) keys.Space {
	t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	return space
}

// A server that speaks no RESP3, or knows no tracking, is served without.
func TestServersThatTellNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer func(args []string) string
		want   string
	}{
		"RESP2": {func(args []string) string {
			if args[0] == "HELLO" {
				return "-ERR unknown command 'HELLO'\r\n"
			}
			return ""
		}, "RESP3"},
		"a proxy": {func(args []string) string {
			if args[0] == "CLIENT" {
				return "-ERR unknown command 'client'\r\n"
			}
			return ""
		}, "unknown command"},
		// It agrees and then tells nothing.
		"a liar": {func([]string) string { return "" }, "not told of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, test.answer)
			s, _ := openHearing(t, f.addr())
			soon(t, "health says why", func() bool { return strings.Contains(tracked(t, s).Problem, test.want) })
			if covered(s, mustKey(t, s, "x")) || tracked(t, s).Proven {
				t.Error("something is proven")
			}
			if err := s.layout.Load().masters[0].probeOnce(); err != nil {
				t.Errorf("a call: %v", err)
			}
		})
	}
}

// Attempts do not storm a server that lets nobody in for this.
func TestTapsDoNotStorm(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var tries atomic.Int64
	s := openWith(t, server.Addr(), func(o *Options) {
		listening(o)
		var made atomic.Int64
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			// Those for calls and jobs, and to find out what is offered, come first.
			if made.Add(1) > 3 {
				tries.Add(1)
				return nil, fmt.Errorf("not today")
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
	})
	begun := time.Now()
	soon(t, "seven tries", func() bool { return tries.Load() >= 7 })
	if took := time.Since(begun); took < 1200*time.Millisecond {
		t.Errorf("seven tries in %v", took)
	}
	if err := read(t, s); err != nil {
		t.Errorf("a call: %v", err)
	}
}
