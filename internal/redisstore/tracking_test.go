package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// bound is how old what is served as fresh may be.
const bound = time.Second

// heard is a Listener that counts.
type heard struct {
	mu    sync.Mutex
	names map[string]int // guarded by mu
}

func (h *heard) Ended(keys.Org, uint64) {}

func (h *heard) Changed(names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.names == nil {
		h.names = make(map[string]int)
	}
	for _, name := range names {
		h.names[strings.Clone(name)]++
	}
}

func (h *heard) count(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.names[name]
}

func listening(o *Options) *heard {
	h := &heard{}
	o.Listener = h
	return h
}

// openHearing opens a store that hears of changes, on one server.
func openHearing(t *testing.T, addr string) (*Store, *heard) {
	t.Helper()
	var h *heard
	s := openWith(t, addr, func(o *Options) { h = listening(o) })
	return s, h
}

// fresh reports whether something is proven about a server now.
func fresh(c *store.Cover) bool {
	return c != nil && c.Fresh(c.Epoch(), store.Now(), bound)
}

// covered reports whether both covers of a key are proven now.
func covered(s *Store, k keys.Key) bool {
	c := coversOf(s, k)
	return fresh(c.Key) && fresh(c.Generation)
}

func tracked(t *testing.T, s *Store) store.TrackingHealth {
	t.Helper()
	h := s.Health()
	if len(h.Nodes) == 0 {
		return store.TrackingHealth{}
	}
	return h.Nodes[0].Tracking
}

func send(t testing.TB, s *redistest.Server, args ...string) string {
	t.Helper()
	text, err := s.Do(args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return text
}

// taps are the ids of connections to which a server tells what changes.
func taps(t testing.TB, server *redistest.Server) (ids []string) {
	t.Helper()
	for line := range strings.SplitSeq(send(t, server, "CLIENT", "LIST"), "\n") {
		fields := make(map[string]string)
		for _, f := range strings.Fields(line) {
			name, value, _ := strings.Cut(f, "=")
			fields[name] = value
		}
		if strings.Contains(fields["flags"], "B") {
			ids = append(ids, fields["id"])
		}
	}
	return ids
}

// Every writer is heard, whatever it does, and a change that is none is not. What
// concerns the keys of others is not told.
func TestEveryWriterIsHeard(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	begun := time.Now()
	s, h := openHearing(t, server.Addr())
	k := mustKey(t, s, "x")
	soon(t, "something is proven", func() bool { return covered(s, k) })
	t.Logf("proven %v after Open began", time.Since(begun))
	if got := taps(t, server); len(got) != 1 {
		t.Errorf("%d connections that are told, want 1", len(got))
	}
	name := k.String()
	for _, do := range [][]string{
		{"SET", name, "1"}, {"SET", name, "1"}, {"APPEND", name, "2"}, {"EXPIRE", name, "100"}, {"PERSIST", name},
		{"EVAL", "return redis.call('SET', KEYS[1], '3')", "1", name}, {"RENAME", name, name + "-2"}, {"SET", name, "1"}, {"DEL", name},
		{"SET", name, "1", "PX", "5"}, // and its end
		{"RPUSH", name + "-3", "x"},
	} {
		concerned := do[1]
		if do[0] == "EVAL" {
			concerned = do[3]
		}
		before := h.count(concerned)
		send(t, server, do...)
		soon(t, strings.Join(do, " "), func() bool { return h.count(concerned) > before })
	}
	before := h.count(name)
	soon(t, "the end of its life is told", func() bool {
		send(t, server, "GET", name)
		return h.count(name) > before || send(t, server, "EXISTS", name) == "0"
	})
	quiet := h.count(name)
	send(t, server, "GET", name)
	send(t, server, "DEL", name)
	send(t, server, "SET", "other:prefix", "1")
	send(t, server, "SET", name+"-last", "1")
	soon(t, "what came after", func() bool { return h.count(name+"-last") > 0 })
	if h.count(name) > quiet+1 || h.count("other:prefix") != 0 {
		t.Errorf("told of what did not change: %d more of the key, %d of others", h.count(name)-quiet, h.count("other:prefix"))
	}
	if th := tracked(t, s); !th.Proven || th.Age > bound || th.Since.IsZero() {
		t.Errorf("health: %+v", th)
	}
}

// Canaries leave nothing on the server.
func TestCanariesLeaveNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, _ := openHearing(t, server.Addr())
	soon(t, "ten canaries flew", func() bool { return s.canaries.Load() >= 10 })
	soon(t, "no key of them is left", func() bool { return send(t, server, "KEYS", "*__canary*") == "" })
}

// Without a Listener nobody is told of anything, and nothing is covered.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server.Addr())
	settled(t, s)
	if c := coversOf(s, mustKey(t, s, "x")); c != (store.Covers{}) {
		t.Errorf("covers: %+v", c)
	}
	if got := taps(t, server); len(got) != 0 || s.canaries.Load() != 0 {
		t.Errorf("%d connections that are told", len(got))
	}
	if th := tracked(t, s); th != (store.TrackingHealth{}) {
		t.Errorf("health: %+v", th)
	}
}

