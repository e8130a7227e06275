package check

import (
	"context"
	"fmt"
	"time"

	"github.com/jackcache/jackcache"
)

const (
	// writeEvery is the pause between two writes.
	writeEvery = 5 * time.Millisecond
	// perPhone is how many messages a conversation gets, below the window.
	perPhone = window - 10
	// spread is how many conversations are written to in turns, so that more than
	// one server of a Cluster is met; all served in a row is served again.
	spread = 8
	// steadyWrites are acknowledged before the first fault.
	steadyWrites = 40
	// grace is what a call may take beyond its budget before that is a failure: far
	// less than one that waits for the store, far more than a busy host takes.
	grace = time.Second
	// arrivalTime is what acknowledged writes may take to reach the shared store.
	arrivalTime = 10 * time.Second
)

// failover cuts the connections of an instance, refuses new ones, then stalls
// them, and finds out that calls answer in time meanwhile, with typed errors, and
// that all that was acknowledged is there afterwards.
func (s *session) failover(ctx context.Context) (string, error) {
	if s.o.Cache.Redis == nil {
		return s.crash(ctx)
	}
	g := newGate(s.o.Cache.Redis.Dial)
	defer g.close()
	c, err := s.open(ctx, func(o *jackcache.Options) {
		r := *o.Redis
		r.Dial = g.Dial
		o.Redis = &r
	})
	if err != nil {
		return "", doing("open an instance", err)
	}
	defer func() {
		g.letThrough() // commands under way end
		_ = closing(c) // what counts was read by another instance
	}()
	w := newWriter(c, s.org("failover"), s.o.Cache.Budget)
	defer w.pause.Stop()
	s.report.Outage = &w.result
	if err := s.outages(ctx, g, w); err != nil {
		return "", err
	}
	s.step("read what was acknowledged")
	if err := w.await(ctx, s.a, min(s.o.Patience, arrivalTime)); err != nil {
		return "", err
	}
	r := w.result
	return fmt.Sprintf("%d calls, %d acknowledged and there, %d typed errors; slowest answer %s; served again %s after the cut, %s after the stall",
		r.Calls, r.Acknowledged, r.Errors, shown(fromMillis(r.Slowest)), shown(fromMillis(r.Recovered[0])), shown(fromMillis(r.Recovered[1]))), nil
}

func fromMillis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// outages writes while connections are cut, and while they are stalled.
func (s *session) outages(ctx context.Context, g *gate, w *writer) error {
	defer w.control()()
	s.step("write")
	if err := w.until(ctx, s.o.Patience, steadyWrites); err != nil {
		return err
	}
	if g.passed() == 0 {
		return wrong("report this as a defect of jackcache", "the connections did not pass through the check: nothing could be cut")
	}
	for _, f := range []struct {
		name  string
		begin func()
	}{{"cut the connections", g.cut}, {"stall the connections", g.stall}} {
		s.step(f.name)
		f.begin()
		if err := w.during(ctx, s.o.Outage); err != nil {
			return doing(f.name, err)
		}
		s.step("let the connections through")
		g.letThrough()
		took, err := w.served(ctx, s.o.Patience)
		if err != nil {
			return doing(f.name+", let them through again", err)
		}
		w.result.Recovered = append(w.result.Recovered, milliseconds(took))
	}
	if w.result.Errors == 0 {
		return wrong("report this as a defect of jackcache", "all calls succeeded while the connections were cut: nothing was cut")
	}
	return w.inTime()
}
