package httpapi

import (
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// failureEvery is how often the log tells of requests that fail for one reason,
// where the reason is how the store is: then all of them fail alike, thousands in
// a second, and the lines that tell why would not be found among them.
const failureEvery = 10 * time.Second

// failures counts the requests that the log does not tell of. The zero value is
// ready. Safe for concurrent use.
type failures struct {
	mu    sync.Mutex
	kinds map[string]*failing // guarded by mu: by the name of the problem
}

type failing struct {
	told time.Time
	more int // since told
}

// tell reports whether a failure is to be told, and how many were not since the
// last one that was.
func (f *failures) tell(v verdict, now time.Time) (more int, tell bool) {
	if v.status != http.StatusServiceUnavailable && v.status != http.StatusInsufficientStorage {
		return 0, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.kinds[v.name]
	switch {
	case k == nil:
		if f.kinds == nil {
			f.kinds = make(map[string]*failing)
		}
		f.kinds[v.name] = &failing{told: now}
		return 0, true
	case now.Sub(k.told) < failureEvery:
		k.more++
		return 0, false
	}
	more = k.more
	k.told, k.more = now, 0
	return more, true
}

// tellFailure logs why a request failed. Where not all of them are told, the
// others are at debug level.
func (x *exchange) tellFailure(v verdict, err error) {
	args := []slog.Attr{
		slog.String("problem", v.name), slog.Int("status", v.status), x.identity(),
		slog.String("route", x.r.Pattern), slog.Any("err", err),
	}
	level := v.level
	more, tell := x.s.refused.tell(v, time.Now())
	switch {
	case !tell:
		level = slog.LevelDebug
	case more > 0:
		args = append(args, slog.Int("othersBefore", more))
	}
	x.s.opts.Logger.LogAttrs(x.r.Context(), level, "request failed", args...)
}
