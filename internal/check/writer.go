package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// writer appends messages and writes values one after the other, and remembers
// what was acknowledged.
type writer struct {
	on      *assistant.Assistant
	org     string
	budget  time.Duration
	pause   *time.Ticker
	n       int
	acked   map[int][]string // ids of messages by phone
	value   int              // the last that was acknowledged
	result  Outage
	reason  error        // of the last typed error
	through time.Time    // when connections were let through last
	late    atomic.Int64 // nanoseconds: the longest that this host kept a timer waiting
}

func newWriter(on *assistant.Assistant, org string, budget time.Duration) *writer {
	if budget == 0 {
		budget = jackcache.DefaultBudget
	}
	return &writer{on: on, org: org, budget: budget, pause: time.NewTicker(writeEvery), acked: make(map[int][]string), result: Outage{Recovered: []float64{}}}
}

// control measures what this host keeps a timer waiting, until what it returns is
// called.
func (w *writer) control() (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			due := time.Now().Add(writeEvery)
			timer.Reset(writeEvery)
			select {
			case <-stop:
				return
			case <-timer.C:
				w.late.Store(max(w.late.Load(), int64(time.Since(due))))
			}
		}
	}()
	return func() { close(stop); <-done }
}

// write appends a message and sets a value. It reports whether both are in the
// shared store; the error is one that is not typed.
func (w *writer) write(ctx context.Context) (bool, error) {
	org := w.on.Cache.Org(w.org)
	at, id := w.n/(perPhone*spread)*spread+w.n%spread, fmt.Sprintf("m%d", w.n)
	n := w.n + 1
	w.n = n
	ctx, receipt := jackcache.WithReceipt(ctx)
	appended, err := w.call(receipt, func() error {
		_, err := org.Conversation(phone(at)).Append(ctx, message(id, "hello"))
		return err
	})
	if appended {
		w.acked[at] = append(w.acked[at], id)
	}
	if err != nil {
		return false, doing("append", err)
	}
	ctx, kept := jackcache.WithReceipt(ctx)
	set, err := w.call(kept, func() error {
		_, err := w.on.Kinds.Summary.Set(ctx, org, phone(0), assistant.Summary{Text: fmt.Sprint(n)})
		return err
	})
	if set {
		w.value = n
	}
	return appended && set && !receipt.Pending() && !kept.Pending(), doing("set", err)
}

// call makes one call and counts what came of it.
func (w *writer) call(receipt *jackcache.Receipt, f func() error) (acknowledged bool, err error) {
	start := time.Now()
	err = f()
	w.result.Slowest = max(w.result.Slowest, milliseconds(time.Since(start)))
	w.result.Calls++
	switch {
	case err == nil:
		w.result.Acknowledged++
		if receipt.Pending() {
			w.result.Pending++
		}
		return true, nil
	case typed(err):
		w.result.Errors++
		w.reason = err
		return false, nil
	}
	return false, err
}

