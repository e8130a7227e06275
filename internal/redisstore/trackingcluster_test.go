package redisstore

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// keyOn returns a key in a slot that ok accepts.
func keyOn(t *testing.T, s *Store, ok func(slot int) bool) keys.Key {
	t.Helper()
	for i := range 100_000 {
		if k := mustKey(t, s, "x"+strconv.Itoa(i)); ok(slotOf(k.String())) {
			return k
		}
	}
	t.Fatal("no key")
	return keys.Key{}
}

func inRange(low, high int) func(int) bool {
	return func(slot int) bool { return low <= slot && slot <= high }
}

// Every master of a Cluster is listened to, whoever serves a key.
func TestAllMastersAreHeard(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	var h *heard
	s := openCluster(t, c.Addrs()[:1], func(o *Options) { h = listening(o) })
	for _, low := range []int{0, 6000, 12000} {
		k := keyOn(t, s, inRange(low, low+4000))
		soon(t, "something is proven", func() bool { return covered(s, k) })
		master := c.MasterOf(slotOf(k.String()))
		if got := taps(t, master); len(got) != 1 {
			t.Errorf("%d connections that are told, want 1", len(got))
		}
		send(t, master, "SET", k.String(), "1")
		soon(t, "a change is told", func() bool { return h.count(k.String()) > 0 })
	}
	for _, n := range s.Health().Nodes {
		if !n.Tracking.Proven || n.Tracking.Age > bound {
			t.Errorf("%s: %+v", n.Addr, n.Tracking)
		}
	}
}

// A slot that moves takes its freshness away from what was read before, and gives
// it back to nothing when it returns. Who has no part in it keeps what it has.
func TestSlotsMoveAway(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	s := openCluster(t, c.Addrs(), func(o *Options) { listening(o) })
	const low, high = 100, 130
	k, third := keyOn(t, s, inRange(low, high)), keyOn(t, s, inRange(6000, 9000))
	from, to := c.MasterOf(low), c.MasterOf(redistest.Slots-1)
	soon(t, "something is proven", func() bool {
		return fresh(coversOf(s, k).Key) && fresh(coversOf(s, third).Key)
	})
	first, apart := coversOf(s, k).Key, coversOf(s, third).Key
	epoch := first.Epoch()
	var all []*store.Cover
	for _, move := range []struct{ from, to *redistest.Server }{{from, to}, {to, from}} {
		all = append(all, coversOf(s, k).Key)
		if err := c.MoveSlots(move.from, move.to, low, high); err != nil {
			t.Fatal(err)
		}
		soon(t, "the new master is known, and something is proven about it", func() bool {
			return s.layout.Load().node(k.String()).addr == move.to.Addr() && fresh(coversOf(s, k).Key)
		})
	}
	last := coversOf(s, k).Key
	for _, former := range all {
		if former == last || fresh(former) {
			t.Error("what was read before the slot moved is fresh")
		}
	}
	if first.Fresh(epoch, store.Now(), bound) {
		t.Error("what was read before the slot moved is fresh when it is back")
	}
	if coversOf(s, third).Key != apart {
		t.Error("a master that took no part is looked at anew")
	}
}

// A read that is sent on to where the slot is going is not covered.
func TestAskedElsewhere(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, NodeTimeout: 15 * time.Second})
	s := openCluster(t, c.Addrs(), func(o *Options) { listening(o) })
	k := keyOn(t, s, inRange(100, 4000))
	from, to := c.MasterOf(100), c.MasterOf(redistest.Slots-1)
	slot := strconv.Itoa(slotOf(k.String()))
	send(t, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", send(t, from, "CLUSTER", "MYID"))
	send(t, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", send(t, to, "CLUSTER", "MYID"))
	soon(t, "something is proven", func() bool { return fresh(coversOf(s, k).Key) })
	cover := coversOf(s, k).Key
	epoch := cover.Epoch()
	if _, err := s.Get(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if cover.Fresh(epoch, store.Now(), bound) {
		t.Error("what another master answered is fresh")
	}
}

// The slot in which canaries lie may be the one that moves: another one is taken.
func TestCanarySlotMoves(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, NodeTimeout: 15 * time.Second})
	s := openCluster(t, c.Addrs(), func(o *Options) { listening(o) })
	k := keyOn(t, s, inRange(100, 4000))
	from, to := c.MasterOf(100), c.MasterOf(redistest.Slots-1)
	soon(t, "something is proven", func() bool { return fresh(coversOf(s, k).Key) })
	n := s.layout.Load().node(k.String())
	near := canarySlot(n)
	for range 2 {
		send(t, to, "CLUSTER", "SETSLOT", strconv.Itoa(near), "IMPORTING", send(t, from, "CLUSTER", "MYID"))
		send(t, from, "CLUSTER", "SETSLOT", strconv.Itoa(near), "MIGRATING", send(t, to, "CLUSTER", "MYID"))
		begun := store.Now()
		soon(t, "something is proven by a key of another slot", func() bool {
			age, ok := coversOf(s, k).Key.Age(store.Now())
			return ok && store.Now()-int64(age) > begun+int64(3*canaryEvery)
		})
		if now := canarySlot(n); now == near {
			t.Errorf("canaries still lie in slot %d", now)
		} else {
			near = now
		}
	}
}

