package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackcache/jackcache/internal/redistest"
)

// childEnv holds the childSpec of a process that the bench starts: itself, or
// node/peer.js.
const childEnv = "JACKCACHE_BENCH_CHILD"

// childSpec is what a child does. In Mode stampede it says "ready", waits for a
// line, lets Callers ask for ID at once, says "loading" at each load, and at last
// "done" and how many failed. In Mode serve, which only Node has, it answers calls.
type childSpec struct {
	Mode       string
	Peer, Node string
	Config     config
	ID         string
	Callers    int
	LoadMillis int64
	// For loops in Node: the sizes of this bench.
	Talks, HotTalks, MixWrites int
}

// child is a process that the bench has started.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended <-chan struct{}
}

// spawnChild starts a process; heard gets each line that it says.
func spawnChild(p *peer, spec childSpec, heard func(line string)) (*child, error) {
	spec.Talks, spec.HotTalks, spec.MixWrites = peerTalks, hotTalks, mixWrites
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	if p.node != "" {
		cmd = exec.Command("node", nodeScript)
	}
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	cmd.Stdout, cmd.Stderr = &lineWriter{heard: heard}, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	ended, err := redistest.Spawn(cmd)
	return &child{cmd, in, ended}, err
}

func (c *child) say(line string) error {
	_, err := io.WriteString(c.in, line+"\n")
	return err
}

// end kills the process and returns when it is gone.
func (c *child) end() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// lineWriter hands out what is written to it line by line.
type lineWriter struct {
	heard func(string)
	rest  []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.heard(string(line))
		w.rest = rest
	}
}

// beChild does what a childSpec says.
func beChild(text string) error {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return fmt.Errorf("%s: %w", childEnv, err)
	}
	i := slices.IndexFunc(peers, func(p *peer) bool { return p.name == spec.Peer })
	if i < 0 || spec.Mode != "stampede" {
		return fmt.Errorf("%s: no peer %q, or no mode %q", childEnv, spec.Peer, spec.Mode)
	}
	c, err := peers[i].open(spec.Config)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := settle(c); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(os.Stdout, line+"\n") // the parent is gone where this fails
	}
	say("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	say(fmt.Sprintf("done %d", askAtOnce(c, spec, say)))
	return nil
}

// askAtOnce returns how many of the callers were not served.
func askAtOnce(c peerClient, spec childSpec, say func(string)) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	value := talks()[0]
	load := func() (talk, error) {
		say("loading")
		wait := time.NewTimer(time.Duration(spec.LoadMillis) * time.Millisecond)
		defer wait.Stop()
		<-wait.C
		return value, nil
	}
	var failed atomic.Int64
	var said sync.Once
	_ = inParallel(spec.Callers, spec.Callers, func(int) error {
		v, err := getOrLoad(ctx, c, spec.ID, load)
		if err == nil && v.size() != len(value) {
			err = errors.New("another value")
		}
		if err != nil {
			failed.Add(1)
			said.Do(func() { fmt.Fprintf(os.Stderr, "bench: stampede: %s: %s\n", spec.Peer, strings.TrimSpace(err.Error())) })
		}
		return nil
	})
	return failed.Load()
}
