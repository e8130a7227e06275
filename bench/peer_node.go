package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

var (
	bentocachePeer = nodePeer("bentocache", "copy, decoded by JSON.parse", nil)
	ioredisPeer    = ioredisOf(nodePeer("ioredis", "", map[string]string{"nearhit": noNear}))
)

// nodeScript and the modules beside it are below the directory of the bench, from
// where it is run.
var nodeScript = filepath.Join("node", "peer.js")

func nodePeer(name, hands string, declines map[string]string) *peer {
	p := &peer{name: name + " (Node)", node: name, hands: hands, declines: declines}
	p.open = func(c config) (peerClient, error) { return openNode(p, c) }
	return p
}

// ioredisClient appends to lists, as the other clients without a cache.
type ioredisClient struct{ *nodeClient }

func ioredisOf(p *peer) *peer {
	open := p.open
	p.open = func(c config) (peerClient, error) {
		n, err := open(c)
		if err != nil {
			return nil, err
		}
		return ioredisClient{n.(*nodeClient)}, nil
	}
	return p
}

func (i ioredisClient) Append(ctx context.Context, id string, m benchMessage) error {
	_, err := i.call(ctx, nodeCall{Do: "append", ID: id, Value: talk{m}})
	return err
}

func (i ioredisClient) Appended(ctx context.Context, id string) (view, error) {
	a, err := i.call(ctx, nodeCall{Do: "appended", ID: id})
	return view{talk: a.Value}, err
}

// nodeMissing tells what lacks for the peers that run in Node.
func nodeMissing() error {
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("there is no node in PATH")
	}
	if _, err := os.Stat(filepath.Join("node", "node_modules", "bentocache")); err != nil {
		return errors.New("its packages are missing: run npm ci in bench/node, and the bench in bench")
	}
	return nil
}

// nodeClient is an instance in a process of its own, which is called through
// pipes. Loops and loads at once run there.
type nodeClient struct {
	child *child

	mu      sync.Mutex
	next    int                     // guarded by mu
	waiting map[int]chan nodeAnswer // guarded by mu
}

type nodeCall struct {
	N     int       `json:"n"`
	Do    string    `json:"do"` // get, set, append, appended, loop
	ID    string    `json:"id,omitempty"`
	Value talk      `json:"value,omitempty"`
	Loop  *loopSpec `json:"loop,omitempty"`
}

type nodeAnswer struct {
	N      int         `json:"n"`
	Error  string      `json:"error"`
	Absent bool        `json:"absent"`
	Value  talk        `json:"value"`
	Loop   *loopResult `json:"loop"`
}

func openNode(p *peer, c config) (peerClient, error) {
	n := &nodeClient{waiting: make(map[int]chan nodeAnswer)}
	var err error
	n.child, err = spawnChild(p, childSpec{Mode: "serve", Peer: p.name, Node: p.node, Config: c}, n.heard)
	return n, err
}

func (n *nodeClient) heard(line string) {
	var a nodeAnswer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		fmt.Fprintln(os.Stderr, "bench: node:", line)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if to, ok := n.waiting[a.N]; ok {
		delete(n.waiting, a.N)
		to <- a
	}
}

func (n *nodeClient) call(ctx context.Context, c nodeCall) (nodeAnswer, error) {
	got := make(chan nodeAnswer, 1)
	n.mu.Lock()
	n.next++
	c.N = n.next
	n.waiting[c.N] = got
	b, err := json.Marshal(c)
	if err == nil {
		err = n.child.say(string(b))
	}
	n.mu.Unlock()
	if err != nil {
		return nodeAnswer{}, err
	}
	select {
	case a := <-got:
		switch {
		case a.Error != "":
			err = errors.New(a.Error)
		case a.Absent:
			err = errAbsent
		}
		return a, err
	case <-n.child.ended:
		return nodeAnswer{}, errors.New("its process has ended")
	case <-ctx.Done():
		return nodeAnswer{}, ctx.Err()
	}
}

func (n *nodeClient) Get(ctx context.Context, id string) (view, error) {
	a, err := n.call(ctx, nodeCall{Do: "get", ID: id})
	return view{talk: a.Value}, err
}

func (n *nodeClient) Set(ctx context.Context, id string, t talk) error {
	_, err := n.call(ctx, nodeCall{Do: "set", ID: id, Value: t})
	return err
}

// Loop runs a loop in the other process.
func (n *nodeClient) Loop(spec loopSpec) (loopResult, error) {
	a, err := n.call(context.Background(), nodeCall{Do: "loop", Loop: &spec})
	if err != nil {
		return loopResult{}, err
	}
	if a.Loop == nil || a.Loop.Ops == 0 {
		return loopResult{}, fmt.Errorf("not one call in %d ms", spec.Millis)
	}
	return *a.Loop, nil
}

func (n *nodeClient) Close() { n.child.end() }
