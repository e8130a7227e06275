package redisstore

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/redistest"
)

// writesUnderFaults is how many changes each of these tests waits for: at more than
// 2 ms each, time for 100 faults.
const writesUnderFaults = 1000

// While the connection that is told is killed again and again.
func TestCoherentWhileTapsDie(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := startCounting(t, server.Addr(), asIs)
	c.run(t, c.raising(t, rueidis.ClientOption{InitAddress: []string{server.Addr()}, ForceSingleClient: true}, 0), writesUnderFaults, func(r *rand.Rand) {
		for _, id := range taps(t, server) {
			send(t, server, "CLIENT", "KILL", "ID", id)
		}
	})
}

// While connections of all kinds hang and end: those for calls, too.
func TestCoherentWhileAllBreaks(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr())
	c := startCounting(t, proxy.Addr(), asIs)
	c.run(t, c.raising(t, rueidis.ClientOption{InitAddress: []string{server.Addr()}, ForceSingleClient: true}, 0), writesUnderFaults, func(r *rand.Rand) {
		switch r.IntN(12) {
		case 0:
			proxy.Cut()
		case 1:
			proxy.Stall()
			pause(t.Context(), time.Duration(r.IntN(1500))*time.Millisecond)
			proxy.Resume()
		case 2:
			proxy.Stall()
			pause(t.Context(), time.Duration(r.IntN(300))*time.Millisecond)
			proxy.Cut()
			proxy.Resume()
		case 3:
			server.Freeze()
			pause(t.Context(), time.Duration(r.IntN(300))*time.Millisecond)
			server.Thaw()
		}
	})
}

// While the slot of the counter moves from master to master and back, and the
// connections that are told die.
func TestCoherentWhileSlotsMove(t *testing.T) {
	t.Parallel()
	cl := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	c := startCounting(t, "", func(o *Options) { o.Mode, o.Addrs = Cluster, cl.Addrs() })
	c.run(t, c.raising(t, rueidis.ClientOption{InitAddress: cl.Addrs()}, 0), writesUnderFaults, func(r *rand.Rand) {
		from := cl.MasterOf(moving.low)
		if from == nil {
			return
		}
		if r.IntN(10) > 0 {
			for _, id := range taps(t, from) {
				send(t, from, "CLIENT", "KILL", "ID", id)
			}
			return
		}
		for _, to := range cl.Masters() {
			if to != from {
				if err := cl.MoveSlots(from, to, moving.low, moving.high); err != nil {
					t.Error(err)
				}
				return
			}
		}
	})
}

// While masters change places.
func TestCoherentWhileMastersChange(t *testing.T) {
	t.Parallel()
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{Replicas: 1})
	cl := redistest.StartCluster(t, redistest.ClusterOptions{})
	for name, test := range map[string]struct {
		change func(*Options)
		writer rueidis.ClientOption
		least  int64 // replicas, so that no failover loses what was acknowledged
		over   func() error
	}{
		"sentinel": {
			func(o *Options) { o.Mode, o.Addrs, o.Master = Sentinel, trio.Addrs(), trio.MasterName() },
			rueidis.ClientOption{InitAddress: trio.Addrs(), Sentinel: rueidis.SentinelOption{MasterSet: trio.MasterName()}},
			1,
			func() error { return trio.Failover() },
		},
		"cluster": {
			func(o *Options) { o.Mode, o.Addrs = Cluster, cl.Addrs() },
			rueidis.ClientOption{InitAddress: cl.Addrs()},
			0,
			func() error {
				if err := cl.WaitOK(time.Minute); err != nil {
					return err
				}
				return cl.Failover(cl.ReplicaOf(cl.MasterOf(moving.low)))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCounting(t, "", test.change)
			overs := 0
			c.run(t, c.raising(t, test.writer, test.least), writesUnderFaults, func(*rand.Rand) {
				// A third one so soon the masters would not vote for.
				if overs < 2 {
					overs++
					if err := test.over(); err != nil {
						t.Error(err)
					}
				}
			})
			if overs == 0 {
				t.Error("no failover")
			}
		})
	}
}
