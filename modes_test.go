package jackcache_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// deployments are the ways in which Redis is run, each started anew.
var deployments = []struct {
	name  string
	start func(*testing.T) jackcache.RedisOptions
}{
	{"secured", func(t *testing.T) jackcache.RedisOptions {
		sec := secured(t)
		server := redistest.StartSecure(t, sec)
		return jackcache.RedisOptions{
			Addrs: []string{server.Addr()}, Username: sec.User, Password: sec.UserPassword, TLS: sec.TLS.ClientConfig(),
		}
	}},
	{"sentinel", func(t *testing.T) jackcache.RedisOptions {
		return sentinelOptions(redistest.StartSentinel(t, redistest.SentinelOptions{}))
	}},
	{"cluster", func(t *testing.T) jackcache.RedisOptions {
		return clusterOptions(redistest.StartCluster(t, redistest.ClusterOptions{}))
	}},
}

// secured is a password, a user who may touch the product's keys only, and TLS
// with certificates on both sides.
func secured(t *testing.T) redistest.Security {
	t.Helper()
	certificates, err := redistest.NewCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return redistest.Security{
		Password: "default-secret", User: "jack", UserPassword: "jack-secret", Rules: "~jack:* &* +@all -@dangerous +info",
		TLS: certificates, ClientCerts: true,
	}
}

func sentinelOptions(s *redistest.Sentinel) jackcache.RedisOptions {
	return jackcache.RedisOptions{
		Mode: jackcache.Sentinel, Addrs: s.Addrs(), Sentinel: jackcache.SentinelOptions{Master: s.MasterName()},
	}
}

func clusterOptions(c *redistest.Cluster) jackcache.RedisOptions {
	return jackcache.RedisOptions{Mode: jackcache.Cluster, Addrs: c.Addrs()[:2]}
}

// What holds for two instances over one server holds over every deployment.
func TestEveryDeployment(t *testing.T) {
	t.Parallel() // most of it is waiting
	for _, d := range deployments {
		t.Run(d.name, func(t *testing.T) {
			redis := d.start(t)
			t.Run("clocks", func(t *testing.T) { clocksThatDiffer(t, redis) })
			t.Run("invalidate", func(t *testing.T) { newInstanceAfterInvalidate(t, redis) })
			t.Run("appends", func(t *testing.T) { appendsOnce(t, redis) })
		})
	}
}

// Two instances that append to many conversations at once, each id on both:
// every id is there once, in one order on both.
func appendsOnce(t *testing.T, redis jackcache.RedisOptions) {
	const writers, each = 16, 50
	both := []*assistant.Assistant{instanceOf(t, redis, slow), instanceOf(t, redis, slow)}
	ctx := t.Context()
	conversation := func(a *assistant.Assistant, i int) jackcache.Conversation {
		return a.Cache.Org(fmt.Sprintf("once-%d", i%3)).Conversation(phone(i % 8))
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				id := fmt.Sprintf("%d-%d", w/2, n) // two writers share each id
				if _, err := conversation(both[w%2], w/2).Append(ctx, message(id, "hi")); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	back(t, both...) // a busy machine may have kept some of them waiting
	for i := range writers / 2 {
		var read [2][]string
		for j, a := range both {
			got, err := conversation(a, i).Messages(ctx, jackcache.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range got.Messages {
				read[j] = append(read[j], m.ID)
			}
		}
		if !slices.Equal(read[0], read[1]) {
			t.Errorf("conversation %d: two orders", i)
		}
		slices.Sort(read[0])
		if n := len(slices.Compact(read[0])); n != each || len(read[1]) != each {
			t.Errorf("conversation %d: %d messages with %d ids, want %d", i, len(read[1]), n, each)
		}
	}
}
