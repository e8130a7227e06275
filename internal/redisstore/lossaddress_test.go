package redisstore_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
)

// connections returns the ids of the connections of stores to a server, in the
// order in which they were made: those for calls come first.
func connections(t *testing.T, server *redistest.Server) (ids []string) {
	t.Helper()
	list, err := server.Do("CLIENT", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(list, "\n") {
		id, named := "", false
		for _, field := range strings.Fields(line) {
			if name, value, _ := strings.Cut(field, "="); name == "id" {
				id = value
			} else if field == "name=jackcache" {
				named = true
			}
		}
		if named {
			ids = append(ids, id)
		}
	}
	return ids
}

// copied makes s2 a copy of s1 that goes on alone.
func copied(t *testing.T, s1, s2 *redistest.Server) {
	t.Helper()
	if _, err := s2.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(s1.Port())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy is made", func() bool {
		info, err := s2.Do("INFO", "replication")
		return err == nil && strings.Contains(info, "master_link_status:up") && strings.Contains(info, "master_sync_in_progress:0")
	})
	if _, err := s2.Do("REPLICAOF", "NO", "ONE"); err != nil {
		t.Fatal(err)
	}
}

// An address moves to another server while connections to the one before live on,
// each of them, or all but one: heartbeats must not speak for a server that calls
// do not reach.
func TestLossAddressMoves(t *testing.T) {
	t.Parallel()
	for connection := range 3 { // two for calls and one for jobs
		t.Run(strconv.Itoa(connection), func(t *testing.T) {
			t.Parallel()
			s1, s2 := redistest.Start(t), redistest.Start(t)
			proxy := redistest.StartProxy(t, s1.Addr())
			l := startLoad(t, 4, redisstore.Options{Addrs: []string{proxy.Addr()}})
			l.settled()
			l.written(200)
			l.beaten(s1)
			copied(t, s1, s2)
			proxy.Retarget(s2.Addr())
			var ids []string
			eventually(t, "it has its three connections", func() bool { ids = connections(t, s1); return len(ids) == 3 })
			n := len(l.suspicions())
			if _, err := s1.Do("CLIENT", "KILL", "ID", ids[connection]); err != nil {
				t.Fatal(err)
			}
			l.suspected(n, "it is another server", anySuspicion)
			l.written(200)
			eventually(t, "nobody is connected to the one before", func() bool { return len(connections(t, s1)) == 0 })
			s1.Kill()
			l.end(s2)
		})
	}
}
