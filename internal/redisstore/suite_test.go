package redisstore_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

// options are those of a test: time enough for a busy machine, no log.
func options(o redisstore.Options) redisstore.Options {
	if o.Mode == "" {
		o.Mode = redisstore.Standalone
	}
	if o.Connections == 0 {
		o.Connections = 1
	}
	o.InFlight, o.Timeout, o.Clock = 2048, time.Second, clock.New(nil, 1, nil)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func openWith(t testing.TB, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(t.Context(), options(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error("close:", err)
		}
	})
	return s
}

func suite(t *testing.T, o redisstore.Options) { storetest.Run(t, opener(o)) }

// sections is suite for a deployment with the scripts of another one.
func sections(t *testing.T, o redisstore.Options) { storetest.RunSections(t, opener(o)) }

func opener(o redisstore.Options) func(t *testing.T, env storetest.Env) store.Store {
	return func(t *testing.T, env storetest.Env) store.Store {
		o.Space = env.Space
		o := options(o)
		o.Timeout = 10 * time.Second // suites run beside each other
		s, err := redisstore.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func devSpace(t testing.TB) keys.Space {
	t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	return space
}

func TestStore(t *testing.T) {
	t.Parallel()
	suite(t, redisstore.Options{Addrs: []string{redistest.Start(t).Addr()}})
}

func TestStoreInACluster(t *testing.T) {
	t.Parallel()
	sec := locked(t, redisstore.Cluster)
	c := redistest.StartCluster(t, redistest.ClusterOptions{Security: sec})
	suite(t, redisstore.Options{Mode: redisstore.Cluster, Addrs: c.Addrs()[:1], Access: access(sec)})
}

// certificates are those of a deployment with TLS on both sides.
func certificates(t *testing.T) *redistest.Certificates {
	t.Helper()
	c, err := redistest.NewCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// locked is a password for the servers among themselves, and a user with the
// rights that the product asks for and no others.
func locked(t *testing.T, mode redisstore.Mode) redistest.Security {
	t.Helper()
	return redistest.Security{
		Password: "default-secret", User: "jack", UserPassword: "jack-secret",
		Rules: strings.Join(redisstore.Rights(devSpace(t), mode, 0), " "),
		TLS:   certificates(t), ClientCerts: true,
	}
}

func access(sec redistest.Security) redisstore.Access {
	return redisstore.Access{Username: sec.User, Password: sec.UserPassword, TLS: sec.TLS.ClientConfig()}
}

func TestStoreSecured(t *testing.T) {
	t.Parallel()
	sec := locked(t, redisstore.Standalone)
	sections(t, redisstore.Options{Addrs: []string{redistest.StartSecure(t, sec).Addr()}, Access: access(sec)})
}

func TestStoreWithSentinel(t *testing.T) {
	t.Parallel()
	sec := locked(t, redisstore.Sentinel)
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{Security: sec, SentinelSecurity: redistest.Security{
		Password: "sentinel-secret", TLS: sec.TLS,
	}})
	sections(t, redisstore.Options{
		Mode: redisstore.Sentinel, Addrs: trio.Addrs(), Master: trio.MasterName(), Access: access(sec),
		Sentinels: redisstore.Access{Password: "sentinel-secret", TLS: sec.TLS.ClientConfig()},
	})
}
