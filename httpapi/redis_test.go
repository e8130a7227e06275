package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// twoServers serve one Redis; their budget is wide, because what is stored is
// tested here, not how long it takes.
func twoServers(t *testing.T, clients int) [2]*fixture {
	t.Helper()
	redis := redistest.Start(t)
	var fs [2]*fixture
	for i := range fs {
		fs[i] = start(t, jackcache.Options{
			Redis: &jackcache.RedisOptions{Addrs: []string{redis.Addr()}}, Budget: 30 * time.Second,
			Conversation: jackcache.ConversationOptions{Window: 4000},
		}, Options{})
		fs[i].client.Transport.(*http.Transport).MaxIdleConnsPerHost = clients
	}
	return fs
}

func ids(t *testing.T, f *fixture) []string {
	t.Helper()
	var all []string
	for _, raw := range f.messages(talk).Messages {
		var m struct{ ID string }
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m.ID)
	}
	return all
}

// 32 writers with 100 messages each, through two servers that share a Redis:
// all are there once, in one order on both.
func TestTwoServersAppend(t *testing.T) {
	const writers, each = 32, 100
	fs := twoServers(t, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprintf(`{"id":"%d-%d","role":"user","content":"x"}`, w, i)
				if a := fs[w%2].do("POST", talk, body); a.status != 201 {
					t.Errorf("append: %d %s", a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
	first, second := ids(t, fs[0]), ids(t, fs[1])
	if !slices.Equal(first, second) {
		t.Error("the servers read different orders")
	}
	slices.Sort(first)
	if n := len(slices.Compact(first)); n != writers*each || len(second) != n {
		t.Errorf("%d messages with %d ids, want %d", len(second), n, writers*each)
	}
}

// The same 100 ids delivered 3,200 times through two servers: 100 are stored.
func TestTwoServersRepetitions(t *testing.T) {
	const writers, each = 32, 100
	fs := twoServers(t, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				a := fs[(w+i)%2].do("POST", talk, fmt.Sprintf(`{"id":"m%d","role":"user","content":"x"}`, i))
				if a.status != 201 && a.status != 200 {
					t.Errorf("append: %d %s", a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
	first, second := ids(t, fs[0]), ids(t, fs[1])
	if !slices.Equal(first, second) || len(first) != each {
		t.Errorf("%d and %d messages, want %d on both, in one order", len(first), len(second), each)
	}
}
