package replay_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

var modelSeed = flag.Uint64("model.seed", 0, "seed of TestModel; zero: many")

const (
	modelTime  = 8 * time.Second // for all rounds
	modelSteps = 120
	modelOrgs  = 3
	modelKeys  = 3
)

// model is what was acknowledged, in order, and what it comes to: of a value the
// last write, of a conversation the messages since the last Replace, each once,
// and nothing from before the last invalidation of the organisation.
type model struct {
	*instance
	rng *rand.Rand
	n   int // of ids and values

	values map[keys.Key]string
	logs   map[keys.Key][]string
	// waits are organisations with an invalidation that may wait for the store, and
	// busy those with anything that may.
	waits, busy map[keys.Org]bool
	well        bool
	signs       []sign
	open        []suspected
	story       []string
}

// sign is a heartbeat: where the journal was, and how much the store had done
// then or a little later.
type sign struct {
	at   store.Position
	done int
}

type suspected struct {
	from store.Position
	done func() bool
}

func (m *model) tell(format string, args ...any) {
	m.story = append(m.story, fmt.Sprintf(format, args...))
}

// take draws a write, and notes what it comes to.
func (m *model) take(o keys.Org) store.Op {
	m.n++
	i := m.rng.IntN(modelKeys)
	k := value(o, i)
	switch m.rng.IntN(8) {
	case 0:
		m.values[k] = ""
		return m.tombstone(k)
	case 1, 2:
		m.values[k] = fmt.Sprint(m.n)
		return m.set(k, m.n)
	case 3:
		k = conversation(o, i)
		m.logs[k] = nil
		if m.rng.IntN(2) == 0 {
			return m.messages(store.Replace, k)
		}
		m.logs[k] = []string{fmt.Sprint("r", m.n)}
		return m.messages(store.Replace, k, m.logs[k]...)
	default:
		k = conversation(o, i)
		ids := []string{fmt.Sprint("m", m.n), fmt.Sprint("again", m.rng.IntN(6))}
		for _, id := range ids {
			if !slices.Contains(m.logs[k], id) {
				m.logs[k] = append(m.logs[k], id)
			}
		}
		return m.append(k, ids...)
	}
}

func (m *model) ends(o keys.Org) {
	maps.DeleteFunc(m.values, func(k keys.Key, _ string) bool { return k.Org() == o })
	maps.DeleteFunc(m.logs, func(k keys.Key, _ []string) bool { return k.Org() == o })
}

func (m *model) step() {
	o := org(m.rng.IntN(modelOrgs))
	if m.j.PendingCount() == 0 {
		clear(m.waits)
		clear(m.busy)
	}
	switch n := m.rng.IntN(100); {
	case n < 45:
		if op := m.take(o); m.well && !m.waits[o] && m.rng.IntN(2) == 0 {
			m.tell("write %s %s", op.Key, op.Version)
			m.write(op)
		} else {
			m.busy[o] = true
			m.tell("accept %s %s", op.Key, op.Version)
			m.accept(op)
		}
	case n < 52:
		m.ends(o)
		if m.well && !m.busy[o] {
			m.tell("invalidate %s", o)
			m.end(o)
		} else {
			m.waits[o], m.busy[o] = true, true
			m.tell("accept the invalidation of %s", o)
			m.invalidate(o)
		}
	case n < 64:
		m.fail()
	case n < 72:
		m.tell("well")
		m.s.well()
		m.well = true
	case n < 82:
		time.Sleep(time.Duration(m.rng.IntN(3000)) * time.Millisecond)
	case n < 88:
		m.again()
	case n < 94:
		if !m.doubtful() { // else there is none
			at := m.r.Position()
			m.signs = append(m.signs, sign{at, m.s.length()})
		}
	default:
		m.lose()
	}
	if m.rng.IntN(3) == 0 {
		synctest.Wait()
	}
}

