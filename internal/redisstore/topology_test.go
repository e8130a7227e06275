package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(60 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

func orgOf(t testing.TB, id string) keys.Org {
	t.Helper()
	o, err := keys.ParseOrg(id)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// setter writes values of many organisations.
type setter struct {
	s     *redisstore.Store
	space keys.Space
	clock *clock.Clock
}

func (w setter) set(t testing.TB, org string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	res, err := w.s.Apply(ctx, store.Op{
		Action: store.Set, Key: w.space.Key("organization", orgOf(t, org), keys.NoID), Version: w.clock.Now(),
		TTL: time.Minute, Payload: []byte("1"),
	})
	if err == nil && res.Status != store.Applied {
		return fmt.Errorf("status %d", res.Status)
	}
	return err
}

// slots are those that a write of an organisation touches.
func (w setter) slots(t testing.TB, org string) [2]int {
	o := orgOf(t, org)
	return [2]int{
		redistest.Slot(w.space.Key("organization", o, keys.NoID).String()), redistest.Slot(w.space.Generation(o)),
	}
}

// A dead or hung shard without replica stops the keys that it has, and
// organisations whose generation it has, and nothing else; health says so.
func TestOneDeadShard(t *testing.T) {
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, NodeTimeout: 15 * time.Second})
	w := setter{space: devSpace(t), clock: clock.New(nil, 7, nil)}
	w.s = openWith(t, redisstore.Options{Space: w.space, Mode: redisstore.Cluster, Addrs: c.Addrs()})
	dead := c.MasterOf(0)
	touched := func(org string) bool {
		slots := w.slots(t, org)
		return c.MasterOf(slots[0]) == dead || c.MasterOf(slots[1]) == dead
	}
	orgs := make(map[string]bool)
	for i := range 40 {
		org := fmt.Sprintf("org-%d", i)
		orgs[org] = touched(org)
		if err := w.set(t, org); err != nil {
			t.Fatal(err)
		}
	}
	for name, fault := range map[string]func(){"hung": dead.Freeze, "dead": dead.Kill} {
		fault()
		eventually(t, name+": health is partial", func() bool {
			_ = w.set(t, "org-0") // somebody notices
			return w.s.Health().State == store.Partial
		})
		refused, late := 0, 0
		for org, stopped := range orgs {
			start := time.Now()
			err := w.set(t, org)
			switch {
			case !stopped && err != nil:
				t.Errorf("%s: %s, which lies elsewhere: %v", name, org, err)
			case stopped && !errors.Is(err, store.ErrUnavailable):
				t.Errorf("%s: %s: %v, want ErrUnavailable", name, org, err)
			case stopped && time.Since(start) > 250*time.Millisecond:
				late++
			}
			if stopped {
				refused++
			}
		}
		if late > refused/2 { // a busy machine is late now and then
			t.Errorf("%s: %d of %d were not refused at once", name, late, refused)
		}
		if h := w.s.Health(); !strings.Contains(h.Problem, dead.Addr()) {
			t.Errorf("%s: health does not name %s: %q", name, dead.Addr(), h.Problem)
		}
		dead.Thaw()
	}
	if err := dead.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all keys are served again", func() bool {
		for org := range orgs {
			if w.set(t, org) != nil {
				return false
			}
		}
		return true
	})
}

// A name that leads to another server, while the connection to the former,
// which is a replica now, stays open: the name is looked up again.
func TestNameLeadsElsewhere(t *testing.T) {
	t.Parallel()
	r := redistest.StartReplicated(t, 1)
	proxy := redistest.StartProxy(t, r.Master().Addr())
	w := setter{space: devSpace(t), clock: clock.New(nil, 7, nil)}
	w.s = openWith(t, redisstore.Options{Space: w.space, Addrs: []string{proxy.Addr()}})
	if err := w.set(t, "org-1"); err != nil {
		t.Fatal(err)
	}
	replica := r.Servers()[1]
	if err := r.Promote(replica); err != nil {
		t.Fatal(err)
	}
	proxy.Retarget(replica.Addr())
	eventually(t, "writes reach the new master", func() bool { return w.set(t, "org-1") == nil })
}

// Sentinels that are dead or hung do not stop anything while one is left.
func TestOneSentinelIsEnough(t *testing.T) {
	t.Parallel()
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{})
	trio.Sentinels()[0].Kill()
	trio.Sentinels()[1].Freeze()
	defer trio.Sentinels()[1].Thaw()
	w := setter{space: devSpace(t), clock: clock.New(nil, 7, nil)}
	w.s = openWith(t, redisstore.Options{
		Space: w.space, Mode: redisstore.Sentinel, Addrs: trio.Addrs(), Master: trio.MasterName(),
	})
	if err := w.set(t, "org-1"); err != nil {
		t.Error(err)
	}
}

