package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/redistest"
)

// An invalidation takes effect, once, where there is no memory for writes.
func TestInvalidateOnceWithoutMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server.Addr())
	if _, err := server.Do("CONFIG", "SET", "maxmemory", "1"); err != nil {
		t.Fatal(err)
	}
	o, token := mustOrg(t, "a"), clock.New(nil, 1, nil).Now()
	const known = 1 << 52 // above the time
	for range 3 {
		if g, err := s.InvalidateOnce(t.Context(), o, known, token); err != nil || g != known+1 {
			t.Errorf("it led to %d, %v; want %d", g, err, known+1)
		}
	}
	// The answer restores what was lost of the generation alone.
	if _, err := server.Do("DEL", s.generationOf(o)); err != nil {
		t.Fatal(err)
	}
	if g, err := s.InvalidateOnce(t.Context(), o, 0, token); err != nil || g != known+1 {
		t.Errorf("it led to %d, %v; want %d", g, err, known+1)
	}
	if g, err := s.Generation(t.Context(), o); err != nil || g != known+1 {
		t.Errorf("the generation is %d, %v", g, err)
	}
}

// Who has seconds never shares a connection with those who have milliseconds.
func TestPatientCallers(t *testing.T) {
	s := openNode(t, redistest.Start(t).Addr())
	n := s.layout.Load().masters[0]
	within, cancel1 := context.WithTimeout(t.Context(), s.opts.Timeout)
	defer cancel1()
	patient, cancel2 := context.WithTimeout(t.Context(), 3*s.opts.Timeout)
	defer cancel2()
	for name, c := range map[string]struct {
		ctx  context.Context
		jobs bool
	}{"an operation": {within, false}, "a replay": {patient, true}, "no deadline": {context.Background(), true}} {
		err := s.patient(c.ctx, s.generationOf(mustOrg(t, "a")), call{"GET", 1}, func(client rueidis.Client) error {
			if onJobs := client.(line).Client == n.link.Load().jobs; onJobs != c.jobs {
				t.Errorf("%s: on the connection for jobs: %v", name, onJobs)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// drain waits for the calls that have begun, and not for those that begin.
func TestUnderway(t *testing.T) {
	t.Parallel()
	var u underway
	first := u.enter()
	ended := make(chan struct{})
	go func() { defer close(ended); u.drain(t.Context()) }()
	soon(t, "it waits", func() bool { return u.phase.Load() == 1 })
	second := u.enter()
	select {
	case <-ended:
		t.Fatal("it did not wait")
	case <-time.After(10 * time.Millisecond):
	}
	u.leave(first)
	<-ended
	u.leave(second)
	ctx, cancel := context.WithCancel(t.Context())
	defer u.leave(u.enter())
	cancel()
	u.drain(ctx) // ends with ctx
}

// A heartbeat is read as it was written; anything else has the position zero.
func TestBeatValue(t *testing.T) {
	var slots slotSet
	for _, slot := range []int{0, 1, 2, 63, 64, 65, 500, 16383} {
		slots.add(slot)
	}
	for _, v := range []beatValue{
		{position: 7, nonce: "a.1"}, {nonce: "a.1"}, {position: 1<<64 - 1, nonce: "x"},
		{position: 7, nonce: "a.1", addr: "h:1", slots: slots}, {position: 7, nonce: "a.1", addr: "h:1"},
	} {
		if got := parseBeat(v.String()); got != v {
			t.Errorf("%q is read as %q", v, got)
		}
	}
	if text := slots.String(); text != "0-2,63-65,500,16383" {
		t.Errorf("slots %q", text)
	}
	for _, text := range []string{"", " ", "x y", "7", "-1 a", "7 a b", "7 a b c d", "99999999999999999999 a"} {
		if v := parseBeat(text); v != (beatValue{}) {
			t.Errorf("%q is read as %+v", text, v)
		}
	}
	for _, text := range []string{"", "x", "5-x", "0-16384", "-1"} {
		if s := parseSlots(text); !s.empty() {
			t.Errorf("slots %q are read as %s", text, s)
		}
	}
}

// A heartbeat is raised where the stream of writes and what the key holds are as
// they were seen, and changes nothing elsewhere; it is raised without memory, too.
func TestBeatCompares(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n := openNode(t, server.Addr()).layout.Load().masters[0]
	const key = "jack:dev:__beat:a"
	send := func(value, stream string, held ...string) answer {
		t.Helper()
		a, err := n.sendBeat(t.Context(), key, value, stream, held)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	stream := send("", "").stream
	if len(stream) != 40 {
		t.Errorf("the stream is %q", stream)
	}
	if _, err := server.Do("CONFIG", "SET", "maxmemory", "1"); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		value, stream string
		held          []string
		raised        bool
		was           string
	}{
		{"1 a", stream, nil, false, ""},
		{"1 a", stream, []string{"0 a"}, false, ""},
		{"1 a", "another", []string{""}, false, ""},
		{"1 a", stream, []string{""}, true, ""},
		{"2 a", "another", []string{"1 a"}, false, "1 a"},
		{"2 a", stream, []string{"0 a", "1 a"}, true, "1 a"},
		{"3 a", stream, []string{"1 a"}, false, "2 a"},
	} {
		if a := send(c.value, c.stream, c.held...); a.raised != c.raised || a.held != c.was || a.stream != stream {
			t.Errorf("%d: %+v, want raised %v over %q", i, a, c.raised, c.was)
		}
	}
}
