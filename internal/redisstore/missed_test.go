package redisstore_test

import (
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// A key that is missed puts its server in doubt at once, and not again for a
// while: what was lost is found out before the next heartbeat.
func TestMissed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := startLoad(t, 1, redisstore.Options{Addrs: []string{server.Addr()}})
	l.settled()
	l.written(20)
	l.beaten(server)
	k, n := l.writes()[0].Key, len(l.suspicions())
	start := time.Now()
	if !l.s.Missed(k) {
		t.Error("the first that is missed does not count")
	}
	for time.Since(start) < 500*time.Millisecond {
		l.s.Missed(k)
	}
	if !l.s.Doubtful(k) && len(l.suspicions()) == n {
		t.Error("it is not in doubt")
	}
	s := l.suspected(n, "a key was missed", anySuspicion)
	if s.From == 0 || s.Confirmed {
		t.Errorf("%+v, but the heartbeat is there", s)
	}
	l.settled()
	if more := len(l.suspicions()) - n; more > 1 && time.Since(start) < time.Second {
		t.Errorf("%d suspicions", more)
	}
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	l.s.Missed(k)
	l.suspected(n+1, "certain", confirmed)
	l.end(server)
}

// An organisation that has no generation may have had one that others restore:
// an invalidation leads above every one there was.
func TestInvalidateAfterLoss(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := startLoad(t, 1, redisstore.Options{Addrs: []string{server.Addr()}})
	a.settled()
	o, err := keys.ParseOrg("invalidated")
	if err != nil {
		t.Fatal(err)
	}
	highest := uint64(0)
	for loss := range 3 {
		for range 3 { // by one who has seen the others
			g, err := a.s.Invalidate(t.Context(), o, highest)
			if err != nil || g <= highest {
				t.Fatalf("%d above %d, %v", g, highest, err)
			}
			highest = g
		}
		if _, err := server.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
		// By one who has seen nothing, in both ways.
		g, err := a.s.InvalidateOnce(t.Context(), o, 0, a.clock.Now())
		if loss%2 == 1 {
			if _, err := server.Do("FLUSHALL"); err != nil {
				t.Fatal(err)
			}
			g, err = a.s.Invalidate(t.Context(), o, 0)
		}
		if err != nil || g <= highest {
			t.Errorf("after a loss it is %d, %v; %d was given before", g, err, highest)
		}
		if got, err := a.s.RaiseGeneration(t.Context(), o, highest); err != nil || got != g {
			t.Errorf("what another restores leads to %d, %v; want %d", got, err, g)
		}
		if next, err := a.s.Invalidate(t.Context(), o, 0); err != nil || next <= g || next > store.MaxGeneration {
			t.Errorf("the next is %d, %v; %d was given before", next, err, g)
		} else {
			highest = next
		}
	}
	a.end(server)
}