// What is started before Redis serves when it comes.
func TestStartsBeforeTheCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, NodeTimeout: 15 * time.Second})
	for _, n := range c.Nodes() {
		n.Kill()
	}
	w := setter{space: devSpace(t), clock: clock.New(nil, 7, nil)}
	w.s = openWith(t, redisstore.Options{Space: w.space, Mode: redisstore.Cluster, Addrs: c.Addrs()})
	if err := w.set(t, "org-1"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a Cluster: %v, want ErrUnavailable", err)
	}
	if h := w.s.Health(); h.State != store.Starting || h.Problem == "" {
		t.Errorf("health: %+v, want starting with a problem", h)
	}
	for _, n := range c.Nodes() {
		if err := n.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it serves", func() bool { return w.set(t, "org-1") == nil })
}

// A deployment that is run in another way than the settings say is refused with
// what to set, before anything is written.
func TestWrongMode(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1})
	single := redistest.Start(t)
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{})
	for name, test := range map[string]struct {
		o    redisstore.Options
		want string
	}{
		"standalone to a Cluster":    {redisstore.Options{Addrs: c.Addrs()[:1]}, "REDIS_MODE"},
		"standalone to a Sentinel":   {redisstore.Options{Addrs: trio.Addrs()[:1]}, "is a Sentinel"},
		"cluster to a single server": {redisstore.Options{Mode: redisstore.Cluster, Addrs: []string{single.Addr()}}, "cluster support disabled"},
		"sentinel to a server":       {redisstore.Options{Mode: redisstore.Sentinel, Master: "jack", Addrs: []string{single.Addr()}}, "unknown command"},
		"another master": {
			redisstore.Options{Mode: redisstore.Sentinel, Master: "other", Addrs: trio.Addrs()}, `"other"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.o.Space = devSpace(t)
			w := setter{space: test.o.Space, clock: clock.New(nil, 7, nil), s: openWith(t, test.o)}
			if err := w.set(t, "org-1"); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a write: %v, want ErrUnavailable", err)
			}
			eventually(t, "health says why", func() bool { return strings.Contains(w.s.Health().Problem, test.want) })
			if h := w.s.Health(); h.State == store.Up {
				t.Errorf("health: %+v", h)
			}
		})
	}
}

// A server that refuses writes for now goes on serving reads; writes get a typed
// error, and health says why.
func TestRefusesWrites(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	w := setter{space: devSpace(t), clock: clock.New(nil, 7, nil)}
	w.s = openWith(t, redisstore.Options{Space: w.space, Addrs: []string{server.Addr()}})
	if err := w.set(t, "org-1"); err != nil {
		t.Fatal(err)
	}
	for name, setting := range map[string]struct{ name, value, normal string }{
		"NOREPLICAS": {"min-replicas-to-write", "1", "0"},
		"OOM":        {"maxmemory", "1", "0"},
	} {
		if _, err := server.Do("CONFIG", "SET", setting.name, setting.value); err != nil {
			t.Fatal(err)
		}
		eventually(t, "health names "+name, func() bool {
			h := w.s.Health()
			return h.State == store.Up && strings.Contains(strings.Join(h.Warnings, "\n"), "redis refuses writes: "+name)
		})
		if err := w.set(t, "org-1"); !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrFull) {
			t.Errorf("%s: a write: %v", name, err)
		}
		read, err := w.s.Get(t.Context(), w.space.Key("organization", orgOf(t, "org-1"), keys.NoID))
		if err != nil || !read.Live() {
			t.Errorf("%s: a read: %+v, %v", name, read, err)
		}
		if _, err := server.Do("CONFIG", "SET", setting.name, setting.normal); err != nil {
			t.Fatal(err)
		}
		eventually(t, "health is well", func() bool { return len(w.s.Health().Warnings) == 0 })
	}
}

// While a slot is on its way to a master that has none yet, new keys of the slot
// are written there, and those that are still at the old one are found.
func TestSlotOnItsWay(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, NodeTimeout: 15 * time.Second})
	w := setter{space: devSpace(t), clock: clock.New(nil, 7, nil)}
	w.s = openWith(t, redisstore.Options{Space: w.space, Mode: redisstore.Cluster, Addrs: c.Addrs()})
	slot := strconv.Itoa(w.slots(t, "org-1")[0])
	from := c.MasterOf(w.slots(t, "org-1")[0])
	to, err := c.AddMaster()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(s *redistest.Server, args ...string) string {
		t.Helper()
		text, err := s.Do(args...)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", ask(from, "CLUSTER", "MYID"))
	ask(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", ask(to, "CLUSTER", "MYID"))
	eventually(t, "a new key is written where the slot goes", func() bool { return w.set(t, "org-1") == nil })
	if n := ask(to, "CLUSTER", "COUNTKEYSINSLOT", slot); n != "1" {
		t.Errorf("%s keys at the new master, want 1", n)
	}
	read, err := w.s.Get(t.Context(), w.space.Key("organization", orgOf(t, "org-1"), keys.NoID))
	if err != nil || !read.Live() {
		t.Errorf("a read on the way: %+v, %v", read, err)
	}
	for _, n := range c.Masters() {
		ask(n, "CLUSTER", "SETSLOT", slot, "NODE", ask(to, "CLUSTER", "MYID"))
	}
	ask(to, "CLUSTER", "SETSLOT", slot, "NODE", ask(to, "CLUSTER", "MYID"))
	if err := w.set(t, "org-1"); err != nil {
		t.Errorf("after the slot arrived: %v", err)
	}
}
