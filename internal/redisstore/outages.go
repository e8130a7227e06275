package redisstore

import (
	"log/slog"
	"time"
)

// steadyFor is how long a server has to answer before it is told that it does
// again, where it came and went before.
const steadyFor = 10 * time.Second

// outages tells the log when a server stops to answer and when it answers again.
// One that comes and goes gets a line when that begins and a line when it has
// ended, not two each time. One goroutine uses it.
type outages struct {
	logger *slog.Logger
	addr   string

	closed time.Time // when it last answered again; zero: it never stopped
	since  time.Time // when it began to come and go
	count  int       // how often it stopped since; 0: it does not come and go
	calm   *time.Timer
}

func newOutages(logger *slog.Logger, addr string) *outages {
	calm := time.NewTimer(steadyFor)
	calm.Stop()
	return &outages{logger: logger, addr: addr, calm: calm}
}

// begin tells that the server stopped to answer.
func (o *outages) begin(reason string) {
	o.calm.Stop()
	switch {
	case o.count > 0:
		o.count++
	case o.closed.IsZero() || time.Since(o.closed) >= steadyFor:
		o.logger.Warn("redis does not answer; no call goes to it until it does", "addr", o.addr, "reason", reason)
	default:
		o.since, o.count = time.Now(), 1
		o.logger.Warn("redis comes and goes; it is told when it answers for "+steadyFor.String(), "addr", o.addr, "reason", reason)
	}
}

// end tells that it answers again; since is when it stopped.
func (o *outages) end(since time.Time) {
	o.closed = time.Now()
	if o.count > 0 {
		o.calm.Reset(steadyFor)
		return
	}
	o.logger.Info("redis answers again", "addr", o.addr, "after", time.Since(since).Round(time.Millisecond).String())
}

// settle tells that it has answered for a while, when calm says so.
func (o *outages) settle() {
	o.logger.Info("redis answers again, and steadily", "addr", o.addr, "stopped", o.count,
		"after", o.closed.Sub(o.since).Round(time.Millisecond).String())
	o.count = 0
}