// When the connection that is told ends nothing is fresh from that moment on, and
// what was read before is not when a new one is there.
func TestTapIsKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, h := openHearing(t, server.Addr())
	k := mustKey(t, s, "x")
	var noticed []time.Duration
	for range 10 {
		soon(t, "something is proven", func() bool { return covered(s, k) })
		c := coversOf(s, k).Key
		epoch, before := c.Epoch(), store.Now()
		for _, id := range taps(t, server) {
			send(t, server, "CLIENT", "KILL", "ID", id)
		}
		soon(t, "the end is noticed", func() bool { return c.Epoch() != epoch })
		noticed = append(noticed, time.Duration(store.Now()-before))
		between := epoch + 1 // it may be over: a busy machine is late now and then
		soon(t, "something is proven again", func() bool { return covered(s, k) })
		t.Logf("proven again after %v", time.Duration(store.Now()-before))
		if c != coversOf(s, k).Key || c.Fresh(epoch, store.Now(), bound) {
			t.Error("what was read before the end is fresh again")
		}
		if c.Fresh(between, store.Now(), bound) || c.Epoch() == between {
			t.Error("what was read while nobody was told is fresh")
		}
		n := h.count(k.String())
		send(t, server, "SET", k.String(), "1")
		soon(t, "changes are told", func() bool { return h.count(k.String()) > n })
	}
	// By the end of the connection, and not by canaries that do not come back. A busy
	// machine is late now and then.
	if slices.Sort(noticed); noticed[len(noticed)/2] > 200*time.Millisecond {
		t.Errorf("it was noticed after %v", noticed)
	}
	if n := s.layout.Load().masters[0]; n.reconnects.Load() != 0 || !n.breaker.Allow() {
		t.Error("calls noticed something")
	}
}

// Emptying the server makes everything old, and something is proven again soon, on
// the same connection.
func TestFlushIsHeard(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, _ := openHearing(t, server.Addr())
	k := mustKey(t, s, "x")
	soon(t, "something is proven", func() bool { return covered(s, k) })
	tap := fmt.Sprint(taps(t, server))
	for _, flush := range []string{"FLUSHALL", "FLUSHDB"} {
		soonest := time.Hour // a busy machine is late now and then
		for range 3 {
			c := coversOf(s, k).Key
			epoch, before := c.Epoch(), store.Now()
			send(t, server, flush)
			soon(t, flush+" is noticed", func() bool { return c.Epoch() != epoch })
			soon(t, "something is proven again", func() bool { return covered(s, k) })
			soonest = min(soonest, time.Duration(store.Now()-before))
		}
		if soonest > bound {
			t.Errorf("%s: proven again after %v", flush, soonest)
		}
	}
	if now := fmt.Sprint(taps(t, server)); now != tap {
		t.Errorf("told on %s, then on %s", tap, now)
	}
}

// What a server that hangs was asked last is fresh no longer than the bound, and
// something is proven again when it goes on.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, _ := openHearing(t, server.Addr())
	k := mustKey(t, s, "x")
	soon(t, "something is proven", func() bool { return covered(s, k) })
	c := coversOf(s, k).Key
	epoch := c.Epoch()
	server.Freeze()
	defer server.Thaw()
	frozen := store.Now()
	soon(t, "nothing is fresh", func() bool {
		now := store.Now()
		if !c.Fresh(epoch, now, bound) {
			return true
		}
		if now-frozen > int64(bound) {
			t.Fatal("fresh longer than the bound")
		}
		return false
	})
	soon(t, "health says why", func() bool { th := tracked(t, s); return !th.Proven && th.Problem != "" })
	thawed := store.Now()
	server.Thaw()
	soon(t, "something is proven again", func() bool { return covered(s, k) })
	t.Logf("proven again after %v", time.Duration(store.Now()-thawed))
}

// A server that becomes a replica proves nothing, and what was read before is not
// fresh when it is a master again, as it has another past.
func TestDemotedAndPromoted(t *testing.T) {
	t.Parallel()
	server, other := redistest.Start(t), redistest.Start(t)
	s, _ := openHearing(t, server.Addr())
	k := mustKey(t, s, "x")
	soon(t, "something is proven", func() bool { return covered(s, k) })
	c := coversOf(s, k).Key
	epoch := c.Epoch()
	send(t, server, "REPLICAOF", other.Host(), fmt.Sprint(other.Port()))
	soon(t, "nothing is fresh", func() bool { return !covered(s, k) && c.Epoch() != epoch })
	soon(t, "it follows", func() bool { return strings.Contains(send(t, server, "INFO", "replication"), "master_link_status:up") })
	if covered(s, k) {
		t.Error("a replica proves something")
	}
	send(t, server, "REPLICAOF", "NO", "ONE")
	soon(t, "something is proven again", func() bool { return covered(s, k) })
	if c.Fresh(epoch, store.Now(), bound) {
		t.Error("what was read before is fresh")
	}
}

// What was read from a master is not fresh from the moment on when another one
// takes its place.
func TestMasterIsReplaced(t *testing.T) {
	t.Parallel()
	first, second := redistest.Start(t), redistest.Start(t)
	s, _ := openHearing(t, first.Addr())
	k := mustKey(t, s, "x")
	soon(t, "something is proven", func() bool { return covered(s, k) })
	former := coversOf(s, k).Key
	if err := s.adopt(found{masters: []string{second.Addr()}}); err != nil {
		t.Fatal(err)
	}
	if fresh(former) || former == coversOf(s, k).Key {
		t.Error("what was read from the former master is fresh")
	}
	soon(t, "something is proven about the new one", func() bool { return covered(s, k) })
}
