package redisstore_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

func confirmed(s store.Suspicion) bool { return s.Confirmed }

func anySuspicion(store.Suspicion) bool { return true }

// A server that comes back empty is told as one that certainly lost everything.
func TestLossEmptyRestart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := startLoad(t, 4, redisstore.Options{Addrs: []string{server.Addr()}})
	l.settled()
	l.written(500)
	l.beaten(server)
	n := len(l.suspicions())
	server.Kill()
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if s := l.suspected(n, "certain", confirmed); s.From != 0 || s.Server != server.Addr() {
		t.Errorf("the suspicion is %+v", s)
	}
	l.end(server)
}

// FLUSHALL closes no connection: the next heartbeat finds it out, again and again.
func TestLossFlush(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := startLoad(t, 4, redisstore.Options{Addrs: []string{server.Addr()}})
	for range 3 {
		l.settled()
		l.written(300)
		l.beaten(server)
		n := len(l.suspicions())
		if _, err := server.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
		if s := l.suspected(n, "certain", confirmed); s.From != 0 {
			t.Errorf("from %d", s.From)
		}
	}
	l.end(server)
}

// A server that is emptied again while what it lost is applied is suspected again.
func TestLossFlushDuringReplay(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := startLoad(t, 2, redisstore.Options{Addrs: []string{server.Addr()}})
	l.settled()
	l.written(300)
	l.beaten(server)
	hold := make(chan struct{})
	l.holdWith(hold)
	n := len(l.suspicions())
	for range 2 {
		if _, err := server.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
		l.suspected(n, "certain", confirmed)
		l.written(100)
	}
	k := l.writes()[0].Key
	if !l.s.Doubtful(k) {
		t.Error("it is not in doubt while it is suspected")
	}
	l.holdWith(nil)
	close(hold)
	l.suspected(n+1, "another one", anySuspicion)
	l.end(server)
}

// The end of the append-only file is gone, as after a loss of power: behind the
// last heartbeat, which is no proof of anything, or with it.
func TestLossTornFile(t *testing.T) {
	t.Parallel()
	for name, beatIsLost := range map[string]bool{"behind the heartbeat": false, "with the heartbeat": true} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
			l := startLoad(t, 4, redisstore.Options{Addrs: []string{server.Addr()}})
			l.settled()
			l.written(500)
			l.beaten(server)
			l.written(100)
			l.beaten(server) // so the one before is known to have been written
			l.written(100)
			server.Kill()
			before, n := l.Position(), len(l.suspicions())
			tear(t, server, beatIsLost)
			if err := server.Restart(); err != nil {
				t.Fatal(err)
			}
			s := l.suspected(n, "it may lack writes", anySuspicion)
			t.Logf("from %d of %d, confirmed %v", s.From, before, s.Confirmed)
			if s.From > before || s.Confirmed != beatIsLost || !beatIsLost && s.From == 0 {
				t.Errorf("from %d of %d, confirmed %v", s.From, before, s.Confirmed)
			}
			l.end(server)
		})
	}
}

// tear cuts the append-only file of a server: a little behind the last heartbeat, or in
// the one before it, because nobody may know yet that the last one was written.
func tear(t *testing.T, server *redistest.Server, inBeat bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(server.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("append-only files %v, %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	beat := bytes.LastIndex(content, []byte("__beat"))
	if beat < 0 {
		t.Fatal("there is no heartbeat in the file")
	}
	cut := bytes.LastIndex(content[:beat], []byte("__beat"))
	if !inBeat {
		// Behind the whole command: a piece of it is none.
		end := len(content)
		if next := bytes.Index(content[beat:], []byte("\r\n*")); next >= 0 {
			end = beat + next + 2
		}
		cut = end + (len(content)-end)/4
	}
	t.Logf("%d of %d bytes are left", cut, len(content))
	if err := os.Truncate(files[0], int64(cut)); err != nil {
		t.Fatal(err)
	}
}

// A server that is only stopped for a while lost nothing, and is suspected once.
func TestLossFrozen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := startLoad(t, 4, redisstore.Options{Addrs: []string{server.Addr()}})
	l.settled()
	l.written(200)
	l.beaten(server)
	n, reconnects := len(l.suspicions()), l.s.Health().Reconnects
	server.Freeze()
	k := l.writes()[0].Key
	eventually(t, "it is not asked any more", func() bool { return !l.s.Serves(k) })
	server.Thaw()
	s := l.suspected(n, "it was away", anySuspicion)
	if s.Confirmed || s.From == 0 {
		t.Errorf("the suspicion is %+v", s)
	}
	l.settled()
	l.written(100)
	l.beaten(server)
	// A busy machine may lose a connection more, which is another suspicion.
	if more, lost := len(l.suspicions())-n, l.s.Health().Reconnects-reconnects; more > 2+int(lost) {
		t.Errorf("%d suspicions for %d connections that were lost", more, lost)
	}
	l.end(server)
}

// What a server that came back empty does not have is in doubt before anybody is
// told that it is not there.
func TestDoubtComesFirst(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := startLoad(t, 1, redisstore.Options{Addrs: []string{server.Addr()}})
	l.settled()
	l.written(20)
	l.beaten(server)
	k := l.writes()[0].Key
	for range 5 {
		hold := make(chan struct{})
		l.holdWith(hold)
		stop := make(chan struct{})
		var reading sync.WaitGroup
		var missed atomic.Int64
		for range 4 {
			reading.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					read, err := l.s.Get(ctx, k)
					cancel()
					if err == nil && !read.Live() {
						missed.Add(1)
						if !l.s.Doubtful(k) {
							t.Error("it was missed, and is not in doubt")
							return
						}
					}
				}
			})
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is missed", func() bool { return missed.Load() > 100 || t.Failed() })
		close(stop)
		reading.Wait()
		l.holdWith(nil)
		close(hold)
		l.settled()
		if l.s.Doubtful(k) {
			t.Error("it is in doubt after all was applied again")
		}
		l.written(20)
		l.beaten(server)
	}
	l.end(server)
}
