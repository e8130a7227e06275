package redistest

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// joinTime bounds how long a Cluster may take to agree, and a resharding or a
// failover to be known everywhere.
const joinTime = 30 * time.Second

// failoverAgain is when a replica is asked again to take its master's place: a node
// that was busy may have let the time pass within which it has to be done, 5 s.
const failoverAgain = 6 * time.Second

// ClusterOptions are those of a Cluster.
type ClusterOptions struct {
	Masters  int // 0 means 3
	Replicas int // of each master; 0 means 1, less means none

	// NodeTimeout is how long a node may be silent before the others hold it
	// for failing: cluster-node-timeout. 0 means 1 s.
	NodeTimeout time.Duration
	// RequireFullCoverage makes the whole Cluster refuse when one shard is
	// down. Without it, only the slots of that shard fail.
	RequireFullCoverage bool

	Security Security
	// Args are added to the options of each node.
	Args []string
}

func (o ClusterOptions) withDefaults() ClusterOptions {
	if o.Masters == 0 {
		o.Masters = 3
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	o.Replicas = max(o.Replicas, 0)
	if o.NodeTimeout == 0 {
		o.NodeTimeout = time.Second
	}
	return o
}

func (o ClusterOptions) setup() setup {
	coverage := "no"
	if o.RequireFullCoverage {
		coverage = "yes"
	}
	args := append(o.Security.args(),
		"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-announce-ip", host,
		"--cluster-node-timeout", strconv.FormatInt(o.NodeTimeout.Milliseconds(), 10),
		"--cluster-require-full-coverage", coverage,
		// A replica is promoted however long it has not heard its master, and
		// replicas stay where the test has put them.
		"--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no")
	args = append(args, replication()...)
	return setup{args: append(args, o.Args...), tls: o.Security.client()}
}

// Cluster is a Redis Cluster on loopback. Its methods ask the nodes each time,
// and are safe for concurrent use.
type Cluster struct {
	dir string
	how setup

	mu    sync.Mutex
	nodes []*Server // guarded by mu
}

// StartCluster runs a Cluster in a directory of the test until the test ends.
// Every slot is served and every replica is in sync when it returns, after
// two to three seconds: a master waits for two before it serves.
func StartCluster(t testing.TB, o ClusterOptions) *Cluster {
	t.Helper()
	c, err := LaunchCluster(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// LaunchCluster is StartCluster without a test. The caller owns dir and calls
// Close.
func LaunchCluster(dir string, o ClusterOptions) (*Cluster, error) {
	o = o.withDefaults()
	how := o.setup()
	nodes, err := launchAll(dir, "node", o.Masters*(1+o.Replicas), how)
	if err != nil {
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	c := &Cluster{dir: dir, how: how, nodes: nodes}
	if err := c.form(o); err != nil {
		c.Close()
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	return c, nil
}

// form makes one Cluster of nodes that do not know each other. The masters
// come first, then the first replica of each, and so on.
func (c *Cluster) form(o ClusterOptions) error {
	nodes := c.Nodes()
	masters, replicas := nodes[:o.Masters], nodes[o.Masters:]
	if err := prepare(nodes, masters); err != nil {
		return err
	}
	// Every node is introduced to every other, which is faster than to wait
	// for gossip.
	for i, s := range nodes {
		if err := s.meet(nodes[i+1:]); err != nil {
			return err
		}
	}
	if err := c.waitKnown(); err != nil {
		return err
	}
	for i, s := range replicas {
		id, err := masters[i%o.Masters].Do("CLUSTER", "MYID")
		if err != nil {
			return err
		}
		if _, err := s.Do("CLUSTER", "REPLICATE", id); err != nil {
			return err
		}
	}
	return c.WaitOK(joinTime)
}

// prepare divides the slots among the masters, and gives all nodes different
// epochs, which saves them the time that they need to sort them out.
func prepare(nodes, masters []*Server) error {
	for i, s := range nodes {
		if _, err := s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
	}
	for i, s := range masters {
		low, high := i*Slots/len(masters), (i+1)*Slots/len(masters)-1
		if _, err := s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(low), strconv.Itoa(high)); err != nil {
			return err
		}
	}
	return nil
}

// meet introduces a node to others, which takes until waitKnown.
func (s *Server) meet(others []*Server) error {
	for _, other := range others {
		if _, err := s.Do("CLUSTER", "MEET", host, strconv.Itoa(other.Port())); err != nil {
			return err
		}
	}
	return nil
}

// waitKnown returns when each node that runs knows all.
func (c *Cluster) waitKnown() error {
	return poll(joinTime, func() error {
		views, err := c.views()
		if err != nil {
			return err
		}
		return c.complete(views)
	})
}

// AddMaster runs one more node, a master without slots, and returns it when
// all nodes that run know it and it serves, after two to three seconds.
// MoveSlots gives it slots.
func (c *Cluster) AddMaster() (*Server, error) {
	others := c.Nodes()
	s, err := launch(filepath.Join(c.dir, "node"+strconv.Itoa(len(others))), c.how)
	if err != nil {
		return nil, fmt.Errorf("add a master: %w", err)
	}
	c.mu.Lock()
	c.nodes = append(c.nodes, s)
	c.mu.Unlock()
	err = s.meet(others)
	if err == nil {
		err = c.waitKnown()
	}
	if err == nil {
		err = poll(joinTime, s.inService)
	}
	if err != nil {
		return nil, fmt.Errorf("add a master: %w", err)
	}
	return s, nil
}

// Close ends all nodes.
func (c *Cluster) Close() { closeAll(c.Nodes()) }

// Nodes returns all nodes, those that do not run included.
func (c *Cluster) Nodes() []*Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// Addrs returns the addresses of Nodes.
func (c *Cluster) Addrs() []string { return addrs(c.Nodes()) }

func addrs(servers []*Server) []string {
	all := make([]string, 0, len(servers))
	for _, s := range servers {
		all = append(all, s.Addr())
	}
	return all
}

// Masters returns the nodes that the Cluster now holds for masters. One that
// has died counts until a replica has taken its place.
func (c *Cluster) Masters() []*Server {
	return c.find(func(m member) bool { return m.has("master") })
}

// Replicas returns the nodes that the Cluster now holds for replicas, those
// that do not run included.
func (c *Cluster) Replicas() []*Server {
	return c.find(func(m member) bool { return m.has("slave") })
}

// MasterOf returns the node that the Cluster now holds for the owner of slot,
// nil when it has none.
func (c *Cluster) MasterOf(slot int) *Server {
	return first(c.find(func(m member) bool { return m.owns(slot) }))
}

// ReplicaOf returns a replica of master that runs, nil when it has none.
func (c *Cluster) ReplicaOf(master *Server) *Server {
	id := c.newest().id(master)
	for _, s := range c.find(func(m member) bool { return id != "" && m.master == id }) {
		if s.answers() {
			return s
		}
	}
	return nil
}

func first(servers []*Server) *Server {
	if len(servers) == 0 {
		return nil
	}
	return servers[0]
}

// WaitOK returns when each slot is served by a master that runs, all nodes
// that run agree about it, and all replicas that run are in sync with their
// masters. Where they go on disagreeing about a slot for repairAfter, it is told to
// them. It returns an error when that is not so after timeout.
func (c *Cluster) WaitOK(timeout time.Duration) error {
	began := time.Now()
	err := poll(timeout, func() error {
		err := c.check()
		if err == nil || time.Since(began) < repairAfter {
			return err
		}
		began = time.Now()
		return errors.Join(err, c.repair())
	})
	if err != nil {
		return fmt.Errorf("wait for the cluster: %w", err)
	}
	return nil
}

// Failover makes replica the master of its shard (CLUSTER FAILOVER), without
// loss, and returns when all nodes that run know it.
func (c *Cluster) Failover(replica *Server) error {
	if _, err := replica.Do("CLUSTER", "FAILOVER"); err != nil {
		return fmt.Errorf("fail over to %s: %w", replica.Addr(), err)
	}
	asked := time.Now()
	err := poll(joinTime, func() error {
		if time.Since(asked) > failoverAgain {
			_, _ = replica.Do("CLUSTER", "FAILOVER") // refused where it is the master by now
			asked = time.Now()
		}
		views, err := c.views()
		if err != nil {
			return err
		}
		for _, v := range views {
			if m := v.member(replica); m == nil || !m.has("master") {
				return errors.New("a node does not know it yet")
			}
		}
		return agree(views)
	})
	if err != nil {
		return fmt.Errorf("fail over to %s: %w", replica.Addr(), err)
	}
	return nil
}