// during writes for a time.
func (w *writer) during(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if _, err := w.write(ctx); err != nil {
			return err
		}
		if err := w.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// until writes until n writes reached the shared store.
func (w *writer) until(ctx context.Context, limit time.Duration, n int) error {
	for end := time.Now().Add(limit); n > 0; {
		ok, err := w.write(ctx)
		if err != nil {
			return err
		}
		if ok {
			n--
		}
		if time.Now().After(end) && n > 0 {
			return w.noAnswer(limit)
		}
		if err := w.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// served writes until writes to all conversations reached the shared store in a
// row, and returns how long it took to the first of them.
func (w *writer) served(ctx context.Context, limit time.Duration) (time.Duration, error) {
	start := time.Now()
	var took time.Duration
	for row := 0; row < spread; {
		ok, err := w.write(ctx)
		if err != nil {
			return 0, err
		}
		if !ok {
			row = 0
		} else if row++; row == 1 {
			took = time.Since(start)
		}
		if row < spread && time.Since(start) > limit {
			return 0, w.noAnswer(limit)
		}
		if err := w.rest(ctx); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// arrived waits until nothing waits for the shared store, and nothing is applied
// to it again.
func (w *writer) arrived(ctx context.Context, limit time.Duration) error {
	since := time.Now()
	for end := since.Add(limit); ; {
		h := w.on.Cache.Health()
		now := time.Now()
		switch {
		case h.Journal.Pending > 0 || h.Journal.Restoring > 0:
			since = now
		case now.Sub(since) > quietTime:
			w.result.Arrived = milliseconds(since.Sub(w.through))
			return nil
		}
		if now.After(end) {
			return wrong(network, "%d writes still wait for redis %s after it is there again: %s", h.Journal.Pending, limit, h.Journal.Trouble)
		}
		if err := w.rest(ctx); err != nil {
			return err
		}
	}
}

func (w *writer) noAnswer(limit time.Duration) error {
	toDo := "look at the way to the server, at its limit of connections (maxclients), and at firewalls that let connections be made only at the start"
	if w.result.Acknowledged-w.result.Pending < steadyWrites {
		toDo = fmt.Sprintf("calls do not end within %s: bring the server nearer, or raise JACKCACHE_BUDGET", w.budget)
	}
	problem := "no reason is known"
	if p := w.on.Cache.Health().Problems; len(p) > 0 {
		problem = p[0]
	}
	return wrong(toDo, "writes are not served after %s: %s", limit, problem)
}

func (w *writer) rest(ctx context.Context) error {
	select {
	case <-w.pause.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// inTime reports whether calls took longer than their budget, what this host
// kept them waiting not counted.
func (w *writer) inTime() error {
	late := time.Duration(w.late.Load())
	if slowest := fromMillis(w.result.Slowest); slowest > w.budget+grace+4*late {
		return wrong("this host is overloaded (give it more processors), or report a defect of jackcache",
			"a call took %s while the connections were cut, the budget is %s; a timer of this host was up to %s late", shown(slowest), w.budget, shown(late))
	}
	return nil
}

// gone is what to do where acknowledged data is gone.
const gone = "acknowledged data is gone: let Redis persist (appendonly yes) and not evict (maxmemory-policy noeviction), and see whether " + strangers

// await waits until another instance reads all that was acknowledged, each
// message once.
func (w *writer) await(ctx context.Context, by *assistant.Assistant, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		missing, err := w.missing(ctx, by)
		switch {
		case err == nil && missing == "":
			return nil
		case err != nil && !typed(err):
			return doing("read what was acknowledged", err)
		case time.Now().Before(end):
			// It may still be on its way.
		case err != nil:
			return doing("read what was acknowledged", err)
		default:
			return wrong(gone, "%s", missing)
		}
		if err := w.rest(ctx); err != nil {
			return err
		}
	}
}

// missing says what is not as it was acknowledged; empty: nothing.
func (w *writer) missing(ctx context.Context, by *assistant.Assistant) (string, error) {
	org := by.Cache.Org(w.org)
	for _, at := range slices.Sorted(maps.Keys(w.acked)) {
		t, err := org.Conversation(phone(at)).Messages(ctx, jackcache.ReadOptions{})
		if err != nil {
			return "", err
		}
		times := make(map[string]int)
		for _, m := range t.Messages {
			times[m.ID]++
		}
		for _, id := range w.acked[at] {
			if times[id] != 1 {
				return fmt.Sprintf("message %s of %d acknowledged ones is there %d times, want once", id, w.result.Acknowledged, times[id]), nil
			}
		}
	}
	got, err := by.Kinds.Summary.Get(ctx, org, phone(0))
	if err != nil {
		return "", err
	}
	var n int
	if _, err := fmt.Sscan(got.Text, &n); err != nil || n < w.value {
		return fmt.Sprintf("the value is %q, acknowledged was %d", got.Text, w.value), nil
	}
	return "", nil
}
