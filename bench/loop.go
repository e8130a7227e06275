package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// loopSpec is a loop of calls that a client makes, wherever it runs.
type loopSpec struct {
	// What is near: read few values again and again; far: read each value once;
	// mix: read and write values as Zipf draws them.
	What    string `json:"what"`
	Millis  int64  `json:"millis"`
	Callers int    `json:"callers"`
	// Speaks makes a write an append of one message.
	Speaks bool `json:"-"`
}

// loopResult is what a loop did.
type loopResult struct {
	Ops    int64   `json:"ops"`
	Nanos  int64   `json:"nanos"`
	Allocs float64 `json:"allocs"` // of an operation; negative: not known
}

func (r loopResult) nsPerOp() float64   { return float64(r.Nanos) / float64(r.Ops) }
func (r loopResult) perSecond() float64 { return 1e9 / r.nsPerOp() }

// elsewhere is a client in another process, which runs loops there.
type elsewhere interface {
	Loop(spec loopSpec) (loopResult, error)
}

const (
	// hotTalks is how many values the loop near reads.
	hotTalks = 100
	// loopBatch is how many calls are made between two looks at the clock.
	loopBatch = 8
	// mixWrites is which share of the mix writes: one in so many.
	mixWrites = 10
)

// runLoop runs a loop over the first peerTalks values.
func runLoop(c peerClient, spec loopSpec) (loopResult, error) {
	if e, ok := c.(elsewhere); ok {
		return e.Loop(spec)
	}
	step, err := loopStep(c, spec)
	if err != nil {
		return loopResult{}, err
	}
	var (
		wg           sync.WaitGroup
		total, over  atomic.Int64
		first        atomic.Pointer[error]
		before, then runtime.MemStats
	)
	runtime.ReadMemStats(&before)
	start := time.Now()
	end := start.Add(time.Duration(spec.Millis) * time.Millisecond)
	for caller := range spec.Callers {
		wg.Go(func() {
			r, n := rand.New(rand.NewPCG(uint64(caller), uint64(start.UnixNano()))), int64(0)
			defer func() { total.Add(n) }()
			for time.Now().Before(end) && over.Load() == 0 && first.Load() == nil {
				for range loopBatch {
					more, err := step(r)
					if err != nil {
						failed := err // err itself would be an allocation of each call
						first.CompareAndSwap(nil, &failed)
						return
					}
					if !more {
						over.Store(1)
						return
					}
					n++
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	runtime.ReadMemStats(&then)
	if err := first.Load(); err != nil {
		return loopResult{}, *err
	}
	n := total.Load()
	if n == 0 {
		return loopResult{}, fmt.Errorf("not one call in %d ms", spec.Millis)
	}
	return loopResult{Ops: n, Nanos: took.Nanoseconds(), Allocs: float64(then.Mallocs-before.Mallocs) / float64(n)}, nil
}

// loopStep makes one call of a loop; false: there is nothing left to do.
func loopStep(c peerClient, spec loopSpec) (func(r *rand.Rand) (more bool, err error), error) {
	ctx, ids := context.Background(), talkIDs()
	read := func(id string) (bool, error) {
		v, err := c.Get(ctx, id)
		if err == nil && v.size() == 0 {
			err = fmt.Errorf("get of %s: an empty value", id)
		}
		return err == nil, err
	}
	switch spec.What {
	case "near":
		return func(r *rand.Rand) (bool, error) { return read(ids[r.IntN(hotTalks)]) }, nil
	case "far":
		var next atomic.Int64
		return func(*rand.Rand) (bool, error) {
			n := next.Add(1) - 1
			if n >= int64(len(ids)) {
				return false, nil
			}
			return read(ids[n])
		}, nil
	case "mix":
		order := zipf()
		return func(r *rand.Rand) (bool, error) {
			id := ids[order[r.IntN(len(order))]]
			if r.IntN(mixWrites) != 0 {
				return read(id)
			}
			err := writeTalk(ctx, c, id, spec.Speaks)
			return err == nil, err
		}, nil
	}
	return nil, fmt.Errorf("loop %q: there are near, far, mix", spec.What)
}

// writeTalk writes a value, or says one more message.
func writeTalk(ctx context.Context, c peerClient, id string, speaks bool) error {
	n := serial.Add(1)
	if a, ok := c.(appends); ok && speaks {
		return a.Append(ctx, id, benchMessage{ID: "m" + strconv.FormatInt(n, 10), Role: "user", Content: conversationText, Timestamp: 1_757_000_000_000})
	}
	return c.Set(ctx, id, talks()[n%int64(len(talks()))])
}

// zipf draws numbers below peerTalks with the exponent 1.01, once for all.
var zipf = sync.OnceValue(func() []int {
	sums := make([]float64, peerTalks)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -1.01)
		sums[i] = sum
	}
	r := rand.New(rand.NewPCG(1, 2))
	drawn := make([]int, 1<<17)
	for i := range drawn {
		drawn[i] = min(peerTalks-1, sort.SearchFloat64s(sums, r.Float64()*sum))
	}
	return drawn
})
