package replay

import (
	"slices"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
)

// line is what is pending of one organisation.
type line struct {
	org   keys.Org
	ready []journal.Position // in order
	// parked could not be applied; they are tried again at retryAt.
	parked  []journal.Position
	retryAt time.Time
	backoff time.Duration
	busy    bool // somebody works on it
	// assigned: up to there the generation of what is pending was decided. It
	// belongs to who works on the line; found is what was read of it meanwhile.
	assigned, found journal.Position
	// waits: nothing of it may be applied before what is parked.
	waits   bool
	refused map[journal.Position]refusal
}

// refusal counts how often the store said no to a record.
type refusal struct {
	times int
	since time.Time
}

// queues has a line for each organisation, which take turns.
type queues struct {
	mu    sync.Mutex
	lines map[keys.Org]*line // guarded by mu
	turn  []*line            // guarded by mu: those with something to do, next first
	last  journal.Position   // up to which the journal was read; of who fills
}

func newQueues() queues { return queues{lines: make(map[keys.Org]*line)} }

// fill adds what became pending in the journal. One at a time may call it.
func (q *queues) fill(j *journal.Journal) {
	const page = 512 // who writes to the journal waits for it
	for {
		news := j.Waiting(q.last, page)
		q.add(news)
		if len(news) < page {
			return
		}
	}
}

func (q *queues) add(news []journal.Outstanding) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range news {
		q.last = o.Position
		l := q.lines[o.Org]
		if l == nil {
			l = &line{org: o.Org, refused: make(map[journal.Position]refusal)}
			q.lines[o.Org] = l
			q.turn = append(q.turn, l)
		}
		l.ready = append(l.ready, o.Position)
		if o.Assigned {
			l.found = o.Position
		}
	}
}

// next takes a line that has something to do now, but not more than most, with up to
// n positions of it; nil: there is none.
func (q *queues) next(n, most int, now time.Time) (*line, []journal.Position) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, l := range q.turn {
		if l.busy {
			continue
		}
		if len(l.parked) > 0 && now.After(l.retryAt) {
			l.ready = append(l.parked, l.ready...)
			l.parked, l.waits = nil, false
			slices.Sort(l.ready)
		}
		if len(l.ready) == 0 || len(l.ready) > most || l.waits {
			continue
		}
		q.turn = append(slices.Delete(q.turn, i, i+1), l)
		taken := l.ready[:min(n, len(l.ready))]
		l.ready = l.ready[len(taken):]
		l.busy = true
		l.assigned = max(l.assigned, l.found)
		return l, taken
	}
	return nil, nil
}

// put ends the work on a line. What is left is tried again later, and with waits
// nothing of the line before that.
func (q *queues) put(l *line, left []journal.Position, waits bool, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.busy = false
	if len(left) > 0 {
		l.parked = append(l.parked, left...)
		l.waits = l.waits || waits
		l.backoff = min(max(2*l.backoff, retryFirst), retryMost)
		l.retryAt = now.Add(l.backoff)
		return
	}
	if len(l.parked) > 0 {
		return
	}
	l.backoff = 0
	if len(l.ready) > 0 {
		return
	}
	delete(q.lines, l.org)
	if at := slices.Index(q.turn, l); at >= 0 {
		q.turn = slices.Delete(q.turn, at, at+1)
	}
}
