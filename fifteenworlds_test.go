package jackcache_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	port, err := redistest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// worlds are where the fifteen checks are run.
var worlds = map[string]func(t *testing.T) *world{
	"with redis": func(t *testing.T) *world {
		server := redistest.Start(t)
		w := &world{a: instance(t, server, patient)}
		back(t, w.a)
		w.away = func() { server.Freeze(); away(w.T, w.a) }
		w.back = func() { server.Thaw(); back(w.T, w.a) }
		w.later = func() *assistant.Assistant { back(w.T, w.a); return instance(w.T, server, patient) }
		return w
	},
	"without redis": func(t *testing.T) *world {
		redis := jackcache.RedisOptions{Addrs: []string{nobody(t)}}
		w := &world{a: instanceOf(t, redis, patient), alone: true}
		w.later = func() *assistant.Assistant { return again(w.T, redis, w.a.Cache.DataDir()) }
		return w
	},
	"with redis failing midway": failing,
}

// failing is a Redis that is frozen, comes back, is killed, and comes back empty,
// again and again, one of it at each step.
func failing(t *testing.T) *world {
	server := redistest.Start(t)
	w := &world{a: instance(t, server, patient)}
	back(t, w.a)
	restart := func() {
		if err := server.Restart(); err != nil {
			w.Error(err)
		}
	}
	events := []func(){server.Freeze, server.Thaw, server.Kill, restart}
	next := 0
	w.between = func() {
		events[next%len(events)]()
		next++
	}
	// up ends what is under way.
	up := func() {
		for next%2 != 0 {
			w.between()
		}
	}
	w.away = func() {
		up()
		w.between()
		away(w.T, w.a)
	}
	w.back = up
	w.later = func() *assistant.Assistant {
		up()
		back(w.T, w.a)
		return instance(w.T, server, patient)
	}
	return w
}

// The fifteen checks hold with Redis, without it, and while it is frozen, killed
// and comes back empty between their steps; and others find afterwards what was
// acknowledged.
func TestFifteen(t *testing.T) {
	for name, open := range worlds {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			passed := 0
			for _, c := range fifteen {
				if t.Run(c.name, func(t *testing.T) {
					w.T = t
					if err := c.run(w); err != nil {
						t.Error(err)
					}
				}) {
					passed++
				}
				w.T = t
				w.step()
			}
			other := w.later()
			for _, c := range fifteen {
				if c.after == nil {
					continue
				}
				// A Redis that came back empty a moment ago is given it again meanwhile.
				var err error
				for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
					if err = c.after(t, other); err == nil || w.alone {
						break
					}
				}
				if err != nil {
					t.Errorf("%s: somebody else: %v", c.name, err)
				}
			}
			if passed != len(fifteen) || passed != 15 {
				t.Errorf("%d of %d checks hold", passed, len(fifteen))
			}
		})
	}
}
