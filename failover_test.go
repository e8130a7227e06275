package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

const (
	loadWriters       = 16
	loadConversations = 64
)

// load is callers who append and read all the time, through two instances. It
// notes what was acknowledged and who was refused how long.
type load struct {
	t         *testing.T
	instances [2]*assistant.Assistant
	stopped   atomic.Bool
	done      sync.WaitGroup

	mu      sync.Mutex
	acked   map[string]int // guarded by mu: conversation, by id
	refused int            // guarded by mu
	last    time.Time      // guarded by mu: of the last refusal
	first   time.Time      // guarded by mu: since quiet
	pending int            // guarded by mu: acknowledged and kept in a journal
	reasons map[string]int // guarded by mu
}

func startLoad(t *testing.T, redis jackcache.RedisOptions) *load {
	// The budget leaves room for a busy machine: refusals mean Redis.
	patient := func(o *jackcache.Options) {
		o.Budget = 250 * time.Millisecond
		o.Conversation.Window = jackcache.MaxWindow
	}
	l := &load{t: t, acked: make(map[string]int), reasons: make(map[string]int)}
	for i := range l.instances {
		l.instances[i] = instanceOf(t, redis, patient)
	}
	for w := range loadWriters {
		l.done.Go(func() { l.write(w) })
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.stopped.Store(true)
	l.done.Wait()
}

func loadOrg(conversation int) string { return fmt.Sprintf("org-%d", conversation%4) }

func (l *load) conversation(a *assistant.Assistant, i int) jackcache.Conversation {
	return a.Cache.Org(loadOrg(i)).Conversation(phone(i))
}

func (l *load) write(w int) {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for n := 0; !l.stopped.Load(); n++ {
		i := (w + n) % loadConversations
		id := fmt.Sprintf("%d-%d", w, n)
		a, err := l.conversation(l.instances[w%2], i).Append(context.Background(), message(id, "hi"))
		if err == nil {
			l.note(id, i, a.Pending)
			_, err = l.conversation(l.instances[(w+1)%2], i).Messages(context.Background(), jackcache.ReadOptions{Last: 1})
		}
		if err != nil {
			l.refuse(err)
		}
		<-pause.C
	}
}

func (l *load) note(id string, conversation int, pending bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[id] = conversation
	if pending {
		l.pending++
	}
}

func (l *load) refuse(err error) {
	if !typed(err) {
		l.t.Errorf("a call returned %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	l.reasons[reason(err)]++
	l.last = time.Now()
	if l.first.IsZero() {
		l.first = l.last
	}
}

// quiet forgets the refusals so far.
func (l *load) quiet() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused, l.first, l.last, l.reasons = 0, time.Time{}, time.Time{}, make(map[string]int)
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// settle waits until every conversation takes writes on both instances and
// nobody has been refused for a while, and tells what there was.
func (l *load) settle(since time.Time, what string) {
	l.t.Helper()
	eventually(l.t, 60*time.Second, what+": calls succeed again", func() bool {
		l.mu.Lock()
		quiet := l.last.Before(since) || time.Since(l.last) > 500*time.Millisecond
		l.mu.Unlock()
		return quiet && l.count() > 0
	})
	before := l.count()
	eventually(l.t, 60*time.Second, what+": appends go on", func() bool { return l.count() > before+4*loadConversations })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Logf("%s: %d appends acknowledged so far, %d of them while redis did not take them", what, len(l.acked), l.pending)
	if l.refused == 0 {
		l.t.Logf("%s: no call was refused", what)
		return
	}
	l.t.Logf("%s: %d calls refused, all with a typed error, from %v to %v after it", what, l.refused,
		l.first.Sub(since).Round(time.Millisecond), l.last.Sub(since).Round(time.Millisecond))
	for why, n := range l.reasons {
		l.t.Logf("  %6d %s", n, why)
	}
}

var details = regexp.MustCompile(`[0-9.]+:[0-9]+(->)?|[0-9]+`)

// reason is the text of an error without numbers and addresses.
func reason(err error) string { return details.ReplaceAllString(err.Error(), "#") }

// missing returns how many acknowledged appends are not stored, and fails the
// test for what is stored twice. It looks when both instances know who is master
// and have brought there what they acknowledged, and once more where something
// happened meanwhile: on a busy machine a master may be taken for dead at any time.
func (l *load) missing(masters func() []*redistest.Server) (missing int) {
	l.t.Helper()
	var stored map[string]int
	eventually(l.t, 60*time.Second, "a look at what is stored, in peace", func() bool {
		before := l.suspected()
		if !l.restored(masters()) {
			return false
		}
		var err error
		if stored, err = l.stored(); err != nil && !typed(err) {
			l.t.Fatal(err)
		}
		return err == nil && l.restored(masters()) && l.suspected() == before
	})
	for id := range l.acked {
		if stored[id] == 0 {
			missing++
		}
		if stored[id] > 1 {
			l.t.Errorf("%s is stored %d times", id, stored[id])
		}
	}
	return missing
}

// stored returns how often each message is there.
func (l *load) stored() (map[string]int, error) {
	times := make(map[string]int)
	for i := range loadConversations {
		got, err := l.conversation(l.instances[0], i).Messages(l.t.Context(), jackcache.ReadOptions{})
		if err == nil && !got.Complete {
			err = fmt.Errorf("%w: what is known is not all", jackcache.ErrUnavailable)
		}
		if err != nil {
			return nil, err
		}
		for _, m := range got.Messages {
			times[m.ID]++
		}
	}
	return times, nil
}

// restored reports whether the masters are those that both instances know, and
// have all that was acknowledged.
func (l *load) restored(masters []*redistest.Server) bool {
	var addrs []string
	for _, s := range masters {
		addrs = append(addrs, s.Addr())
	}
	slices.Sort(addrs)
	for _, a := range l.instances {
		var known []string
		for _, n := range a.Cache.Health().Store.Nodes {
			known = append(known, n.Addr)
		}
		slices.Sort(known)
		if !slices.Equal(known, addrs) || !settled(a) {
			return false
		}
	}
	return true
}

// suspected returns how often the instances had a server in doubt.
func (l *load) suspected() (times uint64) {
	for _, a := range l.instances {
		times += a.Cache.Health().Journal.Suspected
	}
	return times
}

// running returns those of the servers that answer.
func running(servers ...*redistest.Server) []*redistest.Server {
	return slices.DeleteFunc(servers, func(s *redistest.Server) bool {
		if s == nil {
			return true
		}
		_, err := s.Do("PING")
		return err != nil
	})
}

// mastersOf returns what tells the masters of a Cluster that run.
func mastersOf(c *redistest.Cluster) func() []*redistest.Server {
	return func() []*redistest.Server { return running(c.Masters()...) }
}

// masterOf returns what tells the one master.
func masterOf(d interface{ Master() *redistest.Server }) func() []*redistest.Server {
	return func() []*redistest.Server { return running(d.Master()) }
}

// around runs a fault under load: nothing is restarted, every refusal is typed.
func around(t *testing.T, redis jackcache.RedisOptions, masters func() []*redistest.Server, what string, fault func() error) (missing int) {
	t.Helper()
	l := startLoad(t, redis)
	eventually(t, 60*time.Second, "the load runs", func() bool { return l.count() > 4*loadConversations })
	l.quiet()
	since := time.Now()
	if err := fault(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: done after %v", what, time.Since(since).Round(time.Millisecond))
	l.settle(since, what)
	l.stop()
	return l.missing(masters)
}

// calm keeps a busy machine from looking like a dead server.
var calm = redistest.ClusterOptions{NodeTimeout: 10 * time.Second}

func killed(s *redistest.Server) func() error {
	return func() error { s.Kill(); return nil }
}

// A new master is found without a restart, whatever became of the old one, and
// nothing that was acknowledged is missing on it: what a replica did not have when
// it was promoted, and what a former master took after that, comes from the
// journals.
func TestFailover(t *testing.T) {
	t.Parallel() // most of it is waiting
	t.Run("sentinel/kill", func(t *testing.T) {
		s := redistest.StartSentinel(t, redistest.SentinelOptions{})
		n := around(t, sentinelOptions(s), masterOf(s), "kill -9 of the master", killed(s.Master()))
		if n > 0 {
			t.Errorf("%d acknowledged appends are missing", n)
		}
	})
	t.Run("sentinel/failover", func(t *testing.T) {
		s := redistest.StartSentinel(t, redistest.SentinelOptions{})
		n := around(t, sentinelOptions(s), masterOf(s), "SENTINEL FAILOVER", s.Failover)
		if n > 0 {
			t.Errorf("%d acknowledged appends are missing", n)
		}
	})
	t.Run("replicas/failover", func(t *testing.T) {
		r := redistest.StartReplicated(t, 1)
		var addrs []string
		for _, s := range r.Servers() {
			addrs = append(addrs, s.Addr())
		}
		replica := r.Servers()[1]
		n := around(t, jackcache.RedisOptions{Addrs: addrs}, masterOf(r), "FAILOVER", func() error { return r.Promote(replica) })
		if n > 0 {
			t.Errorf("%d acknowledged appends are missing", n)
		}
	})
	t.Run("cluster/kill", func(t *testing.T) {
		c := redistest.StartCluster(t, redistest.ClusterOptions{})
		n := around(t, clusterOptions(c), mastersOf(c), "kill -9 of a master", killed(c.Masters()[0]))
		if n > 0 {
			t.Errorf("%d acknowledged appends are missing", n)
		}
	})
	t.Run("cluster/failover", func(t *testing.T) {
		c := redistest.StartCluster(t, calm)
		replica := c.ReplicaOf(c.Masters()[0])
		n := around(t, clusterOptions(c), mastersOf(c), "CLUSTER FAILOVER", func() error { return c.Failover(replica) })
		if n > 0 {
			t.Errorf("%d acknowledged appends are missing", n)
		}
	})
	t.Run("cluster/reshard", func(t *testing.T) {
		c := redistest.StartCluster(t, calm)
		from, to := c.MasterOf(0), c.MasterOf(16383)
		move := func() error { return moveConversations(c, from, to) }
		if n := around(t, clusterOptions(c), mastersOf(c), "conversations to another master", move); n > 0 {
			t.Errorf("%d acknowledged appends are missing", n)
		}
	})
	t.Run("cluster/grow", func(t *testing.T) {
		c := redistest.StartCluster(t, calm)
		grow := func() error {
			added, err := c.AddMaster()
			if err != nil {
				return err
			}
			return moveConversations(c, c.MasterOf(0), added)
		}
		if n := around(t, clusterOptions(c), mastersOf(c), "conversations to a new master", grow); n > 0 {
			t.Errorf("%d acknowledged appends are missing", n)
		}
	})
}

// moveConversations moves the slots of a few conversations of the load, which a
// master has, one by one.
func moveConversations(c *redistest.Cluster, from, to *redistest.Server) error {
	const enough = 5
	moved := 0
	for i := 0; i < loadConversations && moved < enough; i++ {
		key := fmt.Sprintf("jack:dev:conversationContexts:%s:%s", loadOrg(i), strings.TrimPrefix(phone(i), "+"))
		slot := redistest.Slot(key)
		if c.MasterOf(slot) != from {
			continue
		}
		if err := c.MoveSlots(from, to, slot, slot); err != nil {
			return err
		}
		moved++
	}
	if moved == 0 {
		return errors.New("the master has no conversation")
	}
	return nil
}

// A server may lack what was acknowledged from the moment on that it is suspected,
// and not only while that is applied again: until then it counts as one that is
// being restored. Here the heartbeat cannot be read, so nothing is applied.
func TestRestoringSinceItIsSuspected(t *testing.T) {
	server := redistest.Start(t)
	without := []string{"~jack:dev:[^_]*", "~jack:dev:__[^b]*", "+@all"} // the keys of heartbeats
	allow(t, server, []string{"~*", "+@all"})
	a := instanceOf(t, jackcache.RedisOptions{Addrs: []string{server.Addr()}, Username: cacheUser, Password: cachePassword}, patient)
	if _, err := a.Cache.Org("org-1").Conversation(phone(1)).Append(t.Context(), message("m1", "hi")); err != nil {
		t.Fatal(err)
	}
	back(t, a)
	before := a.Cache.Health()
	allow(t, server, without)
	do(t, server, "CLIENT", "KILL", "USER", cacheUser)
	eventually(t, 20*time.Second, "the server serves again, and is suspected", func() bool {
		h := a.Cache.Health()
		return h.Store.Reconnects > before.Store.Reconnects && h.Store.State == "up" && h.Journal.Restoring == 1
	})
	if n := a.Cache.Health().Journal.Suspected - before.Journal.Suspected; n != 0 {
		t.Errorf("what it may have lost was applied again %d times, without its heartbeat", n)
	}
	allow(t, server, []string{"~*", "+@all"})
	back(t, a)
}
