package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/openloop"
)

const (
	frozenFor     = 3 * time.Second
	frozenCallers = 64
	frozenRate    = 20.0 // calls a second of each
	frozenLimit   = 25 * time.Millisecond
)

// frozenScene reads what was read before while Redis hangs.
var frozenScene = scene{
	name: "frozen",
	measures: []measure{
		{name: "answered without error within 25 ms of the intended start", of: "share", fold: inMiddle, format: "%.1f %%"},
		{name: "errors", of: "errors", fold: inMiddle, format: "%.1f %%"},
		{name: "ms, the slowest", of: "max", fold: inMiddle, format: "%.0f"},
		{name: "ms, p99.9 of the same schedule with nothing to do", of: "control", fold: inMiddle, format: "%.1f"},
	},
	start: startFrozen,
}

func startFrozen(s *stage) (trial, error) {
	// Another instance wrote the values: what one wrote itself it may know.
	writer, err := s.open(config{Near: peerTalks})
	if err != nil {
		return trial{}, err
	}
	err = fillTalks(writer, frozenCallers)
	writer.Close()
	if err != nil {
		return trial{}, err
	}
	c, err := s.open(config{Near: peerTalks, Hurried: true})
	if err != nil {
		return trial{}, err
	}
	return trial{close: c.Close, round: func(time.Duration) (sample, error) { return freezeAndRead(s, c) }}, nil
}

func freezeAndRead(s *stage, c peerClient) (sample, error) {
	ids := talkIDs()[:frozenCallers]
	for range 5 {
		for _, id := range ids {
			if err := insist(func() error { _, err := c.Get(context.Background(), id); return err }); err != nil {
				return nil, err
			}
		}
	}
	s.redis.Freeze()
	thaw := time.AfterFunc(frozenFor, s.redis.Thaw)
	defer thaw.Stop()
	defer s.redis.Thaw()
	schedule := openloop.Schedule{Callers: frozenCallers, Rate: frozenRate, For: frozenFor}
	interval := time.Duration(float64(time.Second) / frozenRate)
	start := time.Now().Add(10 * time.Millisecond) // as Run does
	var inTime atomic.Int64
	res := openloop.Run(schedule, func(caller, n int) error {
		intended := start.Add(interval*time.Duration(caller)/frozenCallers + time.Duration(n)*interval)
		ctx, cancel := context.WithTimeout(context.Background(), peerDeadline)
		defer cancel()
		_, err := c.Get(ctx, ids[caller])
		if err == nil && time.Since(intended) <= frozenLimit {
			inTime.Add(1)
		}
		return err
	})
	s.redis.Thaw()
	percent := func(n int) []float64 { return []float64{100 * float64(n) / float64(res.Calls)} }
	return sample{
		"share": percent(int(inTime.Load())), "errors": percent(res.Errors),
		"max": {ms(res.Latency.Max())}, "control": {ms(res.Control.ValueAtQuantile(99.9))},
	}, settle(c)
}
