package redisstore_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
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

// witness is a journal in memory: of each suspicion it checks that what is said
// to be there is there, and applies the rest again.
//
// A write is under way until it is recorded; a suspicion waits for those that
// are, so that what a server acknowledged and lost is not recorded behind its back.
type witness struct {
	t        *testing.T
	space    keys.Space
	s        *redisstore.Store // set before the first write
	opened   chan struct{}     // closed when s is set
	replayed atomic.Int64
	lost     atomic.Int64 // acknowledged writes that suspected servers lacked

	underway sync.RWMutex
	mu       sync.Mutex
	acked    []store.Op        // guarded by mu: the position of each is its index and 1
	told     []store.Suspicion // guarded by mu
	hold     chan struct{}     // guarded by mu: if not nil, suspicions wait for it
	handling sync.WaitGroup
}

func (w *witness) Identity() string { return "journal-1" }

func (w *witness) Position() store.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return store.Position(len(w.acked))
}

func (w *witness) Suspect(s store.Suspicion) {
	w.mu.Lock()
	w.told = append(w.told, s)
	hold := w.hold
	w.mu.Unlock()
	w.handling.Go(func() {
		if hold != nil {
			<-hold
		}
		w.handle(s)
	})
}

// holdWith makes the suspicions from now on wait.
func (w *witness) holdWith(hold chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = hold
}

func (w *witness) suspicions() []store.Suspicion {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]store.Suspicion(nil), w.told...)
}

func (w *witness) writes() []store.Op {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked[:len(w.acked):len(w.acked)]
}

func (w *witness) handle(s store.Suspicion) {
	<-w.opened
	w.underway.Lock() // those that have begun are recorded
	all := w.writes()
	w.underway.Unlock()
	from := min(int(s.From), len(all))
	w.sound(s, all)
	var applying sync.WaitGroup
	for i := range 16 {
		applying.Go(func() {
			for at := from + i; at < len(all); at += 16 {
				if s.Covers(all[at].Key.String()) {
					w.again(all[at])
				}
			}
		})
	}
	applying.Wait()
	s.Done()
}

// again applies a write again until that succeeds.
func (w *witness) again(op store.Op) {
	op.Mode = store.Merge
	for w.t.Context().Err() == nil {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		_, err := w.s.Apply(ctx, op)
		cancel()
		if err == nil {
			w.replayed.Add(1)
			return
		}
		pause(5 * time.Millisecond)
	}
}

// sound checks that the server has what was acknowledged up to From.
func (w *witness) sound(s store.Suspicion, all []store.Op) {
	var names []string
	at := make(map[string]store.Position)
	for i, op := range all {
		if name := op.Key.String(); s.Covers(name) {
			names = append(names, name)
			at[name] = store.Position(i + 1)
		}
	}
	missing, beat, err := lacks(s.Server, names)
	if err != nil || beat < s.From {
		w.t.Logf("%s: something else has happened by now: heartbeat %d, %v", s.Server, beat, err)
		return
	}
	w.lost.Add(int64(len(missing)))
	if len(missing) > 0 && at[missing[0]] <= s.From {
		w.t.Errorf("%s (%s) says that it has all up to %d, and lacks %d (and %d more)", s.Server, s.Reason, s.From, at[missing[0]], len(missing)-1)
	}
}

// highestBeat returns the highest position that a heartbeat on a server says.
const highestBeat = `local highest = 0
for _, key in ipairs(redis.call('KEYS', 'jack:dev:__beat:*')) do
  highest = math.max(highest, tonumber(string.match(redis.call('GET', key), '^%d+')))
end
return highest`

// lacks returns which keys a server does not have, and what its heartbeat says
// after that. A key that another server has by now counts as there.
func lacks(addr string, names []string) (missing []string, beat store.Position, err error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = c.Close() }() // nothing is pending
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, 0, err
	}
	sent := make(chan error, 1)
	go func() {
		b := bufio.NewWriter(c)
		for _, name := range names {
			_, _ = fmt.Fprintf(b, "*2\r\n$6\r\nEXISTS\r\n$%d\r\n%s\r\n", len(name), name) // Flush tells
		}
		_, _ = fmt.Fprintf(b, "*3\r\n$4\r\nEVAL\r\n$%d\r\n%s\r\n$1\r\n0\r\n", len(highestBeat), highestBeat)
		sent <- b.Flush()
	}()
	r := bufio.NewReader(c)
	for _, name := range names {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, 0, err
		}
		if strings.HasPrefix(line, ":0") {
			missing = append(missing, name)
		}
	}
	if _, err := fmt.Fscanf(r, ":%d\r\n", &beat); err != nil {
		return nil, 0, err
	}
	return missing, beat, <-sent
}

