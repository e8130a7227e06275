package replay

import (
	"math"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
)

const (
	// turns is how many organisations have their turn at a time, beside one with not
	// more than few to do: its calls are served while others catch up, and are slow as
	// long as something of it waits.
	turns = 8
	few   = 64
)

// lane is places for those who take turns, of organisations with so much to do.
type lane struct {
	most   int
	places chan struct{}
}

func newLanes() []lane {
	return []lane{{most: math.MaxInt, places: make(chan struct{}, turns)}, {most: few, places: make(chan struct{}, 1)}}
}

// employ starts as many to take turns as there are places and organisations with
// something to do. It waits for nobody: an organisation whose operations hang
// keeps one of them, and no other organisation.
func (r *Replayer) employ(takers *sync.WaitGroup, in lane) {
	for {
		select {
		case in.places <- struct{}{}:
		default:
			return
		}
		l, ps := r.queues.next(chunk, in.most, time.Now())
		if l == nil {
			<-in.places
			return
		}
		takers.Go(func() {
			defer func() { <-in.places }()
			r.takeTurns(l, ps, in.most)
		})
	}
}

// takeTurns works on a part of what an organisation has to do, then on one of
// another, until there is nothing.
func (r *Replayer) takeTurns(l *line, ps []journal.Position, most int) {
	for l != nil && r.ctx.Err() == nil {
		left, waits := r.turn(l, ps)
		r.queues.put(l, left, waits, time.Now())
		l, ps = r.queues.next(chunk, most, time.Now())
	}
}
