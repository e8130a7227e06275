package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// plan says what a run does. Zero fields are not allowed where no meaning is
// given.
type plan struct {
	scenario  string
	seed      uint64
	duration  time.Duration
	rounds    int      // how often all faults happen, whatever that takes; 0: as the duration allows
	rate      float64  // calls a second, of all clients together
	instances int      // the library included
	faults    []string // none means all that the scenario has
	sabotage  string   // empty: none
	skews     []string // by how much the clocks of the processes are off, in turn; none: they are right
	recovery  time.Duration
	freeze    time.Duration // the longest
	binary    string
	dir       string
	log       io.Writer // gets every write; nil: none
	progress  io.Writer
}

// clients is how many call at a time. Each call is due when the one before should
// have ended long ago, as long as calls take a few milliseconds.
const clients = 64

// happening is one fault that was injected.
type happening struct {
	cell     int
	from, to instant
}

// run is one scenario from its start to its verdict.
type run struct {
	plan
	servers *servers
	fleet   *fleet
	ledger  *ledger
	meter   *meter
	calls   context.Context // of calls
	done    chan struct{}   // closed when clients are to end

	conversations, values pool

	happened []happening // written by the schedule alone

	mu         sync.Mutex
	violations []violation   // guarded by mu: the first of each kind at a key
	told       map[tale]bool // guarded by mu: which those are
	ill        bool          // guarded by mu: not everything was healthy in time
	odd        []string      // guarded by mu: answers that no fault excuses
	notes      []string      // guarded by mu: what else is worth telling
	log        *bufio.Writer
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.progress, "%8s  %s\n", time.Since(r.ledger.began).Round(100*time.Millisecond), fmt.Sprintf(format, args...))
}

// note writes an op to the log, and keeps an answer that no fault excuses.
func (r *run) note(k *key, o op, err error) {
	if r.log == nil && err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log != nil {
		_, _ = fmt.Fprintf(r.log, "key %d: %v\n", k.id, o) // told at the end, by Flush
	}
	if err != nil && len(r.odd) < 20 {
		r.odd = append(r.odd, fmt.Sprintf("%v: %v: %v", k, o, err))
	}
}

// keptViolations bounds what is remembered; all are counted.
const keptViolations = 1000

// tale is what is told once.
type tale struct {
	key    *key
	breach breach
}

func (r *run) report(k *key, found []violation) {
	if len(found) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range found {
		v.key = k
		cell := r.meter.cells[r.blame(v)]
		cell.found[v.breach] += v.count
		if t := (tale{k, v.breach}); !r.told[t] && len(r.violations) < keptViolations {
			r.told[t] = true
			v.detail += " (" + cell.name + ")"
			r.violations = append(r.violations, v)
		}
	}
}

// blame returns the cell of the fault to which a violation belongs: for a read
// the last one that had begun, for a write the one that was there, else the one
// that came next. The caller holds mu.
func (r *run) blame(v violation) int {
	last := healthy
	for _, h := range r.happened {
		if v.read > 0 {
			if h.from <= v.read {
				last = h.cell
			}
			continue
		}
		if h.to == 0 || v.at <= h.to {
			return h.cell
		}
	}
	return last
}

// execute runs a plan. An error means that the run itself failed, not that it
// found something.
func execute(ctx context.Context, p plan) (*run, error) {
	r := &run{plan: p, ledger: &ledger{began: time.Now()}, done: make(chan struct{}), told: map[tale]bool{}, calls: context.WithoutCancel(ctx)}
	r.conversations = pool{form: conversation, full: fullConversation}
	r.values = pool{form: agentConfig, full: fullValue}
	if p.log != nil {
		r.log = bufio.NewWriter(p.log)
		defer func() {
			if err := r.log.Flush(); err != nil {
				r.say("the log is incomplete: %v", err)
			}
		}()
	}
	faults, err := chosen(p.scenario, p.faults)
	if err != nil {
		return nil, err
	}
	r.meter = newMeter(faults)
	r.say("%s: starting servers and %d instances, seed %d", p.scenario, p.instances, p.seed)
	r.servers, err = launchServers(p.scenario, filepath.Join(p.dir, "redis"))
	if err != nil {
		return nil, err
	}
	defer r.servers.close()
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	r.fleet, err = newFleet(r.servers, p)
	if r.fleet != nil {
		defer r.fleet.close()
	}
	if err != nil {
		return nil, err
	}
	since, err := r.fleet.waitHealthy(ctx, r.recovery)
	if err != nil {
		return nil, fmt.Errorf("before any fault: %w", err)
	}
	r.ledger.isHealthy(since)
	return r, r.drive(ctx, faults)
}