func pause(d time.Duration) { <-time.After(d) }

// load is writers under way against a store with a witness.
type load struct {
	*witness
	clock   *clock.Clock
	stop    chan struct{}
	writing sync.WaitGroup
	next    atomic.Int64
}

func startLoad(t *testing.T, writers int, o redisstore.Options) *load {
	t.Helper()
	l := &load{witness: &witness{t: t, space: devSpace(t), opened: make(chan struct{})}, clock: clock.New(nil, 7, nil), stop: make(chan struct{})}
	o.Space, o.Witness, o.Connections = l.space, l.witness, 2
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	l.s = openWith(t, o)
	close(l.opened)
	t.Cleanup(l.handling.Wait)
	for range writers {
		l.writing.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(2 * time.Millisecond):
					l.write()
				}
			}
		})
	}
	return l
}

// write writes a key of its own, and records it when it is acknowledged.
func (l *load) write() {
	n := l.next.Add(1)
	o, err1 := keys.ParseOrg(fmt.Sprintf("org-%d", n%50))
	id, err2 := keys.ParseID(fmt.Sprintf("lead-%d", n))
	if err1 != nil || err2 != nil {
		panic("a test names organisations")
	}
	op := store.Op{Action: store.Set, Key: l.space.Key("lead", o, id), Version: l.clock.Now(), ExpiresAt: time.Now().Add(time.Hour), Payload: []byte("1")}
	l.underway.RLock()
	defer l.underway.RUnlock()
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
	defer cancel()
	res, err := l.s.Apply(ctx, op)
	if err != nil || res.Status != store.Applied {
		pause(time.Millisecond)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, op)
}

// written waits for n more acknowledged writes.
func (l *load) written(n int) {
	l.t.Helper()
	want := len(l.writes()) + n
	eventually(l.t, fmt.Sprintf("%d writes are acknowledged", want), func() bool { return len(l.writes()) >= want })
}

// settled waits until nothing is in doubt.
func (l *load) settled() {
	l.t.Helper()
	eventually(l.t, "nothing is in doubt", func() bool {
		h := l.s.Health()
		for _, n := range h.Nodes {
			if n.Doubt != "" {
				return false
			}
		}
		return h.State == store.Up
	})
}

// beaten waits until every master says that it has all that was acknowledged
// before the call.
func (l *load) beaten(servers ...*redistest.Server) {
	l.t.Helper()
	want := l.Position()
	eventually(l.t, "heartbeats are written", func() bool {
		return !slices.ContainsFunc(servers, func(s *redistest.Server) bool {
			_, beat, err := lacks(s.Addr(), nil)
			return err != nil || beat < want
		})
	})
}

// suspected waits for a suspicion after the first n that ok accepts.
func (l *load) suspected(n int, what string, ok func(store.Suspicion) bool) (found store.Suspicion) {
	l.t.Helper()
	eventually(l.t, "a suspicion: "+what, func() bool {
		for _, s := range l.suspicions()[n:] {
			if ok(s) {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

// end stops the writers and checks that all that was acknowledged is there once
// the masters say so: before, what happened last may not be noticed.
func (l *load) end(masters ...*redistest.Server) {
	l.t.Helper()
	close(l.stop)
	l.writing.Wait()
	l.beaten(masters...)
	l.settled()
	all := l.writes()
	lost := 0
	for part := range slices.Chunk(all, 100) {
		var reading sync.WaitGroup
		reads, errs := make([]store.Read, len(part)), make([]error, len(part))
		for i, op := range part {
			reading.Go(func() { reads[i], errs[i] = l.s.Get(l.t.Context(), op.Key) })
		}
		reading.Wait()
		for i, op := range part {
			if errs[i] != nil {
				l.t.Fatal(errs[i])
			}
			if !reads[i].Live() {
				if lost++; lost == 1 {
					l.t.Errorf("%s was acknowledged and is lost", op.Key)
				}
			}
		}
	}
	h := l.s.Health()
	l.t.Logf("%d acknowledged, %d lost by servers, %d lost in the end, %d applied again, %d suspicions, %d confirmed",
		len(all), l.lost.Load(), lost, l.replayed.Load(), h.Suspected, h.Confirmed)
	if lost > 0 {
		l.t.Errorf("%d of %d acknowledged writes are lost", lost, len(all))
	}
}
