package redistest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

func TestSlot(t *testing.T) {
	for key, want := range map[string]int{
		"": 0, "123456789": 0x31C3, "foo": 12182, "{foo}bar": 12182, "a{foo}{bar}": 12182,
		"foo{}": Slot("foo{}"), "{user1000}.following": 3443, "{user1000}.followers": 3443,
	} {
		if got := Slot(key); got != want {
			t.Errorf("Slot(%q) = %d, want %d", key, got, want)
		}
	}
	s := Start(t, "--cluster-enabled", "yes")
	for _, key := range []string{"foo{}", "foo{}{bar}", "foo{{bar}}zap", "{a", "a}b{c}", "\x00\xff"} {
		if got, want := strconv.Itoa(Slot(key)), mustDo(t, s, "CLUSTER", "KEYSLOT", key); got != want {
			t.Errorf("Slot(%q) = %s, the server says %s", key, got, want)
		}
	}
}

// TestCluster has one Cluster for all that can happen to one.
func TestCluster(t *testing.T) {
	t.Parallel()
	// More than the default: no failover for a pause of the machine.
	c := StartCluster(t, ClusterOptions{NodeTimeout: 2 * time.Second})
	if n := len(c.Nodes()); n != 6 || len(c.Addrs()) != n || len(c.Masters()) != 3 || len(c.Replicas()) != 3 {
		t.Fatalf("%d nodes, %d masters, %d replicas", n, len(c.Masters()), len(c.Replicas()))
	}
	for _, slot := range []int{0, 5460, 5461, Slots - 1} {
		if c.MasterOf(slot) == nil {
			t.Errorf("slot %d has no master", slot)
		}
	}
	if s := c.MasterOf(Slots); s != nil {
		t.Errorf("a slot that does not exist has the master %s", s.Addr())
	}
	for _, m := range c.Masters() {
		r := c.ReplicaOf(m)
		if r == nil || c.ReplicaOf(r) != nil || !slices.Contains(c.Replicas(), r) {
			t.Errorf("the replica of %s is %v", m.Addr(), r)
		}
	}
	// One after the other on the same Cluster, which takes its time to start.
	t.Run("move slots", func(t *testing.T) { testMoveSlots(t, c) })
	t.Run("move slots under load", func(t *testing.T) { testMoveUnderLoad(t, c) })
	t.Run("failover", func(t *testing.T) { testFailover(t, c) })
	t.Run("kill", func(t *testing.T) { testKillMaster(t, c) })
}

func testMoveSlots(t *testing.T, c *Cluster) {
	slot := Slot("{tag}")
	from := c.MasterOf(slot)
	const keys = 2*moveBatch + 1
	for i := range keys {
		mustDo(t, from, "SET", fmt.Sprintf("{tag}\n%d", i), "v")
	}
	to := c.Masters()[0]
	if to == from {
		to = c.Masters()[1]
	}
	if err := c.MoveSlots(from, to, slot, slot+2); err != nil {
		t.Fatal(err)
	}
	for s := slot; s <= slot+2; s++ {
		if got := c.MasterOf(s); got != to {
			t.Errorf("the master of slot %d is %s, want %s", s, got.Addr(), to.Addr())
		}
	}
	if got := mustDo(t, to, "CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(slot)); got != strconv.Itoa(keys) {
		t.Errorf("%s keys have moved, want %d", got, keys)
	}
	if err := c.MoveSlots(from, from, slot, slot); err == nil {
		t.Error("slots move from a node to itself")
	}
}

// counter counts on keys of one slot until stopped.
type counter struct {
	client rueidis.Client
	stop   context.CancelFunc
	done   chan struct{}
	counts [50]int64
	err    error
}

func newCounter(t *testing.T, c *Cluster) *counter {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: c.Addrs(), DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	n := &counter{client: client, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		for i := 0; ctx.Err() == nil && n.err == nil; i = (i + 1) % len(n.counts) {
			n.counts[i]++
			key := fmt.Sprintf("{load}%d", i)
			n.err = client.Do(context.Background(), client.B().Incr().Key(key).Build()).Error()
		}
	}()
	return n
}

