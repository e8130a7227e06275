package main

import (
	"context"
	"slices"
	"strings"
	"time"
)

// callTime is how long a client waits for an answer. The product promises one
// within 25 ms; who waits longer sees by how much the promise was broken.
const callTime = 5 * time.Second

// instance is a jackcache that clients call: a process, or the library here.
// Methods are safe for concurrent use.
type instance interface {
	// life counts its starts.
	life() uint16
	// write does what o says to a key.
	write(ctx context.Context, k *key, o op) (outcome, error)
	// read returns the newest last messages of a conversation (0: all), or the
	// value. The instance's number is the caller's to fill in.
	read(ctx context.Context, k *key, last int) seen
	// health is what it says of itself.
	health(ctx context.Context) health
	// start makes it serve; kill ends it without a chance to tidy up.
	start() error
	kill()
	close()
}

// health is what an instance says of itself.
type health struct {
	reached   bool
	status    string
	store     string // its state; "up" where all of it serves
	problems  []string
	pending   int64 // -1: it does not tell
	replayed  int64 // operations since its start; -1: it does not tell
	restoring int64 // servers that are being given again what they lost
	setAside  int64 // acknowledged writes that Redis refused for good
	expired   int64 // acknowledged writes that were too old when Redis was back
}

// excused are the beginnings of problems that are none for a run: what it wants,
// and what is told for a while after it is over.
var excused = []string{"the journal is off", "redis had lost its data"}

// good tells whether it is healthy over a store that serves, with nothing pending or to
// be restored.
func (h health) good() bool {
	for _, p := range h.problems {
		if !slices.ContainsFunc(excused, func(e string) bool { return strings.HasPrefix(p, e) }) {
			return false
		}
	}
	return h.reached && h.store == "up" && (h.status == "healthy" || len(h.problems) > 0) && h.pending <= 0 && h.restoring == 0
}

// content is what a message says: about as much as a customer writes.
const content = "When can I come by to look at the blue one? I could be there on Saturday at ten."
