package main

import "time"

// mixNear is how many of the conversations a near tier has room for.
const mixNear = 2000

// mixScene reads and writes conversations of which some are asked for far more
// often than others.
var mixScene = scene{
	name: "mix", warm: true,
	measures: []measure{
		{name: "ops/s, 64 callers, 90 % reads", of: "rate", fold: inMiddle, format: "%.0f"},
		{name: "× rueidis", of: "rate", fold: inMiddle, to: rueidisPlain, format: "%.2f"},
	},
	start: startMix,
}

func startMix(s *stage) (trial, error) {
	c, err := s.open(config{Near: mixNear})
	if err != nil {
		return trial{}, err
	}
	spec := loopSpec{What: "mix", Callers: 64, Speaks: s.peer.speaks}
	t := trial{close: c.Close, round: func(slice time.Duration) (sample, error) {
		spec.Millis = slice.Milliseconds()
		r, err := runLoop(c, spec)
		return sample{"rate": {r.perSecond()}}, err
	}}
	if err := fillTalks(c, peerTalks); err != nil {
		return t, err
	}
	spec.Millis = 500 // the near tier learns what is hot
	_, err = runLoop(c, spec)
	return t, err
}
