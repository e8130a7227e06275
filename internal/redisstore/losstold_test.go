package redisstore_test

import (
	"regexp"
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
)

// silent is a Listener.
type silent struct{}

func (silent) Ended(keys.Org, uint64) {}

func (silent) Changed([]string) {}

// tapOf finds the connection on which a server tells what changes.
var tapOf = regexp.MustCompile(`(?m)^id=(\d+) .* flags=[^ ]*B`)

// That a server was emptied is noticed as soon as it tells so, not at the next
// heartbeat. The end of the connection on which it would tell looks the same, and its
// heartbeat says then that nothing was lost.
func TestLossTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := startLoad(t, 2, redisstore.Options{Addrs: []string{server.Addr()}, Listener: silent{}})
	hears := func() bool {
		h := l.s.Health()
		return len(h.Nodes) > 0 && h.Nodes[0].Tracking.Proven
	}
	told := 0
	for range 4 {
		l.settled()
		eventually(t, "the server tells what changes", hears)
		l.written(50)
		l.beaten(server)
		n := len(l.suspicions())
		if _, err := server.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
		s := l.suspected(n, "certain", confirmed)
		if s.Reason == "it may have been emptied" {
			told++ // otherwise it was time for a heartbeat
		}
		if s.From != 0 {
			t.Errorf("the suspicion is %+v", s)
		}
	}
	if told == 0 {
		t.Error("it is noticed by heartbeats alone")
	}
	l.settled()
	eventually(t, "the server tells what changes", hears)
	l.beaten(server)
	n := len(l.suspicions())
	clients, err := server.Do("CLIENT", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	tap := tapOf.FindStringSubmatch(clients)
	if tap == nil {
		t.Fatalf("no connection on which changes are told in %s", clients)
	}
	if _, err := server.Do("CLIENT", "KILL", "ID", tap[1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end is noticed", func() bool { return !hears() })
	eventually(t, "the server tells what changes", hears)
	l.settled()
	if all := l.suspicions()[n:]; len(all) > 0 {
		t.Errorf("suspicions %+v", all)
	}
	l.end(server)
}
