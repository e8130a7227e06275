package main

import (
	"context"
	"time"
)

// nearHitScene reads values that the instance has read before.
var nearHitScene = scene{
	name: "nearhit", warm: true,
	measures: []measure{
		{name: "a hit hands out", text: func(p *peer) string { return p.hands }},
		{name: "ns/op, 1 goroutine", of: "one", fold: inMiddle, format: "%.0f"},
		{name: "× raw otter", of: "one", fold: inMiddle, to: otterPeer, format: "%.2f"},
		{name: "allocs/op", of: "allocs", fold: inMiddle, format: "%.1f"},
		{name: "ns/op, 2 goroutines", of: "two", fold: inMiddle, format: "%.0f"},
		{name: "× raw otter, 2 goroutines", of: "two", fold: inMiddle, to: otterPeer, format: "%.2f"},
	},
	start: startNearHit,
}

func startNearHit(s *stage) (trial, error) {
	c, err := s.open(config{Near: 10 * peerTalks})
	if err != nil {
		return trial{}, err
	}
	t := trial{close: c.Close, round: func(slice time.Duration) (sample, error) { return nearHit(c, slice) }}
	if err := fillTalks(c, hotTalks); err != nil {
		return t, err
	}
	// Some near tiers take a value in when it is read for a second time, or later.
	for range 5 {
		for _, id := range talkIDs()[:hotTalks] {
			if _, err := c.Get(context.Background(), id); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

func nearHit(c peerClient, slice time.Duration) (sample, error) {
	one, err := runLoop(c, loopSpec{What: "near", Millis: slice.Milliseconds(), Callers: 1})
	if err != nil {
		return nil, err
	}
	got := sample{"one": {one.nsPerOp()}}
	if _, ok := c.(elsewhere); ok {
		return got, nil // one thread, and no count of allocations
	}
	two, err := runLoop(c, loopSpec{What: "near", Millis: slice.Milliseconds(), Callers: 2})
	if err != nil {
		return nil, err
	}
	got["allocs"], got["two"] = []float64{one.Allocs}, []float64{two.nsPerOp()}
	return got, nil
}
