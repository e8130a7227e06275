package engine

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// reading is a read that a test has others begin behind.
type reading struct {
	*copied
	process
	policy Policy
	// conversation: messages are read instead of a value.
	conversation bool
	log          keys.Key
}

// inReading runs a test of values and of conversations, in a process whose copies are
// proven to be current.
func inReading(t *testing.T, test func(*testing.T, *reading)) {
	for _, conversation := range []bool{false, true} {
		t.Run(fmt.Sprintf("conversation=%t", conversation), func(t *testing.T) {
			inCopied(t, 1, func(t *testing.T, c *copied) {
				r := &reading{copied: c, process: c.processes[0], policy: plain, conversation: conversation}
				r.policy.Near = time.Hour
				r.cfg.NearLogs = time.Hour
				phone, err := keys.ParseID("15550100")
				if err != nil {
					t.Fatal(err)
				}
				r.log = c.space.Key(keys.Conversations, c.key.Org(), phone)
				r.prove()
				r.write(t, "old")
				test(t, r)
			})
		})
	}
}

// prove says that what changes is told. In a bubble it is before any time of Now.
func (r *reading) prove() { r.told(0).cover.Prove(r.told(0).cover.Epoch(), int64(time.Millisecond)) }

func (r *reading) name() keys.Key {
	if r.conversation {
		return r.log
	}
	return r.key
}