// drive lets clients call while faults happen, and then checks.
func (r *run) drive(ctx context.Context, faults []fault) error {
	var callers sync.WaitGroup
	r.callers(&callers)
	err := r.inject(ctx, faults)
	close(r.done)
	callers.Wait()
	if err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.verify(ctx)
	return nil
}

// callers starts the clients, and beside each a control that does nothing at the
// same times.
func (r *run) callers(wg *sync.WaitGroup) {
	interval := time.Duration(float64(clients) / r.rate * float64(time.Second))
	start := time.Now()
	for n := range clients {
		first := start.Add(interval * time.Duration(n) / clients)
		c := newClient(r, n)
		wg.Go(func() { c.run(first, interval) })
		wg.Go(func() {
			pace(r.done, first, interval, func(intended time.Time) {
				r.meter.cell(r.meter.current.Load()).control.add(time.Since(intended))
			})
		})
	}
}

// inject lets one fault after the other happen until the run is over.
func (r *run) inject(ctx context.Context, faults []fault) error {
	until := time.Now().Add(r.duration)
	more := func(n int) bool {
		if r.rounds > 0 {
			return n < r.rounds*len(faults)
		}
		return time.Now().Before(until) && len(faults) > 0
	}
	s := newSchedule(r.seed, faults)
	pauses := random(r.seed, forRounds, -1)
	pause := func() {
		select {
		case <-time.After(min(between(pauses, 300*time.Millisecond, 2*time.Second), max(0, time.Until(until)))):
		case <-ctx.Done():
		}
	}
	pause()
	for n := 0; more(n) && ctx.Err() == nil; n++ {
		f, rng := s.next()
		if err := r.happen(ctx, f, &injection{ctx: ctx, rng: rng, servers: r.servers, fleet: r.fleet, longest: r.freeze}); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		pause()
	}
	return ctx.Err()
}

// happen injects a fault and waits until everything is healthy again.
func (r *run) happen(ctx context.Context, f fault, in *injection) error {
	n := 1
	for r.meter.cells[n].name != f.name {
		n++
	}
	cell := r.meter.cells[n]
	before := r.fleet.replayed(ctx)
	at := r.began(n)
	r.meter.current.Store(int32(n))
	begun := time.Now()
	err := f.do(in)
	took := time.Since(begun)
	if errors.Is(err, errNotHere) {
		r.remember("%s: %v", f.name, err)
	} else if err != nil {
		return err
	} else {
		cell.times++
	}
	if err := r.servers.heal(); err != nil {
		return err
	}
	r.awaitHealthy(ctx, "after "+f.name)
	r.meter.current.Store(healthy)
	r.ended(at)
	if after := r.fleet.replayed(ctx); after >= 0 {
		cell.replayed = max(cell.replayed, 0) + max(0, after-before)
	}
	r.say("%-20s %8v, healthy after %v", f.name, took.Round(time.Millisecond), (time.Since(begun) - took).Round(time.Millisecond))
	return nil
}

// awaitHealthy waits for a moment, and remembers where there was none in time.
func (r *run) awaitHealthy(ctx context.Context, when string) {
	since, err := r.fleet.waitHealthy(ctx, r.recovery)
	if err != nil {
		r.remember("not healthy %v %s: %v", r.recovery, when, err)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ill = true
		return
	}
	r.ledger.isHealthy(since)
}

func (r *run) began(cell int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.happened = append(r.happened, happening{cell: cell, from: r.ledger.now()})
	return len(r.happened) - 1
}

func (r *run) ended(at int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.happened[at].to = r.ledger.now()
}

// remember keeps a line for the report, and says it at once.
func (r *run) remember(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.say("%s", text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.notes) < 20 {
		r.notes = append(r.notes, text)
	}
}
