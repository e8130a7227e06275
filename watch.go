package jackcache

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/engine"
)

const (
	// watchEvery is how often health and room are looked at.
	watchEvery = time.Second
	// sampleEvery is how often the latencies are. slowWindow is a whole number of
	// it.
	sampleEvery = 5 * time.Second
	slowWindow  = time.Minute
	// slowCalls is the least number of calls in slowWindow whose mean says
	// something.
	slowCalls = 20
	// wellBelow is the share of the threshold below which an average is well
	// again: between the two nothing is said.
	wellBelow = 0.8
	// fullAbove and roomBelow are the shares of a store's limit at which a
	// warning begins and ends.
	fullAbove, roomBelow = 0.85, 0.80
	// steadyFor is how long health has to be better before that is said: a store
	// that comes and goes gets one line, not one each time.
	steadyFor = 10 * time.Second
	// badFor is how long health has to be degraded before that is said: a write
	// that came late once is no event.
	badFor = time.Second
)

// watcher tells the logger how the cache is when that changes, and nothing while
// it stays as it is.
type watcher struct {
	logger *slog.Logger
	health func() Health
	slow   []*slowness

	told   Status // the last verdict that was logged
	since  time.Time
	better time.Time // since when it is better than told; zero: it is not
	bad    time.Time // since when it is worse than told; zero: it is not
	full   map[string]time.Time

	stop chan struct{}
	once sync.Once
	done sync.WaitGroup
}

// watch starts to watch the cache.
func (c *Cache) watch() *watcher {
	w := &watcher{logger: c.opts.Logger, health: c.Health, stop: make(chan struct{})}
	for _, op := range []engine.Operation{engine.OpGet, engine.OpSet, engine.OpAppend} {
		w.slow = append(w.slow, &slowness{
			operation: op.String(), limit: c.opts.SlowAverage,
			totals: func() (uint64, time.Duration) { return c.engine.Totals(op) },
		})
	}
	w.done.Go(w.run)
	return w
}

// end waits until nothing is logged any more. It may be called more than once,
// and on nil.
func (w *watcher) end() {
	if w == nil {
		return
	}
	w.once.Do(func() { close(w.stop) })
	w.done.Wait()
}

func (w *watcher) run() {
	w.told, w.since, w.full = Healthy, time.Now(), make(map[string]time.Time)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	sampled := time.Now()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		now := time.Now()
		h := w.health()
		w.verdict(now, h)
		w.room(now, h)
		if now.Sub(sampled) < sampleEvery {
			continue
		}
		sampled = now
		for _, s := range w.slow {
			s.observe(now, w.logger)
		}
	}
}

// verdict tells that the cache is unhealthy at once, and of all else when it
// lasts.
func (w *watcher) verdict(now time.Time, h Health) {
	if !worse(h.Status, w.told) {
		w.bad = time.Time{}
	}
	switch {
	case h.Status == w.told:
		w.better = time.Time{}
		return
	case worse(h.Status, w.told):
		w.worse(now, h)
		return
	case w.better.IsZero():
		w.better = now
	}
	if now.Sub(w.better) < steadyFor {
		return
	}
	args := []any{"was", string(w.told), "for", w.better.Sub(w.since).Round(time.Second).String()}
	if len(h.Problems) > 0 {
		args = append(args, "problems", h.Problems)
	}
	w.logger.Info("health is "+string(h.Status)+" again", args...)
	w.told, w.since, w.better = h.Status, w.better, time.Time{}
}

// worse tells of a worse status.
func (w *watcher) worse(now time.Time, h Health) {
	w.better = time.Time{}
	if w.bad.IsZero() {
		w.bad = now
	}
	level := slog.LevelError
	if h.Status != Unhealthy {
		if now.Sub(w.bad) < badFor {
			return
		}
		level = slog.LevelWarn
	}
	w.logger.Log(context.Background(), level, "health is "+string(h.Status), "was", string(w.told), "problems", h.Problems)
	w.told, w.since, w.bad = h.Status, w.bad, time.Time{}
}

func worse(a, b Status) bool {
	order := []Status{Healthy, Degraded, Unhealthy}
	return slices.Index(order, a) > slices.Index(order, b)
}

// usage is how full a store or one of its servers is.
type usage struct {
	name      string
	used, max int64
}

// usages are those of the masters of Redis, of which one may be full and others
// not, or that of the store.
func usages(h Health) []usage {
	if len(h.Store.Nodes) == 0 {
		return []usage{{name: h.Store.Kind, used: h.Store.UsedBytes, max: h.Store.MaxBytes}}
	}
	var all []usage
	for _, n := range h.Store.Nodes {
		all = append(all, usage{name: h.Store.Kind + " " + n.Addr, used: n.UsedBytes, max: n.MaxBytes})
	}
	return all
}

// room tells when a store has little room left, and when it has more again.
func (w *watcher) room(now time.Time, h Health) {
	for _, u := range usages(h) {
		if u.max <= 0 || u.used <= 0 {
			continue // there is no limit, or it is not known
		}
		share := float64(u.used) / float64(u.max)
		began, full := w.full[u.name]
		args := []any{"store", u.name, "percent", int(100 * share), "usedBytes", u.used, "maxBytes", u.max}
		switch {
		case !full && share > fullAbove:
			w.full[u.name] = now
			w.logger.Warn("the store has little room left; when it is full writes are refused", args...)
		case full && share < roomBelow:
			delete(w.full, u.name)
			w.logger.Info("the store has room again", append(args, "after", now.Sub(began).Round(time.Second).String())...)
		}
	}
}

// slowness watches the mean of one operation.
type slowness struct {
	operation string
	limit     time.Duration
	totals    func() (count uint64, sum time.Duration) // since the start

	samples []total   // of the last slowWindow, the oldest first
	slow    time.Time // since when; zero: it is not
}

type total struct {
	count uint64
	sum   time.Duration
}

// observe takes a sample, and tells when the mean of the window becomes too
// high, and when it is well again.
func (s *slowness) observe(now time.Time, logger *slog.Logger) {
	var newest total
	newest.count, newest.sum = s.totals()
	var oldest total // where the window reaches beyond the start, nothing
	if len(s.samples) > int(slowWindow/sampleEvery) {
		s.samples = slices.Delete(s.samples, 0, 1)
	}
	if s.samples = append(s.samples, newest); len(s.samples) > int(slowWindow/sampleEvery) {
		oldest = s.samples[0]
	}
	calls := newest.count - oldest.count
	if calls < slowCalls {
		return
	}
	mean := (newest.sum - oldest.sum) / time.Duration(calls)
	args := []any{"operation", s.operation, "mean", shown(mean), "threshold", shown(s.limit), "calls", calls}
	switch {
	case s.slow.IsZero() && mean > s.limit:
		s.slow = now
		logger.Warn("slow on average over the last minute", args...)
	case !s.slow.IsZero() && float64(mean) < wellBelow*float64(s.limit):
		logger.Info("no longer slow on average", append(args, "after", now.Sub(s.slow).Round(time.Second).String())...)
		s.slow = time.Time{}
	}
}

// shown is a duration with as many digits as tell something.
func shown(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
