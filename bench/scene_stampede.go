package main

import (
	"fmt"
	"strings"
	"time"
)

const (
	stampedeProcesses = 4
	stampedeCallers   = 250 // of each process
	stampedeLoad      = 100 * time.Millisecond
	// stampedeKill is when the process that loads is killed, after the load began.
	stampedeKill = 30 * time.Millisecond
)

// stampedeScene is callers in several processes who miss one key at once; then
// again, and the first process that loads is killed.
var stampedeScene = scene{
	name: "stampede",
	measures: []measure{
		{name: "loads, 1,000 callers in 4 processes, loader of 100 ms", of: "loads", fold: inMiddle, format: "%.0f"},
		{name: "ms until all are served", of: "took", fold: inMiddle, format: "%.0f"},
		{name: "calls that failed", of: "failed", fold: inMiddle, format: "%.0f"},
		{name: "loads, the first holder killed", of: "killed loads", fold: inMiddle, format: "%.0f"},
		{name: "ms until all the others are served", of: "killed took", fold: inMiddle, format: "%.0f"},
		{name: "calls of the others that failed", of: "killed failed", fold: inMiddle, format: "%.0f"},
	},
	start: func(s *stage) (trial, error) {
		return trial{round: func(time.Duration) (sample, error) { return stampedes(s) }}, nil
	},
}

func stampedes(s *stage) (sample, error) {
	whole, err := stampede(s, false)
	if err != nil {
		return nil, err
	}
	killed, err := stampede(s, true)
	if err != nil {
		return nil, fmt.Errorf("holder killed: %w", err)
	}
	return sample{
		"loads": {whole.loads}, "took": {whole.took}, "failed": {whole.failed},
		"killed loads": {killed.loads}, "killed took": {killed.took}, "killed failed": {killed.failed},
	}, nil
}

type stampedeResult struct{ loads, took, failed float64 }

// heard is a line that a child said, and which child.
type heard struct {
	from int
	line string
}

// stampede runs it once; kill: the first process that loads dies.
func stampede(s *stage, kill bool) (stampedeResult, error) {
	said := make(chan heard, 8*stampedeCallers)
	id := talkIDs()[serial.Add(1)%peerTalks]
	var children []*child
	defer func() {
		for _, c := range children {
			c.end()
		}
	}()
	for i := range stampedeProcesses {
		c, err := spawnChild(s.peer, childSpec{
			Mode: "stampede", Peer: s.peer.name, Node: s.peer.node, Config: s.config(config{Near: peerTalks}),
			ID: id, Callers: stampedeCallers, LoadMillis: stampedeLoad.Milliseconds(),
		}, func(line string) { said <- heard{i, line} })
		if err != nil {
			return stampedeResult{}, err
		}
		children = append(children, c)
	}
	late := time.After(45 * time.Second)
	for range stampedeProcesses {
		if err := await(said, late, "ready"); err != nil {
			return stampedeResult{}, err
		}
	}
	start := time.Now()
	for _, c := range children {
		if err := c.say("go"); err != nil {
			return stampedeResult{}, err
		}
	}
	return follow(said, late, start, children, kill)
}

// await waits for one line of that text.
func await(said <-chan heard, late <-chan time.Time, want string) error {
	select {
	case h := <-said:
		if h.line != want {
			return fmt.Errorf("process %d says %q instead of %q", h.from, h.line, want)
		}
		return nil
	case <-late:
		return fmt.Errorf("no process says %q in time", want)
	}
}

// follow counts until all processes that live are done.
func follow(said <-chan heard, late <-chan time.Time, start time.Time, children []*child, kill bool) (res stampedeResult, err error) {
	holder := -1
	var killing <-chan time.Time
	for left := len(children); left > 0; {
		select {
		case h := <-said:
			var failed float64
			switch {
			case h.line == "loading":
				res.loads++
				if kill && holder < 0 {
					holder, killing = h.from, time.After(stampedeKill)
				}
			case h.from == holder: // it is dead, whatever it said before
			case strings.HasPrefix(h.line, "done "):
				if _, err := fmt.Sscanf(h.line, "done %g", &failed); err != nil {
					return res, err
				}
				res.failed += failed
				left--
			default:
				return res, fmt.Errorf("process %d: %s", h.from, h.line)
			}
		case <-killing:
			children[holder].end()
			left--
		case <-late:
			return res, fmt.Errorf("%d processes are not done in time", left)
		}
	}
	res.took = float64(time.Since(start).Milliseconds())
	return res, nil
}
