package redisstore

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jackcache/jackcache/internal/redistest"
)

// Close ends everything: nothing is fresh, and no goroutine or connection is left,
// at whatever moment it comes.
func TestCloseEndsListening(t *testing.T) {
	server := redistest.Start(t)
	before := goleak.IgnoreCurrent()
	for i := range 8 {
		var d dialer
		s := openWith(t, server.Addr(), func(o *Options) { o.Dial = d.dial; listening(o) })
		k := mustKey(t, s, "x")
		if i%2 == 0 {
			soon(t, "something is proven", func() bool { return covered(s, k) })
		}
		if i%4 == 0 {
			d.cut()
		}
		c := coversOf(s, k).Key
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if fresh(c) {
			t.Error("fresh after Close")
		}
		soon(t, "no connection is open", func() bool { return d.open.Load() == 0 })
	}
	ended(t, before)
}

// The same while the server hangs, and while nobody is there.
func TestCloseWithoutServer(t *testing.T) {
	for name, fault := range map[string]func(*redistest.Server){"hangs": (*redistest.Server).Freeze, "is gone": (*redistest.Server).Kill} {
		server := redistest.Start(t)
		before := goleak.IgnoreCurrent()
		s, _ := openHearing(t, server.Addr())
		k := mustKey(t, s, "x")
		soon(t, "something is proven", func() bool { return covered(s, k) })
		fault(server)
		soon(t, "nothing is fresh", func() bool { return !covered(s, k) })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := s.Close(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		ended(t, before)
		server.Thaw()
	}
}
