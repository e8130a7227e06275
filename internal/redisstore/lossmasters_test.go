package redisstore_test

import (
	"strconv"
	"testing"

	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// do sends commands to a server.
func do(t *testing.T, s *redistest.Server, args ...string) string {
	t.Helper()
	text, err := s.Do(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return text
}

// missingOn returns the positions of acknowledged writes that a server lacks.
func (l *load) missingOn(s *redistest.Server) (lost []store.Position) {
	l.t.Helper()
	all := l.writes()
	names, at := make([]string, len(all)), make(map[string]int, len(all))
	for i, op := range all {
		names[i], at[op.Key.String()] = op.Key.String(), i
	}
	missing, _, err := lacks(s.Addr(), names)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, name := range missing {
		lost = append(lost, store.Position(at[name]+1))
	}
	return lost
}

// A replica that lagged behind is promoted after its master died: the heartbeat
// that it has is older than the first write that it lacks.
func TestLossLaggingReplica(t *testing.T) {
	t.Parallel()
	r := redistest.StartReplicated(t, 1)
	master, replica := r.Servers()[0], r.Servers()[1]
	proxy := redistest.StartProxy(t, master.Addr())
	l := startLoad(t, 4, redisstore.Options{Addrs: []string{master.Addr(), replica.Addr()}})
	l.settled()
	l.written(300)
	l.beaten(master)
	_, port := split(t, proxy.Addr())
	do(t, replica, "REPLICAOF", "127.0.0.1", port)
	eventually(t, "the replica follows through the proxy", func() bool {
		return l.Position() > 0 && len(l.missingOn(replica)) == 0
	})
	l.written(300)
	proxy.Refuse()
	proxy.Cut()
	l.written(1000)
	n := len(l.suspicions())
	master.Kill()
	lost := l.missingOn(replica)
	do(t, replica, "REPLICAOF", "NO", "ONE")
	s := l.suspected(n, "of the replica", func(s store.Suspicion) bool { return s.Server == replica.Addr() })
	t.Logf("%d lost from %d on; from %d, confirmed %v", len(lost), lost[0], s.From, s.Confirmed)
	if len(lost) < 900 || s.From >= lost[0] || s.From == 0 {
		t.Errorf("from %d; the first of %d that are lost is %d", s.From, len(lost), lost[0])
	}
	l.end(replica)
}

// promptly lets a master serve a new replica at once.
var promptly = []string{"--repl-diskless-sync-delay", "0"}

// A master that follows another one for a moment and is master again, all the
// while with its connections open, has what the other one had.
func TestLossSwappedData(t *testing.T) {
	t.Parallel()
	server, other := redistest.Start(t, promptly...), redistest.Start(t, promptly...)
	l := startLoad(t, 4, redisstore.Options{Addrs: []string{server.Addr()}})
	l.settled()
	l.written(300)
	l.beaten(server)
	do(t, other, "REPLICAOF", "127.0.0.1", strconv.Itoa(server.Port()))
	eventually(t, "it is copied", func() bool { return len(l.missingOn(other)) == 0 })
	do(t, other, "REPLICAOF", "NO", "ONE")
	l.written(300)
	n := len(l.suspicions())
	do(t, server, "REPLICAOF", "127.0.0.1", strconv.Itoa(other.Port()))
	eventually(t, "it follows", func() bool { return len(l.missingOn(server)) > 0 })
	lost := l.missingOn(server)
	do(t, server, "REPLICAOF", "NO", "ONE")
	s := l.suspected(n, "after it followed", anySuspicion)
	if s.From >= lost[0] {
		t.Errorf("from %d; the first that is lost is %d", s.From, lost[0])
	}
	l.end(server)
}

// SENTINEL FAILOVER hands nothing over, and the former master acknowledges writes
// for a moment after the promotion.
func TestLossSentinelFailover(t *testing.T) {
	t.Parallel()
	trio := redistest.StartSentinel(t, redistest.SentinelOptions{})
	l := startLoad(t, 16, redisstore.Options{Mode: redisstore.Sentinel, Addrs: trio.Addrs(), Master: trio.MasterName()})
	// What is lost between a promotion and the end of the former master is chance.
	for round := 0; round < 2 || l.lost.Load() == 0 && round < 6; round++ {
		l.settled()
		l.written(500)
		l.beaten(trio.Master())
		l.written(1000)
		n := len(l.suspicions())
		if err := trio.Failover(); err != nil {
			t.Fatal(err)
		}
		now := trio.Master()
		s := l.suspected(n, "of the new master", func(s store.Suspicion) bool { return s.Server == now.Addr() })
		t.Logf("from %d of %d, confirmed %v", s.From, l.Position(), s.Confirmed)
		if s.From == 0 {
			t.Error("the new master has no heartbeat")
		}
	}
	l.end(trio.Master())
	if l.lost.Load() == 0 {
		t.Error("nothing was lost, so nothing was shown")
	}
}
