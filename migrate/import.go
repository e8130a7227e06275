package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

const progressEvery = 100 * time.Millisecond

type importer struct {
	a       *assistant.Assistant
	o       ImportOptions
	table   table
	input   *counter
	patient *patience

	mu     sync.Mutex
	report Report                   // guarded by mu
	told   time.Time                // guarded by mu: of the last progress
	last   map[string]chan struct{} // guarded by mu: closed when the newest entry of a key is done
}

// job is an entry on its way.
type job struct {
	entry  entry
	line   int
	key    string // for the report
	name   string // of the map, for the report
	weight int64
	names  []string
	after  []chan struct{} // entries of the same keys that come before it
	done   chan struct{}
}

// Import reads entries from r, plain or gzip, and merges each into the cache.
// An entry that cannot be imported is counted and reported, and the import goes
// on; the error is about the input or ctx. The report is complete as far as the
// input was read, also with an error.
func Import(ctx context.Context, a *assistant.Assistant, r io.Reader, o ImportOptions) (Report, error) {
	o = o.withDefaults()
	t, err := newTable(a.Cache)
	if err != nil {
		return Report{}, err
	}
	im := &importer{
		a: a, o: o, table: t, input: &counter{r: r}, patient: newPatience(o.RetryFor),
		told: time.Now(), last: make(map[string]chan struct{}), report: Report{Problems: []Problem{}},
	}
	in, err := newLines(im.input, o.MaxLine)
	if err != nil {
		return im.report, err
	}
	jobs := make(chan *job)
	var workers sync.WaitGroup
	for range o.Concurrency {
		workers.Go(func() {
			for j := range jobs {
				im.run(ctx, j)
			}
		})
	}
	err = im.feed(ctx, in, jobs)
	close(jobs)
	workers.Wait()
	im.mu.Lock()
	defer im.mu.Unlock()
	o.OnProgress(im.progressLocked())
	return im.report, err
}

// feed hands the entries to the workers in the order of the input, so that what
// a job waits for is always with a worker before it.
func (im *importer) feed(ctx context.Context, in *lines, jobs chan<- *job) error {
	for {
		data, err := in.next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLong):
			im.fail(Problem{Line: in.line}, fmt.Errorf("the line is longer than %d bytes", im.o.MaxLine))
			continue
		case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return fmt.Errorf("stopped before line %d: %w", in.line, err)
		case err != nil:
			return fmt.Errorf("read line %d: %w", in.line, err)
		case len(data) == 0:
			continue
		}
		j := &job{line: in.line, weight: int64(len(data))}
		if err := im.read(j, data); err != nil {
			room.Release(j.weight)
			im.fail(j.problem(), err)
			continue
		}
		im.enqueue(j)
		select {
		case jobs <- j:
		case <-ctx.Done():
			im.finish(j)
			return fmt.Errorf("stopped before line %d: %w", in.line, ctx.Err())
		}
	}
}

// read finds out what a line says and where it belongs.
func (im *importer) read(j *job, data []byte) (err error) {
	defer im.rescue(j, &err)
	l, err := readLine(data)
	j.name, j.key = shown(l.Map), im.table[l.Map].masked(l.Key)
	if err != nil {
		return err
	}
	j.entry, err = im.place(l)
	return err
}

// rescue makes a panic an error of the entry. The stack is for the log alone.
func (im *importer) rescue(j *job, err *error) {
	if v := recover(); v != nil {
		im.o.Logger.Error("an entry made the import panic", "line", j.line, "map", j.name, "panic", v, "stack", string(debug.Stack()))
		*err = errPanic
	}
}

func (j *job) problem() Problem { return Problem{Line: j.line, Map: j.name, Key: j.key} }

// enqueue puts a job behind those of the same keys.
func (im *importer) enqueue(j *job) {
	j.names, j.done = j.entry.names(), make(chan struct{})
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, name := range j.names {
		if before, ok := im.last[name]; ok {
			j.after = append(j.after, before)
		}
		im.last[name] = j.done
	}
}

func (im *importer) finish(j *job) {
	room.Release(j.weight)
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, name := range j.names {
		if im.last[name] == j.done {
			delete(im.last, name)
		}
	}
	close(j.done)
}

func (im *importer) run(ctx context.Context, j *job) {
	defer im.finish(j)
	for _, before := range j.after {
		<-before
	}
	var (
		outcome  jackcache.ImportOutcome
		messages int
	)
	err := im.patient.do(ctx, func() (err error) {
		defer im.rescue(j, &err)
		outcome, messages, err = im.apply(ctx, j.entry)
		return err
	})
	switch {
	case err != nil:
		im.fail(j.problem(), storing(err))
	case outcome == jackcache.SetAside:
		im.fail(j.problem(), aside("it was cleared, deleted, forgotten or replaced since it was written"))
	default:
		im.succeed(outcome, messages)
	}
}

func (im *importer) succeed(outcome jackcache.ImportOutcome, messages int) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.report.Messages += messages
	if outcome == jackcache.Imported {
		im.report.Imported++
	} else {
		im.report.Unchanged++
	}
	im.seenLocked()
}

func (im *importer) fail(p Problem, err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	var apart *asideError
	if p.Reason = text(err); errors.As(err, &apart) {
		p.Fate = "setAside"
		im.report.SetAside++
	} else {
		p.Fate = "failed"
		im.report.Failed++
	}
	im.report.add(p, im.o.MaxProblems)
	im.seenLocked()
}

func (im *importer) seenLocked() {
	im.report.Seen++
	if now := time.Now(); now.Sub(im.told) >= progressEvery {
		im.told = now
		im.o.OnProgress(im.progressLocked())
	}
}

func (im *importer) progressLocked() Progress {
	return Progress{Counts: im.report.Counts, Bytes: im.input.n.Load()}
}
