package storetest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// propertyTime is how long a property may look for a counterexample. A fast
// store is tried maxRounds times, the slowest once; -rapid.checks tries more.
const (
	propertyTime = 2 * time.Second
	maxRounds    = 4
)

// check runs a property with rapid: at least one round of its checks, and more
// while time is left. It prints the seed of a failure.
func check(t *testing.T, property func(*rapid.T)) {
	start := time.Now()
	for round := range maxRounds {
		if passed := t.Run(fmt.Sprint("round", round+1), rapid.MakeCheck(property)); !passed {
			return
		}
		if spent := time.Since(start); spent+spent/time.Duration(round+1) > propertyTime {
			return
		}
	}
}

// wantModel compares everything that the store shows with the model.
func (h *history) wantModel() {
	h.t.Helper()
	for _, o := range h.orgs {
		if got, want := h.s.generation(h.t, o), h.model.generation(o); got != want {
			h.t.Fatalf("generation of %q: %d, want %d", o, got, want)
		}
	}
	for _, k := range h.leads {
		want, ok := h.model.value(k)
		r := h.s.get(h.t, k)
		if r.Found != ok || r.Value.Version != want.Version || r.Value.Generation != want.Generation ||
			r.Value.Flags != want.Flags || !bytes.Equal(r.Value.Stored, want.Payload) {
			h.t.Fatalf("%s holds %+v, want %s", k, r, describe(want))
		}
	}
	for _, k := range h.conversations {
		h.wantStanding(k, h.s.log(h.t, k, 0), h.model.messages(k))
	}
}

func (h *history) wantStanding(k keys.Key, got store.Log, want []standing) {
	h.t.Helper()
	text := ""
	same := len(got.Messages) == len(want)
	for i, w := range want {
		text += fmt.Sprintf(" %q@%s", w.message.ID, w.order)
		if same {
			g := got.Messages[i]
			same = g.ID == w.message.ID && g.Generation == w.generation && g.Order == w.order && g.Flags == w.message.Flags && bytes.Equal(g.Stored, w.message.Payload)
		}
	}
	if !same {
		stand := ""
		for _, m := range got.Messages {
			stand += fmt.Sprintf(" %q@%s %.60q", m.ID, m.Order, m.Stored)
		}
		h.t.Fatalf("%s has%s\nwant%s", k, stand, text)
	}
}

// shuffled draws an order of steps in which some come twice or thrice.
func (h *history) shuffled(steps []step) []step {
	if len(steps) == 0 {
		return nil
	}
	again := rapid.SliceOfN(rapid.SampledFrom(steps), 0, len(steps)/2).Draw(h.t, "again")
	return rapid.Permutation(append(again, steps...)).Draw(h.t, "order")
}

// testMergeProperty: any subset of operations in any order, with repetitions,
// means the same as a plain model of the set.
func testMergeProperty(t *testing.T, s *suite) {
	check(t, func(t *rapid.T) {
		h := s.newHistory(t)
		var first, second []step
		for range rapid.IntRange(1, 16).Draw(t, "steps") {
			for _, st := range h.draw() {
				if rapid.Bool().Draw(t, "first") {
					first = append(first, st)
				} else {
					second = append(second, st)
				}
			}
		}
		// Old replays, and what was applied again under a higher generation.
		for _, st := range first {
			switch rapid.IntRange(0, 7).Draw(t, "later") {
			case 0:
				second = append(second, st)
			case 1:
				st.op.Generation++
				second = append(second, st)
			}
		}
		for _, steps := range [][]step{first, second} {
			for _, st := range h.shuffled(steps) {
				h.apply(st)
			}
			h.wantModel()
		}
	})
}

// testTrimProperty: with trimming, and ids that come once, what stands is the
// end of what the model has: no more than the window and its slack, and no
// less than what the window has room for.
func testTrimProperty(t *testing.T, s *suite) {
	check(t, func(t *rapid.T) {
		h := s.newHistory(t)
		h.unique = true
		h.window = store.Window{
			Messages: rapid.IntRange(1, 6).Draw(t, "window"), Slack: rapid.IntRange(0, 3).Draw(t, "slack"),
			Bytes: rapid.SampledFrom([]int{0, 0, 400, 1000}).Draw(t, "bytes"), IDs: rapid.IntRange(0, 50).Draw(t, "ids"),
		}
		var steps []step
		for range rapid.IntRange(1, 16).Draw(t, "steps") {
			steps = append(steps, h.draw()...)
		}
		for _, st := range h.shuffled(steps) {
			h.apply(st)
		}
		for _, k := range h.conversations {
			h.wantEnd(k)
		}
	})
}

// header is at most what a store adds to a payload, for windows in bytes.
const header = 100

func (h *history) wantEnd(k keys.Key) {
	h.t.Helper()
	all, got := h.model.messages(k), h.s.log(h.t, k, 0)
	n := len(got.Messages)
	if n > len(all) {
		h.wantStanding(k, got, all)
	}
	h.wantStanding(k, got, all[len(all)-n:])
	payload := 0
	for _, m := range got.Messages {
		payload += len(m.Stored)
	}
	w := h.window
	if n > w.Messages+w.Slack || w.Bytes > 0 && n > 1 && payload > w.Bytes*9/8 {
		h.t.Fatalf("%s: %d messages of %d bytes stand in a window of %+v", k, n, payload, w)
	}
	room, size := 0, 0
	for room < min(w.Messages, len(all)) {
		size += len(all[len(all)-1-room].message.Payload) + header
		if w.Bytes > 0 && size > w.Bytes && room > 0 {
			break
		}
		room++
	}
	if n < room {
		h.t.Fatalf("%s: %d messages stand, %d have room in a window of %+v", k, n, room, w)
	}
}
