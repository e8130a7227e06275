package main

import (
	"context"
	"strconv"
	"time"
)

const (
	// appendMessages is how many messages each of the two instances gets in a round.
	appendMessages = 50
	// appendTwice: one in so many is delivered to both, as a webhook that is
	// repeated.
	appendTwice = 5
)

// appendScene lets two instances append to one conversation at the same time, one
// message after the other.
var appendScene = scene{
	name: "append", warm: true,
	measures: []measure{
		{name: "messages lost, of 100 by two instances", of: "lost", fold: inMiddle, format: "%.0f"},
		{name: "messages twice, of 20 that were delivered to both", of: "twice", fold: inMiddle, format: "%.0f"},
		{name: "ms an append", of: "took", fold: inMiddle, format: "%.2f"},
	},
	start: startAppend,
}

func startAppend(s *stage) (trial, error) {
	a, b, err := s.openTwo(config{Near: peerTalks})
	if err != nil {
		return trial{}, err
	}
	round := 0
	return trial{
		close: func() { a.Close(); b.Close() },
		round: func(time.Duration) (sample, error) {
			round++
			return appendFromTwo(s, a, b, talkIDs()[round%peerTalks])
		},
	}, nil
}

func appendFromTwo(s *stage, a, b peerClient, id string) (sample, error) {
	ctx := context.Background()
	start := time.Now()
	calls := make([]int, 2)
	err := inParallel(2, 2, func(side int) error {
		me := []peerClient{a, b}[side]
		for n := range 2 * appendMessages {
			// Message n belongs to one side; some get to the other, too.
			if n%2 != side && n%appendTwice != 0 {
				continue
			}
			calls[side]++
			m := benchMessage{ID: "a" + strconv.Itoa(n), Role: "user", Content: conversationText, Timestamp: 1_757_000_000_000 + int64(n)}
			if err := appendMessage(ctx, me, id, m); err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(start)
	if err != nil {
		return nil, err
	}
	// An instance that was just opened reads what is in Redis.
	c, err := s.open(config{Near: peerTalks})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	v, err := appended(ctx, c, id)
	if err != nil {
		return nil, err
	}
	distinct := make(map[string]bool)
	for _, id := range v.ids() {
		distinct[id] = true
	}
	return sample{
		"lost": {float64(2*appendMessages - len(distinct))}, "twice": {float64(v.size() - len(distinct))},
		"took": {float64(took.Microseconds()) / 1000 / float64(max(calls[0], calls[1]))},
	}, nil
}
