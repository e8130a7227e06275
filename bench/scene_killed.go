package main

import (
	"context"
	"math"
	"slices"
	"time"
)

const (
	killedWrites = 200
	// killedPatience is how long another instance looks for the writes after Redis
	// is back.
	killedPatience = 3 * time.Second
)

// killedScene kills Redis right after writes were acknowledged. It comes back
// empty.
var killedScene = scene{
	name: "killed",
	measures: []measure{
		{name: "writes acknowledged before, of 200", of: "acknowledged", fold: inMiddle, format: "%.0f"},
		{name: "of them gone for another instance, 3 s after Redis is back", of: "gone", fold: inMiddle, format: "%.0f"},
		{name: "ms from its start until the other instance has read all", of: "took", fold: inMiddle, format: "%.0f"},
	},
	start: startKilled,
}

func startKilled(s *stage) (trial, error) {
	a, b, err := s.openTwo(config{Near: peerTalks})
	if err != nil {
		return trial{}, err
	}
	round := 0
	return trial{
		close: func() { a.Close(); b.Close() },
		round: func(time.Duration) (sample, error) {
			ids := talkIDs()[round*killedWrites%peerTalks:][:killedWrites]
			round++
			return killAfter(s, a, b, ids)
		},
	}, nil
}

// killAfter writes by a, and looks for it by b, which has not read it before.
func killAfter(s *stage, a, b peerClient, ids []string) (sample, error) {
	kept := make([]bool, len(ids))
	_ = inParallel(16, len(ids), func(i int) error {
		kept[i] = a.Set(context.Background(), ids[i], talks()[i%len(talks())]) == nil
		return nil
	})
	s.redis.Kill()
	if err := s.redis.Restart(); err != nil {
		return nil, err
	}
	back := time.Now()
	var left []string
	for i, ok := range kept {
		if ok {
			left = append(left, ids[i])
		}
	}
	acknowledged := float64(len(left))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		left = slices.DeleteFunc(left, func(id string) bool { return found(b, id) })
		if len(left) == 0 || time.Since(back) > killedPatience {
			break
		}
		<-tick.C
	}
	took := float64(time.Since(back).Milliseconds())
	if len(left) > 0 {
		took = math.Inf(1)
	}
	return sample{"acknowledged": {acknowledged}, "gone": {float64(len(left))}, "took": {took}}, settle(a)
}

func found(c peerClient, id string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	v, err := c.Get(ctx, id)
	return err == nil && v.size() > 0
}
