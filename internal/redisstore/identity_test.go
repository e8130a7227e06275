package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// note is a record in memory.
type note struct {
	mu        sync.Mutex
	id, place string // guarded by mu
}

func (n *note) ID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.id
}

func (n *note) Place() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.place
}

func (n *note) Remember(id, place string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id, n.place = id, place
	return nil
}

func (n *note) Path() string { return "data/store" }

const storeKey = "jack:dev:__store"

func idIn(t *testing.T, s *redistest.Server) string {
	t.Helper()
	text, err := s.Do("GET", storeKey)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

// write writes a value and returns the error.
func write(t *testing.T, s *redisstore.Store, id string) error {
	t.Helper()
	o, err := keys.ParseOrg("org")
	if err != nil {
		t.Fatal(err)
	}
	i, err := keys.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = s.Apply(ctx, store.Op{
		Action: store.Set, Key: devSpace(t).Key("lead", o, i), Version: clock.New(nil, 1, nil).Now(), TTL: time.Hour, Payload: []byte("1"),
	})
	return err
}

// await polls until done.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// refused opens a store and returns why that is refused. A server that gets no turn
// while it is asked is no reason: then the store opens, and finds out later.
func refused(t *testing.T, o redisstore.Options) (err error) {
	t.Helper()
	for range 5 {
		s, err := redisstore.Open(t.Context(), options(o))
		if err != nil {
			return err
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error("close:", err)
		}
	}
	return nil
}

// openKnown opens a store and waits until it knows which one it is.
func openKnown(t *testing.T, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s := openWith(t, o)
	await(t, "it serves", func() bool { return s.Health().State == store.Up })
	return s
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	first, second := &note{}, &note{}
	openKnown(t, redisstore.Options{Space: devSpace(t), Addrs: []string{server.Addr()}, Identity: &redisstore.Identity{Record: first}})
	openKnown(t, redisstore.Options{Space: devSpace(t), Addrs: []string{server.Addr()}, Identity: &redisstore.Identity{Record: second}})
	id := idIn(t, server)
	if len(id) != 36 || first.ID() != id || second.ID() != id {
		t.Errorf("redis has %q, the records %q and %q; want one id", id, first.ID(), second.ID())
	}
	other := &note{id: "other"}
	o := redisstore.Options{Space: devSpace(t), Addrs: []string{server.Addr()}, Identity: &redisstore.Identity{Record: other}}
	err := refused(t, o)
	if !errors.Is(err, store.ErrWrongStore) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "other") {
		t.Errorf("another redis: %v", err)
	}
	o.Identity.Adopt = true
	if err := write(t, openKnown(t, o), "adopted"); err != nil || other.ID() != id {
		t.Errorf("adopted: %v; the record has %q", err, other.ID())
	}
}

// An empty database in another place is not the store that lost its data: it is
// refused and gets nothing; adopted it gets an id of its own.
func TestIdentityElsewhere(t *testing.T) {
	t.Parallel()
	server, record := redistest.Start(t), &note{}
	o := redisstore.Options{Space: devSpace(t), Addrs: []string{server.Addr()}, Identity: &redisstore.Identity{Record: record}}
	openKnown(t, o)
	id, place := record.ID(), record.Place()
	o.DB = 1
	err := refused(t, o)
	if !errors.Is(err, store.ErrWrongStore) {
		t.Fatalf("an empty database: %v", err)
	}
	for _, want := range []string{"holds no data", place, "database 1", id, "--adopt"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not name %q: %v", want, err)
		}
	}
	if text, err := server.Do("INFO", "keyspace"); err != nil || !strings.Contains(text, "db0:") || strings.Contains(text, "db1:") {
		t.Errorf("the databases have %q, %v", text, err)
	}
	if record.ID() != id || record.Place() != place {
		t.Errorf("the record has %q in %q now", record.ID(), record.Place())
	}
	o.Identity = &redisstore.Identity{Record: record, Adopt: true}
	s := openKnown(t, o)
	if warnings := s.Health().Warnings; record.ID() == id || !strings.HasSuffix(record.Place(), "database 1") || len(warnings) > 0 {
		t.Errorf("adopted: the record has %q in %q, warnings %q", record.ID(), record.Place(), warnings)
	}
	o.DB, o.Identity = 0, &redisstore.Identity{Record: record}
	if err := refused(t, o); !errors.Is(err, store.ErrWrongStore) {
		t.Errorf("the first one after that: %v", err)
	}
}

