package check_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/check"
	"github.com/jackcache/jackcache/internal/redistest"
)

// Settings that do not fit the deployment fail at the connection, and the check
// says which setting.
func TestBrokenSettings(t *testing.T) {
	for _, b := range []struct {
		what   string
		start  func(*testing.T) deployment
		detail string
		toDo   string
	}{
		{"no TLS where the server wants it", func(t *testing.T) deployment {
			return single(redistest.StartSecure(t, secured(t)))
		}, "", "REDIS_TLS=on"},
		{"TLS where the server has none", func(t *testing.T) deployment {
			d := single(redistest.Start(t))
			d.options.Redis.TLS = secured(t).TLS.ClientConfig()
			return d
		}, "", "REDIS_TLS=off"},
		{"a certificate of another authority", func(t *testing.T) deployment {
			d := single(redistest.StartSecure(t, secured(t)))
			d.access(secured(t))
			return d
		}, "x509", "REDIS_CA_FILE"},
		{"no client certificate where one is wanted", func(t *testing.T) deployment {
			sec := secured(t)
			d := single(redistest.StartSecure(t, sec))
			d.access(sec)
			d.options.Redis.TLS.Certificates = nil
			return d
		}, "", "REDIS_CERT_FILE"},
		{"a replica alone", func(t *testing.T) deployment {
			r := redistest.StartReplicated(t, 1)
			for _, s := range r.Servers() {
				if s != r.Master() {
					return single(s)
				}
			}
			return deployment{}
		}, "", "REDIS_MODE=sentinel"},
		{"a member of a Cluster as if it were alone", func(t *testing.T) deployment {
			return single(redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1}).Masters()[0])
		}, "", "REDIS_MODE=cluster"},
		{"a single server as if it were a Cluster", func(t *testing.T) deployment {
			d := single(redistest.Start(t))
			d.options.Redis.Mode = jackcache.Cluster
			return d
		}, "", "REDIS_MODE"},
		{"a name that the Sentinels do not know", func(t *testing.T) deployment {
			s := redistest.StartSentinel(t, redistest.SentinelOptions{})
			d := single(s.Master())
			d.options.Redis.Mode, d.options.Redis.Addrs = jackcache.Sentinel, s.Addrs()
			d.options.Redis.Sentinel.Master = "nobody"
			return d
		}, "", "REDIS_SENTINEL_MASTER"},
		{"a server in the place of the Sentinels", func(t *testing.T) deployment {
			d := single(redistest.Start(t))
			d.options.Redis.Mode, d.options.Redis.Sentinel.Master = jackcache.Sentinel, "jack"
			return d
		}, "", "REDIS_ADDRS"},
	} {
		t.Run(b.what, func(t *testing.T) {
			t.Parallel()
			r := run(t, b.start(t).check())
			c := r.Categories[0]
			t.Logf("%s. What to do: %s", c.Detail, c.ToDo)
			if got := failed(r); !slices.Equal(got, []string{check.Connection}) || !strings.Contains(c.Detail, b.detail) || !strings.Contains(c.ToDo, b.toDo) {
				t.Errorf("failed: %v: %q, %q; want %q, %q", got, c.Detail, c.ToDo, b.detail, b.toDo)
			}
		})
	}
}
