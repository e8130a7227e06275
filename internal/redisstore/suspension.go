package redisstore

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Who has waited in vain for a process suspends it: a mark beside its entry, and a
// key whose change tells it. Where one server has everything, the change comes to the
// process in front of every signal that it sends later, and has these count for
// nothing until it has entered the list again, which takes the mark away. So a
// process with a mark has proofs from before it only.

const (
	// suspended begins the name of the field with the mark of a process.
	suspended = "suspended:"
	// suspendAfter is how long answers are waited for at least until those who have
	// given none are suspended. It costs them two trips if they live, and as nothing
	// can be proven meanwhile, their copies where it happens again and again: so who
	// is slow is given up to suspendLate.
	suspendAfter, suspendLate = 50 * time.Millisecond, 500 * time.Millisecond
)

// patience is how long answers are waited for until those who have given none are
// suspended. The zero patience is suspendAfter.
type patience struct{ most atomic.Int64 }

func (p *patience) now() time.Duration { return max(suspendAfter, time.Duration(p.most.Load())) }

// needed is told how long one took who answered after it had been suspended.
func (p *patience) needed(took time.Duration) {
	want := int64(min(2*took, suspendLate))
	for old := p.most.Load(); old < want && !p.most.CompareAndSwap(old, want); old = p.most.Load() {
	}
}

// answered is told how long it took until all had answered in time.
func (p *patience) answered(took time.Duration) {
	if old := p.most.Load(); 2*int64(took) < old {
		p.most.CompareAndSwap(old, old-old/8)
	}
}

// suspend suspends a process that does not answer.
func (s *Store) suspend(process string) {
	ctx, cancel := context.WithTimeout(context.Background(), listTime)
	defer cancel()
	key := s.opts.Space.Listeners()
	names := []string{key, s.opts.Space.Suspension(process)}
	err := s.jobOn(ctx, key, func(c rueidis.Client) error {
		return listenerSuspend.run(ctx, c, names, []string{process}).Error()
	})
	if err != nil {
		s.opts.Logger.Debug("an instance that does not answer is not suspended", "err", err)
	}
}

// suspendedFor returns for how long after its mark a process may have a proof that
// counts, where bound is that of its proofs.
func (s *Store) suspendedFor(bound time.Duration) time.Duration {
	if s.opts.Mode == Cluster {
		// The mark is told by the server of the list, and proofs come from others. But
		// the entry was not prolonged since.
		return listLife + bound + boundMargin
	}
	return bound + boundMargin
}

// suspended returns for how long a process has had its mark; false: it has none, or
// one that another server made, or this one before it was another one's replica: that
// may have been taken away since, and have come back.
func (l listRead) suspended(process string) (time.Duration, bool) {
	history, since := parseSuspension(l.entries[suspended+process])
	if history == "" || history != l.history {
		return 0, false
	}
	return time.Duration(max(0, l.now-since)) * time.Millisecond, true
}

// parseSuspension reads "suspended <history> <since in ms> <end of the entry in ms>".
// What it cannot read is none.
func parseSuspension(text string) (history string, since int64) {
	parts := strings.Fields(text)
	if len(parts) != 4 || parts[0] != "suspended" {
		return "", 0
	}
	if since = number(parts[2]); since <= 0 {
		return "", 0
	}
	return parts[1], since
}
