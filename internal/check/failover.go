package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	// quietTime is how long nothing may wait, or be applied again, until all is
	// taken to have arrived: after an outage it is looked what Redis may have lost.
	quietTime = 300 * time.Millisecond
	// readBackTime is what acknowledged writes may take to be read while Redis is
	// away: the instance has them, a busy host may let a call run out of its budget.
	readBackTime = 5 * time.Second
	// refusedShare: one write in so many may be refused during an outage, as the
	// first ones are where the disk is slow.
	refusedShare = 20
)

// failover cuts the connections of an instance, refuses new ones, then stalls
// them. Writes meanwhile are acknowledged in time, kept in the journal and read
// back, also over what a crash would leave; afterwards all is in the store, once.
func (s *session) failover(ctx context.Context) (string, error) {
	if s.o.Cache.Redis == nil {
		return s.crash(ctx)
	}
	if err := s.journals(); err != nil {
		return "", err
	}
	g := newGate(s.o.Cache.Redis.Dial)
	defer g.close()
	c, err := s.open(ctx, g.between)
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
	s.step("wait until redis has all")
	if err := w.arrived(ctx, s.o.Patience); err != nil {
		return "", err
	}
	s.step("read what was acknowledged")
	if err := w.await(ctx, s.a, min(s.o.Patience, arrivalTime)); err != nil {
		return "", err
	}
	if err := s.crashAway(ctx, &w.result); err != nil {
		return "", err
	}
	r := w.result
	return fmt.Sprintf("%d calls, %d acknowledged, %d of them while redis was away, all in redis once; %d typed errors; slowest answer %s; served again %s after the cut, %s after the stall, all arrived after %s; a copy as of a crash had all; killed (SIGKILL) while redis was away: %d acknowledged and there",
		r.Calls, r.Acknowledged, r.Pending, r.Errors, shown(fromMillis(r.Slowest)), shown(fromMillis(r.Recovered[0])), shown(fromMillis(r.Recovered[1])), shown(fromMillis(r.Arrived)), r.Killed), nil
}

// journals finds out that the settings let a server keep what is acknowledged
// while Redis is away.
func (s *session) journals() error {
	const toDo = "set JACKCACHE_JOURNAL=required"
	switch mode := s.o.Cache.Journal.Mode; {
	case mode == jackcache.JournalOff:
		return wrong(toDo, "the journal is off: while redis is away writes are refused, and what redis loses is lost")
	case mode == jackcache.JournalMemory:
		return wrong(toDo, "the journal is in memory: what is acknowledged while redis is away is lost with the process")
	case s.unwritable != nil:
		return wrong(fmt.Sprintf("set JACKCACHE_DATA_DIR to a directory in which the user who runs the server may write (now %s)", absolute(s.dataDir())),
			"the journal cannot be kept: %s", text(s.unwritable))
	}
	return nil
}

// between makes the connections of an instance pass through the gate.
func (g *gate) between(o *jackcache.Options) {
	r := *o.Redis
	r.Dial = g.Dial
	o.Redis = &r
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
		if err := s.outage(ctx, g, w); err != nil {
			return doing(f.name, err)
		}
		s.step("let the connections through")
		g.letThrough()
		w.through = time.Now()
		took, err := w.served(ctx, s.o.Patience)
		if err != nil {
			return doing(f.name+", let them through again", err)
		}
		w.result.Recovered = append(w.result.Recovered, milliseconds(took))
	}
	return w.inTime()
}

// outage writes for a while, and finds that it is kept.
func (s *session) outage(ctx context.Context, g *gate, w *writer) error {
	before := w.result
	if err := w.during(ctx, s.o.Outage); err != nil {
		return err
	}
	calls, errors := w.result.Calls-before.Calls, w.result.Errors-before.Errors
	switch {
	case w.result.Pending == before.Pending && errors == 0:
		return wrong("report this as a defect of jackcache", "all calls succeeded while the connections were cut: nothing was cut")
	case errors*refusedShare > calls:
		return wrong("look at the disk of JACKCACHE_DATA_DIR: it has to have room, and to sync well within JACKCACHE_BUDGET ("+w.budget.String()+")",
			"%d of %d writes were refused, the last with: %s", errors, calls, text(w.reason))
	}
	s.step("read back what is kept")
	if err := w.await(ctx, w.on, readBackTime); err != nil {
		return doing("read back what is kept", err)
	}
	s.step("open a copy as a crash would leave it")
	return doing("open a copy as a crash would leave it", s.crashCopy(ctx, g, w))
}

// crashCopy opens a copy of the instance's data directory, made while it is
// used, and reads from it what was acknowledged. Redis is away from it, too.
func (s *session) crashCopy(ctx context.Context, g *gate, w *writer) error {
	s.dirs++
	dir := filepath.Join(s.dir, fmt.Sprint(s.dirs))
	if err := os.CopyFS(dir, os.DirFS(w.on.Cache.DataDir())); err != nil {
		return err
	}
	c, err := s.open(ctx, func(o *jackcache.Options) {
		g.between(o)
		patient(o)
		o.DataDir = dir
	})
	if err != nil {
		return err
	}
	defer func() { _ = closing(c) }() // it has served its purpose
	return w.await(ctx, c, readBackTime)
}
