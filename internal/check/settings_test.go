package check_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
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
		{"no password where the Sentinels want one", func(t *testing.T) deployment {
			s := redistest.StartSentinel(t, redistest.SentinelOptions{SentinelSecurity: redistest.Security{Password: secret}})
			d := single(s.Master())
			d.options.Redis.Mode, d.options.Redis.Addrs = jackcache.Sentinel, s.Addrs()
			d.options.Redis.Sentinel.Master = s.MasterName()
			return d
		}, "NOAUTH", "REDIS_SENTINEL_PASSWORD"},
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

// A data directory with which a server would not start fails the settings, and
// is left as it is.
func TestBrokenDataDir(t *testing.T) {
	for _, b := range []struct {
		what   string
		redis  bool
		do     func(*testing.T, *jackcache.Options)
		detail string
		toDo   string
	}{
		{"the data directory belongs to another Redis", true, served, "belongs to another redis", "JACKCACHE_ADOPT"},
		{"the data directory belongs to Redis, and none is set", false, served, "no redis is set", "REDIS_HOST"},
		{"the data directory is a file", true, func(t *testing.T, o *jackcache.Options) {
			o.DataDir = filepath.Join(o.DataDir, "file")
			if err := os.WriteFile(o.DataDir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is not a directory", "JACKCACHE_DATA_DIR"},
		{"the data directory cannot be made", true, func(_ *testing.T, o *jackcache.Options) {
			o.DataDir = "/proc/jackcache"
		}, "the data directory cannot be used", "JACKCACHE_DATA_DIR"},
	} {
		t.Run(b.what, func(t *testing.T) {
			t.Parallel()
			d := deployment{options: jackcache.Options{}}
			if b.redis {
				d = single(redistest.Start(t))
			}
			parent := t.TempDir()
			d.options.DataDir = parent
			b.do(t, &d.options)
			if b.redis {
				do(t, d.servers[0], "SET", "jack:dev:__store", "0b9ad0f4-98a7-4d0f-8f0e-6d3f1f2a9c22")
			}
			before := files(t, parent)
			o := d.check()
			o.Only = []string{"settings"}
			r := run(t, o)
			c := r.Categories[len(r.Categories)-1]
			t.Logf("%s. What to do: %s", c.Detail, c.ToDo)
			if got := failed(r); r.OK || !slices.Equal(got, []string{"settings"}) || !strings.Contains(c.Detail, b.detail) || !strings.Contains(c.ToDo, b.toDo) {
				t.Errorf("failed: %v: %q, %q; want %q, %q", got, c.Detail, c.ToDo, b.detail, b.toDo)
			}
			if after := files(t, parent); !maps.Equal(before, after) {
				t.Errorf("files before: %q, after: %q", before, after)
			}
		})
	}
}

// A data directory whose Redis lost its id gets it back from the check, as from a
// server.
func TestRecordedID(t *testing.T) {
	server := redistest.Start(t)
	d := single(server)
	d.options.DataDir = t.TempDir()
	served(t, &d.options)
	o := d.check()
	o.Only = []string{check.Connection}
	if r := run(t, o); !r.OK {
		t.Errorf("report: %+v", r)
	}
	if got := do(t, server, "GET", "jack:dev:__store"); got != anotherID {
		t.Errorf("the store has the id %q, want %q", got, anotherID)
	}
}

const anotherID = "6f1c0f3e-5a43-4c5c-9d0a-2f1b7a0f4e11"

// served makes a data directory that belongs to another Redis, whose id is not
// that of the one that is set.
func served(t *testing.T, o *jackcache.Options) {
	t.Helper()
	record := `{"format":1,"stores":{"jack:dev:":"` + anotherID + `"}}`
	if err := os.WriteFile(filepath.Join(o.DataDir, "store"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
}

// files are those of a directory with their contents.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		b, errRead := os.ReadFile(filepath.Join(dir, e.Name()))
		err = errors.Join(err, errRead)
		all[e.Name()] = string(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}