// The id tells the store wherever it is found; the record follows it. A record
// without a place learns it.
func TestIdentityMoved(t *testing.T) {
	t.Parallel()
	server, record := redistest.Start(t), &note{}
	o := redisstore.Options{Space: devSpace(t), Addrs: []string{server.Addr()}, Identity: &redisstore.Identity{Record: record}}
	openKnown(t, o)
	id, place := record.ID(), record.Place()
	for _, before := range []string{"", "standalone redis.example:6379, database 3"} {
		if err := record.Remember(id, before); err != nil {
			t.Fatal(err)
		}
		if err := write(t, openKnown(t, o), "moved"); err != nil || record.ID() != id || record.Place() != place {
			t.Errorf("from %q: %v; the record has %q in %q", before, err, record.ID(), record.Place())
		}
	}
}

// An address that leads to another redis after an outage gets not one write,
// and the right one is served again when it is there.
func TestIdentityAfterReconnect(t *testing.T) {
	t.Parallel()
	right, wrong := redistest.Start(t), redistest.Start(t)
	if _, err := wrong.Do("SET", storeKey, "wrong"); err != nil {
		t.Fatal(err)
	}
	var addr atomic.Value
	addr.Store(right.Addr())
	s := openWith(t, redisstore.Options{
		Space: devSpace(t), Addrs: []string{"redis.example:6379"}, Identity: &redisstore.Identity{Record: &note{}, Adopt: true},
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr.Load().(string))
		},
	})
	if err := write(t, s, "1"); err != nil {
		t.Fatal(err)
	}
	addr.Store(wrong.Addr())
	right.Kill()
	await(t, "the wrong redis is refused", func() bool {
		err := write(t, s, "2")
		if err == nil {
			t.Fatal("a write went to the wrong redis")
		}
		return errors.Is(err, store.ErrWrongStore)
	})
	if err := s.Away(devSpace(t).Key("lead", keys.Org{}, keys.ID{})); err != nil {
		t.Errorf("away: %v; want nothing: a write has to be asked for, to be told why", err)
	}
	if h := s.Health(); !h.Blocked || !strings.Contains(h.Problem, "wrong") {
		t.Errorf("health %+v", h)
	}
	if text, err := wrong.Do("KEYS", "jack:dev:lead*"); err != nil || strings.TrimSpace(text) != "" {
		t.Errorf("the wrong redis has %q, %v", text, err)
	}
	addr.Store(right.Addr())
	if err := right.Restart(); err != nil {
		t.Fatal(err)
	}
	wrong.Kill()
	await(t, "the right redis is served again", func() bool { return write(t, s, "3") == nil })
	if h := s.Health(); h.Blocked {
		t.Errorf("health %+v", h)
	}
}

// A redis that lost its data gets its id back, and health tells of the loss.
func TestIdentityOfALostStore(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	record := &note{}
	s := openKnown(t, redisstore.Options{Space: devSpace(t), Addrs: []string{server.Addr()}, Identity: &redisstore.Identity{Record: record}})
	told := func() bool { return strings.Contains(strings.Join(s.Health().Warnings, "\n"), "lost its data") }
	if told() {
		t.Fatal("a new redis is taken for one that lost its data")
	}
	if err := server.Restart(); err != nil { // it persists nothing
		t.Fatal(err)
	}
	await(t, "it serves again", func() bool { return write(t, s, "1") == nil })
	if got := idIn(t, server); got != record.ID() || !told() {
		t.Errorf("redis has the id %q, want %q; told: %v", got, record.ID(), told())
	}
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	await(t, "the id is there again after FLUSHALL", func() bool { return idIn(t, server) == record.ID() })
}

// In a Cluster there is one id, whichever master is asked.
func TestIdentityInACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{})
	record := &note{}
	o := redisstore.Options{Space: devSpace(t), Mode: redisstore.Cluster, Addrs: c.Addrs()[:1], Identity: &redisstore.Identity{Record: record}}
	s := openWith(t, o)
	await(t, "all of it serves", func() bool { return s.Health().State == store.Up })
	if len(record.ID()) != 36 {
		t.Errorf("the record has %q", record.ID())
	}
	o.Identity = &redisstore.Identity{Record: &note{id: "other"}}
	if err := refused(t, o); !errors.Is(err, store.ErrWrongStore) {
		t.Errorf("another Cluster: %v", err)
	}
}