// Where nobody says who has the slots, what is in memory of a slot that has left
// its master would be told of by another one: nothing stays fresh.
func TestSlotsAreUnknown(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	s := openCluster(t, c.Addrs(), func(o *Options) { listening(o) })
	k := keyOn(t, s, inRange(100, 4000))
	soon(t, "something is proven", func() bool { return fresh(coversOf(s, k).Key) })
	for _, n := range c.Nodes() {
		send(t, n, "ACL", "SETUSER", "default", "-cluster|slots")
	}
	cover := coversOf(s, k).Key
	epoch := cover.Epoch()
	soon(t, "nothing is fresh", func() bool { return !fresh(cover) })
	before := s.canaries.Load()
	soon(t, "canaries go on", func() bool { return s.canaries.Load() > before+9 })
	if fresh(cover) || cover.Epoch() != epoch {
		t.Error("fresh, although the slots may have moved")
	}
	for _, n := range c.Nodes() {
		send(t, n, "ACL", "SETUSER", "default", "+cluster|slots")
	}
	soon(t, "something is proven again", func() bool { return fresh(coversOf(s, k).Key) })
}

// canarySlot is where the last canary of a node lay.
func canarySlot(n *node) int {
	n.hearing.mu.Lock()
	defer n.hearing.mu.Unlock()
	return slotOf(n.hearing.near)
}

// A replica that takes its master's place is another server: nothing that was read
// from the former is fresh, in a Cluster and with Sentinels.
func TestFailoverIsHeard(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{})
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{})
	// The one that is killed comes last: its replica has none.
	for _, d := range []struct {
		name string
		open func(*Options)
		over func(slot int) error
	}{
		{
			"sentinel",
			func(o *Options) { o.Mode, o.Addrs, o.Master = Sentinel, trio.Addrs(), trio.MasterName() },
			func(int) error { return trio.Failover() },
		},
		{
			"cluster",
			func(o *Options) { o.Mode, o.Addrs = Cluster, c.Addrs() },
			func(slot int) error { return c.Failover(c.ReplicaOf(c.MasterOf(slot))) },
		},
		{
			"cluster, killed",
			func(o *Options) { o.Mode, o.Addrs = Cluster, c.Addrs() },
			func(slot int) error { c.MasterOf(slot).Kill(); return nil },
		},
	} {
		t.Run(d.name, func(t *testing.T) {
			var h *heard
			s := openWith(t, "", func(o *Options) { d.open(o); h = listening(o) })
			k := mustKey(t, s, "x")
			soon(t, "something is proven", func() bool { return covered(s, k) })
			former := coversOf(s, k).Key
			addr := s.layout.Load().node(k.String()).addr
			if err := d.over(slotOf(k.String())); err != nil {
				t.Fatal(err)
			}
			begun := store.Now()
			soon(t, "something is proven about the new master", func() bool {
				n := s.layout.Load().node(k.String())
				return n != nil && n.addr != addr && covered(s, k)
			})
			t.Logf("proven again %v after the failover", time.Duration(store.Now()-begun))
			if coversOf(s, k).Key == former || fresh(former) {
				t.Error("what was read from the former master is fresh")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			before := h.count(s.opts.Space.Generation(k.Org()))
			if _, err := s.Invalidate(ctx, k.Org(), 1); err != nil {
				t.Fatal(err)
			}
			soon(t, "the new master tells", func() bool { return h.count(s.opts.Space.Generation(k.Org())) > before })
		})
	}
}
