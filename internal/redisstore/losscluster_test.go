package redisstore_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

func split(t *testing.T, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// In a Cluster each master has a heartbeat. A promoted replica has that of its
// master, whether that handed over or died.
func TestLossClusterFailover(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{})
	l := startLoad(t, 6, redisstore.Options{Mode: redisstore.Cluster, Addrs: c.Addrs()})
	for name, promote := range map[string]func(master, replica *redistest.Server){
		"handed over": func(_, replica *redistest.Server) {
			if err := c.Failover(replica); err != nil {
				t.Fatal(err)
			}
		},
		"killed": func(master, _ *redistest.Server) { master.Kill() },
	} {
		if err := c.WaitOK(time.Minute); err != nil {
			t.Fatal(err)
		}
		l.settled()
		l.written(500)
		l.beaten(c.Masters()...)
		master := c.MasterOf(0)
		replica := c.ReplicaOf(master)
		n := len(l.suspicions())
		promote(master, replica)
		s := l.suspected(n, name, func(s store.Suspicion) bool { return s.Server == replica.Addr() })
		t.Logf("%s: from %d of %d, confirmed %v: %s", name, s.From, l.Position(), s.Confirmed, s.Reason)
		if s.From == 0 {
			t.Errorf("%s: the promoted replica has no heartbeat: %+v", name, s)
		}
		if name == "killed" {
			if err := master.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.WaitOK(time.Minute); err != nil {
		t.Fatal(err)
	}
	l.end(c.Masters()...)
}

// Slots that move are in doubt on their own, a few suspicions for all of them,
// and nothing else is.
func TestLossReshard(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	l := startLoad(t, 6, redisstore.Options{Mode: redisstore.Cluster, Addrs: c.Addrs()})
	l.settled()
	l.written(500)
	l.beaten(c.Masters()...)
	from, to := c.MasterOf(0), c.MasterOf(redistest.Slots-1)
	n := len(l.suspicions())
	const low, high = 100, 399
	if err := c.MoveSlots(from, to, low, high); err != nil {
		t.Fatal(err)
	}
	covered := make(map[int]bool)
	eventually(t, "all slots that moved are suspected", func() bool {
		for _, s := range l.suspicions()[n:] {
			if s.Server != to.Addr() {
				continue
			}
			for slot := low; slot <= high; slot++ {
				covered[slot] = covered[slot] || s.Covers(keyIn(slot))
			}
		}
		return len(covered) == high-low+1 && !anyFalse(covered)
	})
	for _, s := range l.suspicions()[n:] {
		if s.Confirmed || s.Server == to.Addr() && (s.From != 0 || s.Covers(keyIn(redistest.Slots-1))) {
			t.Errorf("suspicion %+v", s)
		}
	}
	if many := len(l.suspicions()) - n; many > 60 {
		t.Errorf("%d suspicions for %d slots", many, high-low+1)
	}
	if err := c.WaitOK(time.Minute); err != nil {
		t.Fatal(err)
	}
	l.end(c.Masters()...)
}

func anyFalse(m map[int]bool) bool {
	for _, ok := range m {
		if !ok {
			return true
		}
	}
	return false
}

// keysBySlot has a key for each slot that was come across.
var keysBySlot = make(map[int]string)

func keyIn(slot int) string {
	for i := len(keysBySlot); keysBySlot[slot] == ""; i++ {
		key := strconv.Itoa(i)
		if s := redistest.Slot(key); keysBySlot[s] == "" {
			keysBySlot[s] = key
		}
	}
	return keysBySlot[slot]
}
