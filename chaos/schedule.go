package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A schedule is fixed by its seed: which faults come in which order, and how
// long each takes. When they come depends on how long recoveries take.
type schedule struct {
	seed   uint64
	faults []fault
	n      int
	round  []fault // what is left of the present round
}

func newSchedule(seed uint64, faults []fault) *schedule {
	return &schedule{seed: seed, faults: faults}
}

// random returns numbers of their own for each purpose, so that one that draws
// more does not change another.
func random(seed uint64, purpose, n int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(purpose)<<32|uint64(n)))
}

// The purposes of random numbers.
const (
	forRounds = iota
	forFaults
	forClients
	forCrashes
)

// next returns the fault that is due and its numbers. Each round has all faults.
func (s *schedule) next() (fault, *rand.Rand) {
	if len(s.round) == 0 {
		s.round = slices.Clone(s.faults)
		random(s.seed, forRounds, s.n).Shuffle(len(s.round), func(i, j int) { s.round[i], s.round[j] = s.round[j], s.round[i] })
	}
	f := s.round[0]
	s.round = s.round[1:]
	s.n++
	return f, random(s.seed, forFaults, s.n)
}

// chosen returns the faults of a scenario, restricted to names where there are
// any.
func chosen(scenario string, names []string) ([]fault, error) {
	for _, name := range names {
		if !slices.ContainsFunc(faults, func(f fault) bool { return f.name == name }) {
			return nil, fmt.Errorf("unknown fault %q: allowed are %s", name, strings.Join(faultNames(), ", "))
		}
	}
	var some []fault
	for _, f := range faults {
		if (len(f.in) == 0 || slices.Contains(f.in, scenario)) && (len(names) == 0 || slices.Contains(names, f.name)) {
			some = append(some, f)
		}
	}
	return some, nil
}

func faultNames() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// between draws a duration, short ones as often as long ones: each doubling is
// equally likely.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return time.Duration(float64(low) * math.Pow(float64(high)/float64(low), r.Float64()))
}
