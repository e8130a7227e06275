package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackcache/jackcache/internal/redistest"
)

// peersPrefix is what -only starts with for this part: peers/, peers/<scene> or
// peers/<scene>/<text of the peer's name>.
const peersPrefix = "peers/"

// scene is something that happens to peers.
type scene struct {
	name     string
	measures []measure
	// warm: a first round does not count.
	warm bool
	// start prepares a peer for rounds. The stage is closed after the trial.
	start func(*stage) (trial, error)
}

var scenes = []scene{
	nearHitScene, sharedHitScene, mixScene, stampedeScene, coherenceScene, frozenScene, killedScene, appendScene,
}

// trial is a peer in a scene.
type trial struct {
	round func(slice time.Duration) (sample, error)
	close func() // may be nil
}

// sample is what a round measured, by the key of a measure.
type sample map[string][]float64

// stage is a Redis and a directory that a peer has for itself in a scene.
type stage struct {
	peer  *peer
	dir   string
	redis *redistest.Server
	made  int
}

func newStage(p *peer, dir string) (*stage, error) {
	redis, err := redistest.Launch(filepath.Join(dir, "redis"))
	return &stage{peer: p, dir: dir, redis: redis}, err
}

func (s *stage) close() {
	s.redis.Close()
	_ = os.RemoveAll(s.dir) // the whole directory of the run goes at its end
}

// config completes that of the next instance.
func (s *stage) config(c config) config {
	s.made++
	c.Addr, c.Dir = s.redis.Addr(), filepath.Join(s.dir, "instance"+strconv.Itoa(s.made))
	return c
}

// open opens one more instance and waits until it answers.
func (s *stage) open(c config) (peerClient, error) {
	instance, err := s.peer.open(s.config(c))
	if err != nil {
		return nil, err
	}
	if err := settle(instance); err != nil {
		instance.Close()
		return nil, err
	}
	return instance, nil
}

// openTwo opens two instances.
func (s *stage) openTwo(c config) (a, b peerClient, err error) {
	if a, err = s.open(c); err != nil {
		return nil, nil, err
	}
	if b, err = s.open(c); err != nil {
		a.Close()
		return nil, nil, err
	}
	return a, b, nil
}

// actor is a peer in a scene with what it has shown; err says why it does not play.
type actor struct {
	*peer
	stage   *stage
	trial   trial
	samples []sample // one for each round
	err     error
}

func (a *actor) close() {
	if a.trial.close != nil {
		a.trial.close()
	}
	if a.stage != nil {
		a.stage.close()
	}
}

// comparePeers plays the scenes that only names and prints the table.
func comparePeers(dir, only string, rounds int, slice time.Duration) error {
	wantScene, wantPeer, _ := strings.Cut(strings.TrimPrefix(only, peersPrefix), "/")
	var cast []*peer
	for _, p := range peers {
		// Ratios need those that they relate to.
		if strings.Contains(p.name, wantPeer) || p == otterPeer || p == rueidisPlain {
			cast = append(cast, p)
		}
	}
	if !slices.ContainsFunc(scenes, func(s scene) bool { return strings.HasPrefix(s.name, wantScene) }) {
		return fmt.Errorf("-only %s: no such scene; there are %s", only, sceneNames())
	}
	machine()
	fmt.Printf("; medians of %d interleaved rounds; a measure by time takes %v of each peer in a round\n\n", rounds, slice)
	t := newTable(cast)
	for _, s := range scenes {
		if !strings.HasPrefix(s.name, wantScene) {
			continue
		}
		actors, err := s.play(filepath.Join(dir, s.name), cast, rounds, slice)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		t.rows(s, actors)
	}
	t.footnotes()
	return nil
}

func sceneNames() string {
	var names []string
	for _, s := range scenes {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

// play prepares all peers, lets each show a round in turn, and ends them.
func (s scene) play(dir string, cast []*peer, rounds int, slice time.Duration) ([]*actor, error) {
	actors := make([]*actor, len(cast))
	defer func() {
		for _, a := range actors {
			if a != nil {
				a.close()
			}
		}
	}()
	for i, p := range cast {
		var err error
		if actors[i], err = s.prepare(p, filepath.Join(dir, strconv.Itoa(i))); err != nil {
			return actors, err
		}
	}
	first := 0
	if s.warm {
		first = -1
	}
	for round := first; round < rounds; round++ {
		for _, a := range actors {
			if a.err != nil {
				continue
			}
			runtime.GC() // what one peer leaves behind is not another's to clear
			got, err := a.trial.round(slice)
			if err != nil {
				// The others go on: one that fails is told in the table.
				a.err = fmt.Errorf("failed: %w", err)
				fmt.Fprintf(os.Stderr, "bench: %s: %s: %v\n", s.name, a.name, err)
				continue
			}
			if round >= 0 {
				a.samples = append(a.samples, got)
			}
		}
	}
	return actors, nil
}

// prepare gives a peer its stage; an error is the bench's own.
func (s scene) prepare(p *peer, dir string) (*actor, error) {
	a := &actor{peer: p}
	if why := p.declines[s.name]; why != "" {
		a.err = fmt.Errorf("%s", why)
		return a, nil
	}
	if p.node != "" {
		if a.err = nodeMissing(); a.err != nil {
			return a, nil
		}
	}
	var err error
	if a.stage, err = newStage(p, dir); err != nil {
		return nil, err
	}
	if a.trial, err = s.start(a.stage); err != nil {
		a.err = fmt.Errorf("failed: %w", err)
		fmt.Fprintf(os.Stderr, "bench: %s: %s: %v\n", s.name, p.name, err)
	}
	return a, nil
}
