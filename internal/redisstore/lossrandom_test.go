package redisstore_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
)

// seeded returns what draws, and logs how to draw the same again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("JACKCACHE_TEST_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("JACKCACHE_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// Whatever happens to a server, in whatever order and however soon after the last
// thing: it has what its heartbeat says (the witness checks that), and what it
// lacks is told.
func TestLossAtRandom(t *testing.T) {
	t.Parallel()
	draw := seeded(t)
	server := redistest.Start(t, append(slices.Clone(promptly), "--appendonly", "yes", "--appendfsync", "everysec")...)
	other := redistest.Start(t, promptly...)
	l := startLoad(t, 3, redisstore.Options{Addrs: []string{server.Addr()}})
	restart := func() {
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	copied := false
	faults := []struct {
		name string
		do   func()
	}{
		{"killed", func() { server.Kill(); restart() }},
		{"torn", func() { server.Kill(); cut(t, server, draw); restart() }},
		{"emptied", func() {
			server.Kill()
			if err := os.RemoveAll(filepath.Join(server.Dir(), "appendonlydir")); err != nil {
				t.Fatal(err)
			}
			restart()
		}},
		{"flushed", func() { do(t, server, "FLUSHALL") }},
		{"frozen", func() {
			server.Freeze()
			pause(time.Duration(draw.IntN(1500)) * time.Millisecond)
			server.Thaw()
		}},
		{"cut off", func() { do(t, server, "CLIENT", "KILL", "TYPE", "normal") }},
		{"copied", func() { // a past for "swapped"
			do(t, other, "REPLICAOF", "127.0.0.1", strconv.Itoa(server.Port()))
			n := l.Position()
			eventually(t, "it is copied", func() bool {
				missing, _, err := lacks(other.Addr(), []string{l.writes()[n-1].Key.String()})
				return err == nil && len(missing) == 0
			})
			eventually(t, "it is a master again", func() bool {
				_, err := other.Do("REPLICAOF", "NO", "ONE")
				return err == nil
			})
			copied = true
		}},
		{"swapped", func() {
			if !copied {
				return
			}
			do(t, server, "REPLICAOF", "127.0.0.1", strconv.Itoa(other.Port()))
			pause(time.Duration(draw.IntN(1500)) * time.Millisecond)
			eventually(t, "it is a master again", func() bool {
				_, err := server.Do("REPLICAOF", "NO", "ONE")
				return err == nil
			})
		}},
		{"beat deleted", func() { do(t, server, "DEL", "jack:dev:__beat:journal-1") }},
	}
	for range 15 {
		l.written(1 + draw.IntN(200))
		f := faults[draw.IntN(len(faults))]
		t.Log(f.name)
		f.do()
		if draw.IntN(2) == 0 {
			l.settled()
			if draw.IntN(2) == 0 {
				l.beaten(server)
			}
		}
	}
	l.end(server)
}

// cut takes a random part of the end of the append-only file away.
func cut(t *testing.T, server *redistest.Server, draw *rand.Rand) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(server.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		t.Fatalf("append-only files %v, %v", files, err)
	}
	last := files[len(files)-1]
	content, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	// Half of the time near a heartbeat, which is where it matters.
	at := draw.IntN(len(content) + 1)
	if beat := bytes.LastIndex(content, []byte("__beat")); beat > 0 && draw.IntN(2) == 0 {
		at = min(beat+draw.IntN(2000), len(content))
	}
	if err := os.Truncate(last, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// The same of a Cluster: masters die and hand over, and slots move.
func TestLossAtRandomInACluster(t *testing.T) {
	t.Parallel()
	draw := seeded(t)
	c := redistest.StartCluster(t, redistest.ClusterOptions{})
	l := startLoad(t, 6, redisstore.Options{Mode: redisstore.Cluster, Addrs: c.Addrs()})
	for range 5 {
		if err := c.WaitOK(time.Minute); err != nil {
			t.Fatal(err)
		}
		l.written(1 + draw.IntN(500))
		slot := draw.IntN(redistest.Slots)
		master := c.MasterOf(slot)
		switch kind := draw.IntN(4); kind {
		case 0:
			t.Log("handed over")
			if err := c.Failover(c.ReplicaOf(master)); err != nil {
				t.Fatal(err)
			}
		case 1:
			t.Log("killed")
			master.Kill()
			eventually(t, "another one has its slots", func() bool { m := c.MasterOf(slot); return m != nil && m != master })
			if err := master.Restart(); err != nil {
				t.Fatal(err)
			}
		case 2:
			t.Log("flushed")
			do(t, master, "FLUSHALL")
		case 3:
			t.Log("slots move")
			low := draw.IntN(redistest.Slots - 100)
			from, to := c.MasterOf(low), c.MasterOf((low+redistest.Slots/2)%redistest.Slots)
			high := low
			for high < low+100 && c.MasterOf(high+1) == from {
				high++
			}
			if from != to {
				if err := c.MoveSlots(from, to, low, high); err != nil {
					t.Fatal(err)
				}
			}
		}
		if draw.IntN(2) == 0 {
			l.settled()
		}
	}
	if err := c.WaitOK(time.Minute); err != nil {
		t.Fatal(err)
	}
	l.end(c.Masters()...)
}