// fail makes the store fail from now on.
func (m *model) fail() {
	m.well = false
	names := []string{}
	for name, f := range ended {
		if !poisonous(f) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	switch name := names[m.rng.IntN(len(names))]; m.rng.IntN(4) {
	case 0:
		m.tell("away")
		m.s.serves(store.Down, func(keys.Key) bool { return true })
	case 1:
		away := value(org(m.rng.IntN(modelOrgs)), m.rng.IntN(modelKeys))
		m.tell("%s is away", away)
		m.s.serves(store.Partial, func(k keys.Key) bool { return k == away })
	case 2:
		m.tell("%s", name)
		m.s.is(func(call) fault { return ended[name] })
	default:
		m.tell("anything")
		luck := rand.New(rand.NewPCG(m.rng.Uint64(), 0)) // the store's lock guards it
		m.s.is(func(call) fault {
			if luck.IntN(3) == 0 {
				return ended[names[luck.IntN(len(names))]]
			}
			return fault{}
		})
	}
}

// again restarts; what the store was suspected of before is found again.
func (m *model) again() {
	m.tell("restart")
	m.restart()
	open := m.open
	m.open = nil
	for _, s := range open {
		if !s.done() {
			m.open = append(m.open, suspected{s.from, m.suspect(store.Suspicion{From: s.from, Confirmed: true})})
		}
	}
}

// lose makes the store lose what it did after a sign, or everything.
func (m *model) lose() {
	to := sign{}
	if n := len(m.signs); n > 0 && m.rng.IntN(3) > 0 {
		to = m.signs[m.rng.IntN(n)]
	}
	m.tell("lose what came after %d", to.at)
	m.s.lose(to.done)
	m.signs = slices.DeleteFunc(m.signs, func(s sign) bool { return s.done > to.done })
	m.open = append(m.open, suspected{to.at, m.suspect(store.Suspicion{From: to.at, Confirmed: true})})
}

// doubtful reports whether something may be gone that is not there again.
func (m *model) doubtful() bool {
	return slices.ContainsFunc(m.open, func(s suspected) bool { return !s.done() })
}

func (m *model) compare() {
	m.t.Helper()
	m.s.well()
	m.within(5*time.Minute, "all is well", func() bool {
		return m.j.PendingCount() == 0 && !m.doubtful()
	})
	for i := range modelOrgs * modelKeys {
		o := org(i % modelOrgs)
		v, c := value(o, i/modelOrgs), conversation(o, i/modelOrgs)
		if got := m.reads(v); got != m.values[v] {
			m.t.Errorf("%s is %q, want %q", v, got, m.values[v])
		}
		if got := m.ids(c); !slices.Equal(got, m.logs[c]) {
			m.t.Errorf("%s has %v, want %v", c, got, m.logs[c])
		}
	}
	if s := m.r.Stats(); s.SetAside > 0 || s.Rejected > 0 {
		m.t.Errorf("stats %+v", s)
	}
}

// Whatever happens in whatever order, in the end the store has what was
// acknowledged, once, and nothing that was removed.
func TestModel(t *testing.T) {
	begun := time.Now()
	for round := uint64(1); ; round++ {
		seed := *modelSeed
		if seed == 0 {
			seed = rand.Uint64()
		}
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			m := &model{
				instance: newInstance(t, dir, newFaulty()), rng: rand.New(rand.NewPCG(seed, 0)), well: true,
				values: map[keys.Key]string{}, logs: map[keys.Key][]string{}, waits: map[keys.Org]bool{}, busy: map[keys.Org]bool{},
			}
			defer func() { m.close() }()
			for range modelSteps {
				m.step()
			}
			if m.compare(); t.Failed() {
				for _, line := range m.story {
					t.Log(line)
				}
			}
		})
		if t.Failed() {
			t.Fatalf("-model.seed=%d", seed)
		}
		if *modelSeed != 0 || time.Since(begun) > modelTime {
			t.Logf("%d rounds", round)
			return
		}
	}
}
