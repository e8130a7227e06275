package main

import "time"

// sharedHitScene reads values that only Redis has: each once, by an instance that
// was just opened.
var sharedHitScene = scene{
	name: "sharedhit", warm: true,
	measures: []measure{
		{name: "ops/s, 64 callers", of: "rate", fold: inMiddle, format: "%.0f"},
		{name: "× rueidis", of: "rate", fold: inMiddle, to: rueidisPlain, format: "%.2f"},
	},
	start: startSharedHit,
}

func startSharedHit(s *stage) (trial, error) {
	c, err := s.open(config{Near: peerTalks})
	if err != nil {
		return trial{}, err
	}
	err = fillTalks(c, peerTalks)
	c.Close()
	return trial{round: func(slice time.Duration) (sample, error) {
		c, err := s.open(config{Near: peerTalks})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		r, err := runLoop(c, loopSpec{What: "far", Millis: slice.Milliseconds(), Callers: 64})
		return sample{"rate": {r.perSecond()}}, err
	}}, err
}
