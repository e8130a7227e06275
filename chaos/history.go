package main

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// verb is what a call wants.
type verb uint8

const (
	appends verb = iota
	replaces
	clears
	sets
	deletes
	invalidates // the whole organisation
	forgets     // a person: the conversation and the summary
)

var verbs = [...]string{"append", "replace", "clear", "set", "delete", "invalidate", "forget"}

// outcome is what the caller was told.
type outcome uint8

const (
	shared  outcome = iota // acknowledged, in the shared store
	pending                // acknowledged, not yet in the shared store
	refused                // told that nothing was stored
	unknown                // told nothing, or that it may have happened
)

var outcomes = [...]string{"shared", "pending", "refused", "unknown"}

func (o outcome) acknowledged() bool { return o == shared || o == pending }

// instant is microseconds since the start of a run, which bounds a run to 71
// minutes.
type instant uint32

// longestRun is what an instant can count.
const longestRun = 70 * time.Minute

func (t instant) String() string {
	return (time.Duration(t) * time.Microsecond).Round(100 * time.Microsecond).String()
}

// op is one write as the driver saw it. Runs have millions.
type op struct {
	start, end instant
	first      uint32 // number of the first message, or of the value
	life       uint16 // how often the instance had been started
	client     uint16
	count      uint8 // messages
	verb       verb
	outcome    outcome
	instance   uint8
}

func (o op) String() string {
	var b strings.Builder
	b.WriteString(o.start.String() + " to " + o.end.String() + " client " + strconv.Itoa(int(o.client)) +
		" instance " + strconv.Itoa(int(o.instance)) + "." + strconv.Itoa(int(o.life)) + ": " + verbs[o.verb])
	switch {
	case o.verb == sets:
		b.WriteString(" " + strconv.Itoa(int(o.first)))
	case o.count > 0:
		b.WriteString(" " + strconv.Itoa(int(o.first)) + " to " + strconv.Itoa(int(o.first)+int(o.count)-1))
	}
	b.WriteString(", " + outcomes[o.outcome])
	return b.String()
}

// erases tells whether the op is meant to remove what was before it.
func (o op) erases() bool { return o.verb != appends }

// form is what is kept under a key.
type form uint8

const (
	conversation form = iota
	agentConfig
	summary
)

var forms = [...]string{"conversation", "agentConfig", "summary"}

// key is one conversation or value, and everything that was done to it.
type key struct {
	id      uint32
	subject uint32 // of the phone, or of the id; a person's keys have the same
	form    form
	org     string
	last    atomic.Uint32 // number of the last message or value that was sent

	mu  sync.Mutex
	ops []op // guarded by mu while clients run; in the order of their ends
}

func (k *key) String() string {
	return forms[k.form] + " " + k.name() + " of " + k.org + " (key " + strconv.Itoa(int(k.id)) + ")"
}

// name is the phone or the id.
func (k *key) name() string {
	if k.form == agentConfig {
		return "agent-" + strconv.Itoa(int(k.subject))
	}
	return "+1" + strconv.Itoa(2_000_000_000+int(k.subject))
}

// next reserves n numbers and returns the first.
func (k *key) next(n int) uint32 { return k.last.Add(uint32(n)) - uint32(n) + 1 }

func (k *key) add(o op) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ops = append(k.ops, o)
}

func (k *key) snapshot() []op {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.ops)
}

// A number is written with its key, so that what appears under another key is
// noticed.
func (k *key) text(n uint32) string {
	return strconv.Itoa(int(k.id)) + "." + strconv.Itoa(int(n))
}

// number reads what text wrote; 0 is what this key never sent.
func (k *key) number(text string) uint32 {
	id, n, ok := strings.Cut(text, ".")
	if !ok || id != strconv.Itoa(int(k.id)) {
		return 0
	}
	v, err := strconv.ParseUint(n, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(v)
}

// seen is what a read found.
type seen struct {
	instance int
	refused  bool     // no answer
	partial  bool     // only what the instance knows by itself: others may have written
	found    bool     // of a value
	numbers  []uint32 // the messages in order, or the one value
}

// moment is a time in which each instance was healthy with nothing pending at
// some instant, not all at the same: under load some writes are always pending.
// What was acknowledged before it began had landed when it ended.
type moment struct{ from, to instant }

// moments are ascending.
type moments []moment

// within tells whether one began after from and ended not after to.
func (m moments) within(from, to instant) bool {
	i := sort.Search(len(m), func(i int) bool { return m[i].from > from })
	return i < len(m) && m[i].to <= to
}

// ledger has the keys of a run.
type ledger struct {
	began time.Time

	mu      sync.Mutex
	keys    []*key  // guarded by mu
	healthy moments // guarded by mu
}

func (l *ledger) now() instant { return l.at(time.Now()) }

func (l *ledger) at(t time.Time) instant { return instant(max(0, t.Sub(l.began).Microseconds())) }

// add makes a key. Subject 0 means one of its own.
func (l *ledger) add(f form, org string, subject uint32) *key {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := &key{id: uint32(len(l.keys) + 1), form: f, org: org, subject: subject}
	if subject == 0 {
		k.subject = k.id
	}
	l.keys = append(l.keys, k)
	return k
}

func (l *ledger) all() []*key {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.keys)
}

// isHealthy notes a moment that ends now.
func (l *ledger) isHealthy(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.healthy = append(l.healthy, moment{l.at(since), l.now()})
}

func (l *ledger) moments() moments {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.healthy)
}

// forget lets go of what a run did, which the next one does not need.
func (l *ledger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = nil
}