// write puts text into the store, as another process does.
func (r *reading) write(t *testing.T, text string) {
	t.Helper()
	op := store.Op{Action: store.Set, Key: r.key, Version: r.cfg.Clock.Now(), TTL: time.Hour, Payload: []byte(text)}
	if r.conversation {
		op.Action, op.Key, op.Payload = store.Replace, r.log, nil
		op.Window = store.Window{Messages: 10, Slack: 1, IDs: 10}
		op.Messages = []store.Message{{ID: text, Payload: []byte(text)}}
	}
	if _, err := r.store.Apply(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

// mine writes text as this process does.
func (r *reading) mine(t *testing.T, text string) {
	t.Helper()
	var err error
	if r.conversation {
		_, err = r.Replace(t.Context(), r.log, []Message{{ID: text, Payload: []byte(text)}}, Limits{
			TTL: time.Hour, Window: store.Window{Messages: 10, Slack: 1, IDs: 10}, CompressAbove: -1,
		})
	} else {
		_, err = r.Set(t.Context(), r.key, []byte(text), r.policy, store.Condition{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *reading) read(ctx context.Context) (string, error) {
	if !r.conversation {
		v, err := r.Get(ctx, r.key, r.policy)
		return string(v.Payload), err
	}
	log, err := r.Messages(ctx, r.log, 0)
	if err != nil || len(log.Messages) == 0 {
		return "", err
	}
	return string(log.Messages[0].Stored), nil
}

// held begins a read that has its answer already and does not return it before it is
// released; it returns what came of it then.
func (r *reading) held(t *testing.T, ctx context.Context) (release func() string) {
	t.Helper()
	free, read := make(chan struct{}), make(chan string)
	r.line.answered = func() { <-free }
	go func() {
		text, _ := r.read(ctx)
		read <- text
	}()
	synctest.Wait()
	r.line.answered = nil
	return func() string { close(free); return <-read }
}

// reads begins reads by so many callers.
func (r *reading) reads(n int) <-chan string {
	all := make(chan string, n)
	for range n {
		go func() {
			text, err := r.read(context.Background())
			if err != nil {
				text = err.Error()
			}
			all <- text
		}()
	}
	synctest.Wait()
	return all
}

// TestReadsShareATrip: those who read the same at the same time make one trip.
func TestReadsShareATrip(t *testing.T) {
	inReading(t, func(t *testing.T, r *reading) {
		release := r.held(t, t.Context())
		all := r.reads(10)
		if len(all) > 0 {
			t.Errorf("%d readers did not wait", len(all))
		}
		if got := release(); got != "old" {
			t.Errorf("got %q", got)
		}
		for range 10 {
			if got := <-all; got != "old" {
				t.Errorf("one who waited got %q", got)
			}
		}
		if n := r.line.trips.Load(); n != 1 {
			t.Errorf("%d trips, want 1", n)
		}
	})
}

// TestTripsThatAreNotShared: a read that begins after something happened is given
// nothing of a trip from before it.
func TestTripsThatAreNotShared(t *testing.T) {
	for name, happens := range map[string]func(t *testing.T, r *reading){
		"it was written here": func(t *testing.T, r *reading) { r.mine(t, "new") },
		"a change was told": func(t *testing.T, r *reading) {
			r.write(t, "new")
			r.tiers[0].Changed([]string{r.name().String()})
		},
		"the organisation was ended": func(t *testing.T, r *reading) {
			r.write(t, "new")
			r.tiers[0].Changed([]string{r.space.Generation(r.key.Org())})
		},
		"something may not have been told": func(t *testing.T, r *reading) {
			r.write(t, "new")
			r.told(0).cover.Break()
			r.prove()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inReading(t, func(t *testing.T, r *reading) {
				release := r.held(t, t.Context())
				happens(t, r)
				all := r.reads(1)
				if len(all) == 0 {
					t.Error("the reader waits for the trip")
				} else if got := <-all; got != "new" {
					t.Errorf("got %q, want what is there since", got)
				}
				release()
			})
		})
	}
}

// TestTripsBeforeTheProof: what is read before anything was proven is given to those
// who asked for it only, because changes of that time may have been told to nobody.
func TestTripsBeforeTheProof(t *testing.T) {
	inReading(t, func(t *testing.T, r *reading) {
		r.told(0).cover.Break()
		release := r.held(t, t.Context())
		r.write(t, "new")
		if all := r.reads(1); len(all) == 0 {
			t.Error("the reader waits though nothing is proven")
		}
		r.prove()
		if all := r.reads(1); len(all) == 0 {
			t.Error("the reader waits for the trip")
		} else if got := <-all; got != "new" {
			t.Errorf("got %q, want what is there since", got)
		}
		release()
	})
}

// TestTripsThatFail: who waited for a trip that came to nothing makes its own.
func TestTripsThatFail(t *testing.T) {
	inReading(t, func(t *testing.T, r *reading) {
		ctx, cancel := context.WithCancel(t.Context())
		r.line.hangs.Store(true)
		release := r.held(t, ctx)
		all := r.reads(3)
		r.line.hangs.Store(false)
		cancel()
		for range 3 {
			if got := <-all; got != "old" {
				t.Errorf("got %q", got)
			}
		}
		release()
	})
}

// TestTripsOfParts: who wants more messages than a trip reads makes its own.
func TestTripsOfParts(t *testing.T) {
	inReading(t, func(t *testing.T, r *reading) {
		if !r.conversation {
			return
		}
		release := r.held(t, t.Context())
		log := make(chan int, 1)
		go func() {
			l, _ := r.Messages(context.Background(), r.log, 1)
			log <- len(l.Messages)
		}()
		synctest.Wait()
		if len(log) == 0 {
			t.Error("the reader waits for the trip")
		}
		release()
	})
}

// TestWhoWaitsIsBounded: a trip that hangs keeps those who share it no longer than one
// of their own.
func TestWhoWaitsIsBounded(t *testing.T) {
	inReading(t, func(t *testing.T, r *reading) {
		r.line.hangs.Store(true)
		release := r.held(t, t.Context())
		began := time.Now()
		all := r.reads(3)
		for range 3 {
			<-all
		}
		if took := time.Since(began); took > r.cfg.Timeout {
			t.Errorf("%v, the store has %v", took, r.cfg.Timeout)
		}
		release()
		r.line.hangs.Store(false)
	})
}

// TestWhoWaitsIsMeasured: who shares a trip has asked the store, and it took as long as
// it took, also where nothing came of the trip.
func TestWhoWaitsIsMeasured(t *testing.T) {
	const waits = 10 * time.Millisecond
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("fails=%t", fails), func(t *testing.T) {
			inReading(t, func(t *testing.T, r *reading) {
				op := OpGet
				if r.conversation {
					op = OpMessages
				}
				r.line.hangs.Store(fails)
				release := r.held(t, t.Context())
				all := r.reads(3)
				elapse(waits)
				if !fails {
					release()
				}
				for range 3 {
					<-all
				}
				if fails {
					release()
				}
				want := 4 * waits
				if fails {
					want = 4 * r.cfg.Timeout
				}
				if n, sum := r.Totals(op); n != 4 || sum != want {
					t.Errorf("%d %v operations of %v together; want 4 of %v", n, op, sum, want)
				}
			})
		})
	}
}

// TestTripsThatPanic: who waited for a trip that panicked makes its own.
func TestTripsThatPanic(t *testing.T) {
	inReading(t, func(t *testing.T, r *reading) {
		free, caught := make(chan struct{}), make(chan any)
		r.line.answered = func() { <-free; panic("torn") }
		go func() {
			defer func() { caught <- recover() }()
			_, _ = r.read(context.Background())
		}()
		synctest.Wait()
		r.line.answered = nil
		all := r.reads(3)
		close(free)
		if got := <-caught; got != "torn" {
			t.Errorf("the panic became %v", got)
		}
		for range 3 {
			if got := <-all; got != "old" {
				t.Errorf("got %q", got)
			}
		}
		if n, m := len(r.values.of), len(r.logs.of); n+m > 0 {
			t.Errorf("%d trips are left", n+m)
		}
	})
}

// TestTripsWhatIsShared: all who share a trip are told that others read the same bytes,
// also where no copy of it was kept.
func TestTripsWhatIsShared(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprintf("kept=%t", kept), func(t *testing.T) {
			inReading(t, func(t *testing.T, r *reading) {
				release := r.held(t, t.Context())
				got := make(chan bool, 3)
				for range 3 {
					go func() {
						if r.conversation {
							log, err := r.Messages(context.Background(), r.log, 0)
							got <- err == nil && len(log.Messages) == 1 && log.Copy != nil
							return
						}
						v, err := r.Get(context.Background(), r.key, r.policy)
						got <- err == nil && v.Found && v.Shared
					}()
				}
				synctest.Wait()
				if !kept {
					r.tiers[0].Changed([]string{r.name().String()})
				}
				release()
				for range 3 {
					if !<-got {
						t.Error("nothing, or as if it were the caller's")
					}
				}
				if n := r.line.trips.Load(); n != 1 {
					t.Errorf("%d trips, want 1", n)
				}
			})
		})
	}
}