// check stops it and returns an error unless all that it counted is there.
func (n *counter) check() error {
	n.stop()
	<-n.done
	defer n.client.Close()
	if n.err != nil {
		return n.err
	}
	for i, want := range n.counts {
		got, err := n.client.Do(context.Background(), n.client.B().Get().Key(fmt.Sprintf("{load}%d", i)).Build()).AsInt64()
		if err != nil || got != want {
			return fmt.Errorf("{load}%d is %d, %w, want %d", i, got, err, want)
		}
	}
	return nil
}

func testMoveUnderLoad(t *testing.T, c *Cluster) {
	slot := Slot("{load}")
	from := c.MasterOf(slot)
	added, err := c.AddMaster()
	if err != nil {
		t.Fatal(err)
	}
	n := newCounter(t, c)
	for range 10 { // there and back
		if err := c.MoveSlots(from, added, slot, slot); err != nil {
			t.Fatal(err)
		}
		from, added = added, from
	}
	if err := n.check(); err != nil {
		t.Error(err)
	}
	if len(c.Nodes()) != 7 || len(c.Masters()) != 4 {
		t.Errorf("%d nodes, %d masters", len(c.Nodes()), len(c.Masters()))
	}
}

func testFailover(t *testing.T, c *Cluster) {
	master := c.MasterOf(0)
	replica := c.ReplicaOf(master)
	if err := c.Failover(replica); err != nil {
		t.Fatal(err)
	}
	if got := c.MasterOf(0); got != replica {
		t.Fatalf("the master is %s, want %s", got.Addr(), replica.Addr())
	}
	if err := c.WaitOK(joinTime); err != nil {
		t.Fatal(err)
	}
	if got := c.ReplicaOf(replica); got != master {
		t.Errorf("the replica is %v, want the former master", got)
	}
}

func testKillMaster(t *testing.T, c *Cluster) {
	master := c.MasterOf(0)
	replica := c.ReplicaOf(master)
	master.Kill()
	if c.ReplicaOf(replica) != nil || c.MasterOf(0) == nil {
		t.Errorf("after a kill the master is %v", c.MasterOf(0))
	}
	if err := c.WaitOK(joinTime); err != nil {
		t.Fatal(err)
	}
	if got := c.MasterOf(0); got != replica {
		t.Fatalf("the master is %s, want %s", got.Addr(), replica.Addr())
	}
	if err := master.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitOK(joinTime); err != nil {
		t.Fatal(err)
	}
	if got := c.ReplicaOf(replica); got != master {
		t.Errorf("the replica is %v, want the former master", got)
	}
}

func TestClusterWithoutReplicas(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, ClusterOptions{Masters: 2, Replicas: -1, NodeTimeout: 500 * time.Millisecond, RequireFullCoverage: true})
	if len(c.Nodes()) != 2 || len(c.Masters()) != 2 {
		t.Fatalf("%d nodes, %d masters", len(c.Nodes()), len(c.Masters()))
	}
	if got := mustDo(t, c.Nodes()[0], "CONFIG", "GET", "cluster-node-timeout"); got != "cluster-node-timeout\n500" {
		t.Errorf("the timeout is %q", got)
	}
	c.Nodes()[1].Kill()
	if err := c.WaitOK(10 * time.Millisecond); err == nil {
		t.Error("a cluster without half of its slots is said to be well")
	}
}

// Nodes that go on disagreeing about a slot are told whose it is.
func TestClusterIsRepaired(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, ClusterOptions{Replicas: -1})
	from := c.MasterOf(7)
	mustDo(t, from, "CLUSTER", "DELSLOTS", "7")
	if err := c.WaitOK(time.Second); err == nil {
		t.Fatal("they agree by themselves")
	}
	if err := c.repair(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitOK(joinTime); err != nil {
		t.Error(err)
	}
	if got := c.MasterOf(7); got != from {
		t.Errorf("it was given to %v", got)
	}
}
