package check_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/check"
	"github.com/jackcache/jackcache/internal/redistest"
)

// Advice names what works today and should be changed.
func TestAdvice(t *testing.T) {
	elsewhere := func(o *check.Options) {
		addr := o.Cache.Redis.Addrs[0]
		o.Cache.Redis.Addrs = []string{"redis.example.com:6379"}
		o.Cache.Redis.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
	}
	for _, c := range []struct {
		what string
		args []string
		do   func(*check.Options)
		want string
		not  string
	}{
		{what: "no persistence", want: "persists nothing and has no replica"},
		{what: "snapshots", args: []string{"--save", "3600 1"}, want: "persists by snapshots alone", not: "nothing"},
		{what: "append only", args: []string{"--appendonly", "yes", "--maxmemory", "100mb"}, not: "redis"},
		{what: "no bound", want: "has no maxmemory"},
		{what: "eviction", args: []string{"--maxmemory-policy", "allkeys-lru"}, want: "maxmemory-policy is allkeys-lru, set it to noeviction"},
		{what: "default user", do: func(o *check.Options) { o.Cache.Production = true }, want: "jackcache uses the default user"},
		{what: "not encrypted", do: elsewhere, want: "redis.example.com:6379 can be read on the way"},
		{what: "no password", do: elsewhere, want: "the server wants no password"},
		{what: "on this host", not: "password"},
		{what: "a clock that is behind", do: func(o *check.Options) {
			o.Cache.Now = func() time.Time { return time.Now().Add(-time.Minute) }
			o.Only = []string{"basicOperations"}
		}, want: "keep both with NTP"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			o := single(redistest.Start(t, c.args...)).check()
			o.Only = []string{check.Connection}
			if c.do != nil {
				c.do(&o)
			}
			r := run(t, o)
			all := strings.Join(r.Advice, "\n")
			if !r.OK || !strings.Contains(all, c.want) || c.not != "" && strings.Contains(all, c.not) {
				t.Errorf("ok %v, advice: %q; want %q, not %q", r.OK, r.Advice, c.want, c.not)
			}
		})
	}
}
