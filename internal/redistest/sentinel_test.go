package redistest

import (
	"slices"
	"testing"
	"time"
)

// TestSentinel has one set of servers for all that can happen to it.
func TestSentinel(t *testing.T) {
	t.Parallel()
	// More than the default: no failover for a pause of the machine.
	s := StartSentinel(t, SentinelOptions{DownAfter: 2 * time.Second})
	if len(s.Servers()) != 3 || len(s.Sentinels()) != 3 || len(s.Addrs()) != 3 {
		t.Fatalf("%d servers, %d sentinels", len(s.Servers()), len(s.Sentinels()))
	}
	if got := s.Master(); got != s.Servers()[0] || s.MasterName() != "jack" {
		t.Fatalf("the master %q is %v", s.MasterName(), got)
	}
	t.Run("failover", func(t *testing.T) { testSentinelFailover(t, s) })
	t.Run("restart of a sentinel", func(t *testing.T) { testRestartSentinel(t, s) })
	t.Run("kill", func(t *testing.T) { testKillWatched(t, s) })
}

func testSentinelFailover(t *testing.T, s *Sentinel) {
	before := s.Master()
	mustDo(t, before, "SET", "k", "v")
	if err := s.Failover(); err != nil {
		t.Fatal(err)
	}
	after := s.Master()
	if after == before || after.followers() != 2 {
		t.Errorf("the master was %s and is %s", before.Addr(), after.Addr())
	}
	if got := mustDo(t, after, "GET", "k"); got != "v" {
		t.Errorf("after the failover k = %q", got)
	}
}

func testRestartSentinel(t *testing.T, s *Sentinel) {
	one, master := s.Sentinels()[0], s.Master()
	if err := one.Restart(); err != nil {
		t.Fatal(err)
	}
	w, err := ask(one)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.server(w["port"]); got != master || w["num-other-sentinels"] != "2" {
		t.Errorf("after its restart the master is %v, and it knows %s others", got, w["num-other-sentinels"])
	}
}

func testKillWatched(t *testing.T, s *Sentinel) {
	master := s.Master()
	master.Kill()
	s.Sentinels()[0].Freeze() // two are a majority
	if err := s.WaitReady(joinTime); err != nil {
		t.Fatal(err)
	}
	after := s.Master()
	if after == master {
		t.Fatal("the dead server is still the master")
	}
	if err := master.Restart(); err != nil {
		t.Fatal(err)
	}
	s.Sentinels()[0].Thaw()
	if err := s.WaitReady(joinTime); err != nil {
		t.Fatal(err)
	}
	if s.Master() != after {
		t.Error("the master has changed once more")
	}
}

func TestReplicated(t *testing.T) {
	t.Parallel()
	r := StartReplicated(t, 2, "--maxmemory", "50mb")
	master := r.Master()
	if master != r.Servers()[0] || master.followers() != 2 {
		t.Fatalf("the master is %v", master)
	}
	mustDo(t, master, "SET", "k", "v")
	replica := r.Servers()[1]
	if err := r.Promote(replica); err != nil {
		t.Fatal(err)
	}
	if r.Master() != replica || replica.followers() != 2 {
		t.Errorf("the master is %s, want %s", r.Master().Addr(), replica.Addr())
	}
	if got := mustDo(t, replica, "GET", "k"); got != "v" {
		t.Errorf("after the promotion k = %q", got)
	}
	if err := master.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitReady(startTime); err != nil {
		t.Fatal(err)
	}
	if r.Master() != replica {
		t.Error("the former master comes back as a master")
	}
	if got := mustDo(t, master, "CONFIG", "GET", "maxmemory"); got != "maxmemory\n52428800" {
		t.Errorf("after a restart %q", got)
	}
	for _, s := range r.Servers() {
		s.Kill()
	}
	if m := r.Master(); m != nil || slices.ContainsFunc(r.Servers(), (*Server).answers) {
		t.Errorf("dead servers have the master %v", m)
	}
}
