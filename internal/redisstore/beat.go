package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/store"
)

const (
	// beatLife is how long a heartbeat is kept. A server without it is taken for
	// one that may have lost everything, which costs time and nothing else.
	beatLife = 7 * 24 * time.Hour
	// beatTime bounds sending one.
	beatTime = time.Second
	// mostHeld is how many heartbeats in a row may be without an answer before
	// the key may hold anything.
	mostHeld = 16
)

// heartbeats of a node: a key on the server that says up to which position of
// the journal all is there that was acknowledged.
//
// What a server comes back with, from its file or as a replica that was
// promoted, is what it, or its master, had at some moment: all writes before it
// and none after it. So where a heartbeat is there everything is that had been
// acknowledged before it was sent. That it is the newest one does not say that
// nothing is lost: what came after it may be.

// pulse is what a node's heartbeat was written with. It belongs to the goroutine
// that attends the node.
type pulse struct {
	key    string
	stream string   // of the writes of the server: another one is another server, or its past
	held   []string // what the key may hold: the last one that was answered, and those after it
	nonce  string   // of the last look: two heartbeats of the same position differ by it
	looks  int
}

// beatValue is what the key of a heartbeat holds: "<position> <nonce>", and in a
// Cluster after that "<address> <slots>".
type beatValue struct {
	position store.Position
	nonce    string
	addr     string  // of the master that it was written to
	slots    slotSet // of which it speaks
}

func (v beatValue) String() string {
	text := strconv.FormatUint(uint64(v.position), 10) + " " + v.nonce
	if v.addr != "" {
		text += " " + v.addr + " " + v.slots.String()
	}
	return text
}

// parseBeat reads a heartbeat. What it cannot read has the position zero.
func parseBeat(text string) (v beatValue) {
	parts := strings.Split(text, " ")
	n, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil || len(parts) != 2 && len(parts) != 4 {
		return beatValue{}
	}
	v.position, v.nonce = store.Position(n), parts[1]
	if len(parts) == 4 {
		v.addr, v.slots = parts[2], parseSlots(parts[3])
	}
	return v
}

// placeBeat chooses the key of the heartbeat: in a Cluster the first one in a
// slot of the node, and then as long as the node has the slot. So a replica that
// is promoted finds that of its master.
func (n *node) placeBeat(l *layout) {
	if n.s.opts.Witness == nil {
		return
	}
	identity, d := n.s.opts.Witness.Identity(), &n.doubt
	d.mu.Lock()
	before := d.key
	switch {
	case l.slots == nil:
		d.key = n.s.opts.Space.Beat(identity)
	case before != "" && d.slots.has(slotOf(before)):
	case d.slots.empty():
		d.key = ""
	default:
		d.key = ""
		for salt := 0; d.key == "" && salt < 64*slotCount; salt++ {
			if key := n.s.opts.Space.SlotBeat(identity, salt); d.slots.has(slotOf(key)) {
				d.key = key
			}
		}
	}
	changed := before != "" && d.key != before
	d.mu.Unlock()
	if changed {
		d.happened("the slot of its heartbeat moved")
	}
}

// answer is what the script of heartbeats says.
type answer struct {
	raised bool
	held   string // before; empty: nothing
	stream string
}

// sendBeat writes a heartbeat if the server is still the one with the stream and
// the key holds one of held; with no held it only looks.
func (n *node) sendBeat(ctx context.Context, key, value, stream string, held []string) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTime)
	defer cancel()
	err = n.job(func(l *link) (err error) {
		a, err = askBeat(ctx, l.jobs, key, value, stream, held)
		return err
	})
	if _, moved := redirected(err); moved {
		n.s.kick()
	}
	return a, err
}

// askBeat is sendBeat on a connection.
func askBeat(ctx context.Context, c rueidis.Client, key, value, stream string, held []string) (a answer, err error) {
	args := append([]string{value, millis(beatLife), stream}, held...)
	parts, err := heartbeat.run(ctx, c, []string{key}, args).ToArray()
	if err != nil {
		return a, err
	}
	if len(parts) != 3 {
		return a, fmt.Errorf("the script of heartbeats answered %d values", len(parts))
	}
	raised, err1 := parts[0].AsInt64()
	a.raised = raised == 1
	var err2, err3 error
	a.held, err2 = parts[1].ToString()
	a.stream, err3 = parts[2].ToString()
	return a, errors.Join(err1, err2, err3)
}

// raiseBeat writes that all is here that the witness knows as acknowledged.
func (n *node) raiseBeat(ctx context.Context) {
	d, p := &n.doubt, &n.pulse
	position := n.s.opts.Witness.Position()
	// From here on: a master of others was given their slots after the position
	// was taken, so what it acknowledged is not before it.
	if !n.s.layout.Load().has(n) {
		return
	}
	d.mu.Lock()
	key, value := d.key, beatValue{position: position, nonce: p.nonce}
	if n.s.opts.Mode == Cluster {
		value.addr, value.slots = n.addr, d.proven
	}
	d.mu.Unlock()
	if key == "" || key != p.key || d.doubted() {
		return
	}
	// A connection that is made anew after this is an event, and the script asks
	// for the stream: what was acknowledged went to the server that is asked now.
	if agreed, err := n.agreed(ctx, key, p.stream, p.held); !agreed {
		n.logger.Debug("a heartbeat is not raised", "addr", n.addr, "err", err)
		return
	}
	if d.doubted() {
		return
	}
	text := value.String()
	a, err := n.sendBeat(ctx, key, text, p.stream, p.held)
	switch {
	case err != nil && (isReply(err) || neverSent(err)):
		n.logger.Debug("a heartbeat was refused", "addr", n.addr, "err", err)
	case err != nil: // it may still arrive
		if p.held = append(p.held, text); len(p.held) > mostHeld {
			d.happened("its heartbeats get no answer")
		}
	case a.raised:
		p.held = []string{text}
		n.s.beats.acknowledged(key, position)
	case a.stream != p.stream:
		d.happened("another server stands in its place, or it changed its role")
	case a.held == "":
		d.happened("its heartbeat is gone")
	default:
		d.happened("its heartbeat is not the one that was written")
	}
}

// refusal of a heartbeat by a server that is no master any more, or not yet.
var losing = []string{"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN"}

// heed notes a reply by which a server may have another past than before.
func (n *node) heed(err error) {
	if err != nil && has(err, losing) {
		re, _ := rueidis.IsRedisErr(err)
		n.doubt.happened("it said: " + re.Error())
	}
}
