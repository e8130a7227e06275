package jackcache

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a watcher of what a test says, and its log.
type watched struct {
	*watcher
	t  *testing.T
	mu sync.Mutex

	health Health                   // guarded by mu
	totals map[string]total         // guarded by mu
	cost   map[string]time.Duration // guarded by mu: of one call
	calls  uint64                   // guarded by mu: in a second
	log    bytes.Buffer             // guarded by mu
}

// Write takes a line of the log.
func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// watching runs a test in a bubble of time.
func watching(t *testing.T, test func(w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{
			t: t, health: Health{Status: Healthy}, totals: map[string]total{}, cost: map[string]time.Duration{},
		}
		withoutTime := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		w.watcher = &watcher{
			logger: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime})), stop: make(chan struct{}),
			health: func() Health {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.health
			},
		}
		for _, op := range []string{"get", "set"} {
			w.slow = append(w.slow, &slowness{operation: op, limit: 10 * time.Millisecond, totals: func() (uint64, time.Duration) {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.totals[op].count, w.totals[op].sum
			}})
		}
		w.done.Go(w.run)
		test(w)
		w.end()
		w.end()
	})
}

// in sets how things are, lets a time pass in which calls are made, and checks
// what was logged in it.
func (w *watched) in(d time.Duration, set func(), want ...string) {
	w.t.Helper()
	w.mu.Lock()
	if set != nil {
		set()
	}
	w.mu.Unlock()
	for range d / time.Second {
		w.mu.Lock()
		for op, cost := range w.cost {
			sum := w.totals[op]
			w.totals[op] = total{sum.count + w.calls, sum.sum + time.Duration(w.calls)*cost}
		}
		w.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	got := strings.TrimSpace(w.log.String())
	w.log.Reset()
	if got != strings.Join(want, "\n") {
		w.t.Errorf("logged\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// TestSlowAverage: one line when the mean of a minute becomes too high, one when
// it is well below, and nothing while it stays, hovers or says nothing.
func TestSlowAverage(t *testing.T) {
	watching(t, func(w *watched) {
		calls := func(n uint64, get time.Duration) func() {
			return func() { w.calls, w.cost["get"], w.cost["set"] = n, get, time.Millisecond }
		}
		w.in(10*time.Minute, calls(10, 9*time.Millisecond))
		w.in(time.Minute, calls(10, 30*time.Millisecond),
			`level=WARN msg="slow on average over the last minute" operation=get mean=10.75ms threshold=10ms calls=600`)
		w.in(10*time.Minute, nil)
		w.in(10*time.Minute, calls(10, 9*time.Millisecond))
		w.in(10*time.Minute, calls(10, 11*time.Millisecond))
		w.in(10*time.Minute, calls(10, 5*time.Millisecond),
			`level=INFO msg="no longer slow on average" operation=get mean=7.5ms threshold=10ms calls=600 after=31m30s`)
		w.in(10*time.Minute, nil)
	})
}

// TestSlowAverageOfFewCalls: some slow calls an hour are no average.
func TestSlowAverageOfFewCalls(t *testing.T) {
	watching(t, func(w *watched) {
		w.in(time.Second, func() { w.totals["get"] = total{slowCalls - 1, time.Minute} })
		w.in(2*time.Minute, nil)
		w.in(5*time.Second, func() { w.totals["get"] = total{2*slowCalls - 1, 2 * time.Minute} },
			`level=WARN msg="slow on average over the last minute" operation=get mean=3s threshold=10ms calls=20`)
		w.in(time.Hour, nil)
	})
}

// TestSlowAverageAtStart: the first minute counts, too.
func TestSlowAverageAtStart(t *testing.T) {
	watching(t, func(w *watched) {
		w.in(7*time.Second, func() { w.calls, w.cost["set"] = 10, 20*time.Millisecond },
			`level=WARN msg="slow on average over the last minute" operation=set mean=20ms threshold=10ms calls=50`)
	})
}

// TestHealthIsLogged: one line for a worse verdict, with its problems, and one
// when it has been better for a while.
func TestHealthIsLogged(t *testing.T) {
	watching(t, func(w *watched) {
		is := func(s Status, problems ...string) func() {
			return func() { w.health.Status, w.health.Problems = s, problems }
		}
		w.in(time.Hour, nil)
		for range 10 { // one late write each
			w.in(time.Second, is(Degraded, "1 writes wait"))
			w.in(5*time.Second, is(Healthy))
		}
		w.in(time.Minute, is(Degraded, "the store is down", "another"),
			`level=WARN msg="health is degraded" was=healthy problems="[the store is down another]"`)
		w.in(time.Minute, is(Degraded, "another"))
		for range 10 { // it comes and goes
			w.in(5*time.Second, is(Healthy))
			w.in(5*time.Second, is(Degraded, "the store is down"))
		}
		w.in(time.Minute, is(Healthy), `level=INFO msg="health is healthy again" was=degraded for=3m40s`)
		w.in(time.Minute, is(Unhealthy, "the disk"), `level=ERROR msg="health is unhealthy" was=healthy problems="[the disk]"`)
		w.in(time.Minute, is(Degraded, "another"), `level=INFO msg="health is degraded again" was=unhealthy for=1m0s problems=[another]`)
	})
}

// TestRoomIsLogged: one line when the store is nearly full, one when it is well
// below that, and nothing for stores without a limit.
func TestRoomIsLogged(t *testing.T) {
	watching(t, func(w *watched) {
		uses := func(percent int64) func() {
			return func() { w.health.Store = StoreHealth{Kind: "redis", UsedBytes: percent, MaxBytes: 100} }
		}
		w.in(time.Minute, uses(85))
		w.in(time.Minute, uses(86),
			`level=WARN msg="the store has little room left; when it is full writes are refused" store=redis percent=86 usedBytes=86 maxBytes=100`)
		for _, percent := range []int64{99, 84, 87, 81, 86} {
			w.in(time.Minute, uses(percent))
		}
		w.in(time.Minute, uses(79),
			`level=INFO msg="the store has room again" store=redis percent=79 usedBytes=79 maxBytes=100 after=6m0s`)
		w.in(time.Minute, uses(20))
		masters := func(percent ...int64) func() {
			return func() {
				w.health.Store = StoreHealth{Kind: "redis", UsedBytes: 1, MaxBytes: 100}
				for i, p := range percent {
					w.health.Store.Nodes = append(w.health.Store.Nodes, NodeHealth{Addr: string(rune('a' + i)), UsedBytes: p, MaxBytes: 100})
				}
			}
		}
		w.in(time.Minute, masters(50, 90),
			`level=WARN msg="the store has little room left; when it is full writes are refused" store="redis b" percent=90 usedBytes=90 maxBytes=100`)
		w.in(time.Minute, masters(50, 0), "") // it is away
		w.in(time.Minute, masters(50, 90))
		w.in(time.Minute, masters(50, 10),
			`level=INFO msg="the store has room again" store="redis b" percent=10 usedBytes=10 maxBytes=100 after=3m0s`)
		w.in(time.Minute, func() { w.health.Store = StoreHealth{Kind: "redis", UsedBytes: 1 << 40} })
	})
}
