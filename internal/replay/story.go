package replay

import "time"

const (
	// silentFor is how long writes wait before it is told: one that came late once
	// is no story.
	silentFor = time.Second
	// tellEvery is how often progress is told. While there is none that grows to
	// tellSeldom.
	tellEvery  = 5 * time.Second
	tellSeldom = time.Minute
)

// outage tells the story of one in a few lines of the log.
type outage struct {
	since    time.Time // zero: nothing is pending
	told     time.Time // zero: nothing was told
	every    time.Duration
	before   int64 // replayed when it was last told
	replayed int64 // at the begin
}

func (o *outage) begin(r *Replayer) {
	if o.since.IsZero() {
		*o = outage{since: time.Now(), replayed: r.counts.replayed.Load()}
	}
}

// tell tells how far it is, now and then.
func (o *outage) tell(r *Replayer) {
	now := time.Now()
	switch {
	case o.told.IsZero() && now.Sub(o.since) >= silentFor:
		r.opts.Logger.Warn("writes are kept in the journal until redis takes them", "pending", r.j.PendingCount(), "crashSafe", r.j.Stats().CrashSafe)
		o.told, o.every, o.before = now, tellEvery, r.counts.replayed.Load()
	case !o.told.IsZero() && now.Sub(o.told) >= o.every:
		o.progress(r, now)
	}
}

func (o *outage) progress(r *Replayer, now time.Time) {
	s, replayed := r.j.Stats(), r.counts.replayed.Load()
	args := []any{
		"pending", s.PendingRecords, "bytes", s.PendingBytes, "oldest", r.opts.Now().Sub(s.OldestPending).Round(time.Second).String(),
		"replayed", replayed - o.replayed, "perSecond", int(r.counts.perSecond()),
	}
	if problem := r.Stats().Problem; problem != "" {
		args = append(args, "problem", problem)
	}
	r.opts.Logger.Warn("writes wait in the journal", args...)
	if replayed == o.before {
		o.every = min(2*o.every, tellSeldom)
	} else {
		o.every = tellEvery
	}
	o.told, o.before = now, replayed
}

func (o *outage) end(r *Replayer) {
	if !o.told.IsZero() {
		r.opts.Logger.Info("redis has all that was kept in the journal", "replayed", r.counts.replayed.Load()-o.replayed,
			"after", time.Since(o.since).Round(time.Millisecond).String(), "setAside", r.aside.n.Load())
	}
	*o = outage{}
}
