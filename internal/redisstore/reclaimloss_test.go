package redisstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// What is written after the generation was lost is of a lower one than a scan has
// read, and is not its to remove.
func TestReclaimWhileTheGenerationIsLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := startLoad(t, 1, redisstore.Options{Addrs: []string{server.Addr()}})
	l.settled()
	o, err := keys.ParseOrg("org-1")
	if err != nil {
		t.Fatal(err)
	}
	const n = 1500
	write := func() {
		t.Helper()
		for i := range n {
			id, err := keys.ParseID(fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.s.Apply(t.Context(), store.Op{
				Action: store.Set, Key: devSpace(t).Key("agentConfig", o, id), Version: l.clock.Now(), TTL: time.Hour, Payload: []byte("x"),
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func() int {
		t.Helper()
		all, err := server.Do("KEYS", "*agentConfig*")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(all, "agentConfig")
	}
	write()
	if _, err := l.s.Invalidate(t.Context(), o, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := l.s.Reclaim(t.Context(), []keys.Org{o}, 500)
		done <- err
	}()
	for left() == n {
		select {
		case err := <-done:
			t.Fatalf("it is over, %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	write()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := left(); got != n {
		t.Errorf("%d of %d that were written since are there", got, n)
	}
}
