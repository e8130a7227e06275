package breaker

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

var errProbe = errors.New("no answer")

// ticking is a clock that is a second later each time.
func ticking() func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

// wants fails the test unless the breaker is in a state, for a reason, and has
// opened so often.
func wants(t *testing.T, b *Breaker, state State, reason string, openings int64) {
	t.Helper()
	s, _, why, n := b.Snapshot()
	if s != state || why != reason || n != openings {
		t.Errorf("state %d because of %q, opened %d times; want %d, %q, %d", s, why, n, state, reason, openings)
	}
	if b.Allow() != (state == Closed) {
		t.Errorf("state %d, and Allow is %v", state, b.Allow())
	}
}

// told fails the test unless Opened has a value, or none.
func told(t *testing.T, b *Breaker, want bool) {
	t.Helper()
	got := false
	select {
	case <-b.Opened():
		got = true
	default:
	}
	if got != want {
		t.Errorf("that it opened was told: %v, want %v", got, want)
	}
}

func TestOpensAtThreshold(t *testing.T) {
	b := New(3, 2, nil, "")
	for range 5 { // failures that are not in a row
		b.Failure("slow")
		b.Failure("slow")
		b.Success()
	}
	wants(t, b, Closed, "", 0)
	told(t, b, false)
	for range 2 {
		b.Failure("slow")
	}
	wants(t, b, Closed, "", 0)
	b.Failure("the last")
	wants(t, b, Open, "the last", 1)
	told(t, b, true)
}

// More failures of calls that were under way change nothing of one that is open.
func TestOpensOnce(t *testing.T) {
	b := New(1, 1, ticking(), "")
	b.Trip("first")
	_, since, _, _ := b.Snapshot()
	b.Trip("second")
	b.Failure("third")
	wants(t, b, Open, "first", 1)
	if _, now, _, _ := b.Snapshot(); !now.Equal(since) {
		t.Errorf("open since %v, then since %v", since, now)
	}
	told(t, b, true)
	told(t, b, false)
}

func TestStartsOpen(t *testing.T) {
	b := New(8, 1, nil, "not connected")
	wants(t, b, Open, "not connected", 1)
	told(t, b, true)
	if !b.Probe(nil) {
		t.Error("it stays open")
	}
	wants(t, b, Closed, "", 1)
}

// Successful probes close it where they are in a row; until then there is no
// traffic, and it counts as stopped since it opened.
func TestProbes(t *testing.T) {
	b := New(1, 3, ticking(), "")
	b.Trip("cut")
	_, since, _, _ := b.Snapshot()
	for i, c := range []struct {
		err    error
		state  State
		reason string
	}{
		{errProbe, Open, "no answer"},
		{nil, HalfOpen, "no answer"},
		{nil, HalfOpen, "no answer"},
		{errProbe, Open, "no answer"},
		{nil, HalfOpen, "no answer"},
		{nil, HalfOpen, "no answer"},
	} {
		if b.Probe(c.err) {
			t.Errorf("probe %d closed it", i)
		}
		wants(t, b, c.state, c.reason, 1)
		if _, now, _, _ := b.Snapshot(); c.state == HalfOpen && i < 3 && !now.Equal(since) {
			t.Errorf("probe %d: stopped since %v, then since %v", i, since, now)
		}
	}
	if !b.Probe(nil) {
		t.Error("three probes in a row did not close it")
	}
	wants(t, b, Closed, "", 1)
	for _, err := range []error{nil, errProbe} {
		if b.Probe(err) {
			t.Error("a probe of a closed one closed it")
		}
	}
	wants(t, b, Closed, "", 1)
}

// A trip while no traffic is let through leaves it to the probes, and their row goes on.
func TestTripWhileHalfOpen(t *testing.T) {
	b := New(1, 2, nil, "")
	b.Trip("cut")
	b.Probe(nil)
	b.Trip("again")
	b.Failure("late")
	wants(t, b, HalfOpen, "cut", 1)
	if !b.Probe(nil) {
		t.Error("it stays open")
	}
}

// Once closed it has to fail as often as at first, and probes of before do not count.
func TestBeginsAnew(t *testing.T) {
	b := New(3, 2, nil, "")
	for range 4 { // one beyond the threshold
		b.Failure("slow")
	}
	b.Probe(nil)
	b.Probe(nil)
	for range 2 {
		b.Failure("slow")
	}
	wants(t, b, Closed, "", 1)
	b.Failure("slow")
	wants(t, b, Open, "slow", 2)
	if b.Probe(nil) {
		t.Error("one probe closed it")
	}
}

// Whatever happens at a time: it allows traffic exactly when it is closed, and it is
// told when it opens.
func TestTogether(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	b := New(3, 2, nil, "")
	var all sync.WaitGroup
	for n := range uint64(8) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, n))
			for range 2000 {
				switch r.IntN(4) {
				case 0:
					b.Failure("slow")
				case 1:
					b.Success()
				case 2:
					b.Probe(nil)
				default:
					b.Probe(errProbe)
				}
			}
		})
	}
	all.Wait()
	s, _, reason, n := b.Snapshot()
	if (s == Closed) != b.Allow() || (s == Closed) != (reason == "") || n == 0 {
		t.Errorf("state %d because of %q, opened %d times, Allow %v", s, reason, n, b.Allow())
	}
	told(t, b, true)
}
