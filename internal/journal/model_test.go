package journal

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

var modelSeed = flag.Uint64("model.seed", 0, "seed of TestModel; zero: many")

// certainty is what a crash may do to what an Append said.
type certainty uint8

const (
	refused certainty = iota // it is not there
	maybe                    // it may be there
	certain                  // it is there
)

// modeled is a pending record in the model.
type modeled struct {
	record   *Record
	there    certainty
	resolved certainty
}

// model says what a journal owes: every durable acknowledged record that is
// pending is outstanding, none twice, none invented.
type model struct {
	t    *testing.T
	rng  *rand.Rand
	disk *faulty
	j    *Journal
	now  atomic.Int64 // nanoseconds
	n    int
	// luck is for the faults; the disk guards it.
	luck *rand.Rand

	pending     map[Position]*modeled
	generations map[keys.Org]uint64 // certain
	tombstones  map[keys.Key]int    // the certain ones: number of the version
	floors      map[keys.Key]int
	told        map[string]int // outcomes, for the log
}

func (m *model) time() time.Time { return time.Unix(0, m.now.Load()) }

func (m *model) options() Options {
	o := testOptions(m.t)
	o.MaxBytes, o.SegmentBytes, o.LowWater = 24<<10, 2<<10, 1<<20
	o.Now = m.time
	o.Logger = slog.New(slog.NewTextHandler(m.t.Output(), nil))
	return o
}

func (m *model) open() {
	o, err := m.options().withDefaults()
	if err != nil {
		m.t.Fatal(err)
	}
	j, err := open(o, m.disk)
	if err != nil {
		m.t.Fatalf("open: %v", err)
	}
	m.j = j
}

func (m *model) org() keys.Org { return testOrg(m.t, fmt.Sprint("org-", m.rng.IntN(3))) }

func (m *model) key(typ keys.Type) keys.Key {
	return testKey(m.t, typ, m.org().String(), fmt.Sprint(m.rng.IntN(6)))
}

// append appends records and says what came of it.
func (m *model) append(records ...*Record) certainty {
	durable := m.rng.IntN(2) == 0
	err := m.j.Append(context.Background(), durable, records...)
	switch {
	case err == nil && durable:
		m.told["durable"]++
		return certain
	case err == nil:
		m.told["written"]++
		return maybe
	case errors.Is(err, ErrSlow):
		m.told["slow"]++
		return maybe
	case errors.Is(err, ErrFull):
		m.told["full"]++
	case errors.Is(err, ErrDisk):
		m.told["disk"]++
	default:
		m.t.Fatalf("append: %v", err)
	}
	return refused
}

func (m *model) somePending() *modeled {
	ps := slices.Sorted(maps.Keys(m.pending))
	for _, i := range m.rng.Perm(len(ps)) {
		if p := m.pending[ps[i]]; p.there != refused && p.resolved != certain {
			return p
		}
	}
	return nil
}

func (m *model) step() {
	m.n++
	m.now.Add(int64(time.Millisecond))
	switch n := m.rng.IntN(20); {
	case n < 7:
		m.pend()
	case n < 13:
		m.resolve()
	case n == 13:
		o := m.org()
		m.generation(&Record{Kind: Generation, Time: m.time(), Org: o, Generation: uint64(m.n)})
	case n == 14:
		m.invalidate()
	case n == 15:
		m.mark(m.tombstones, "leads", func(op *store.Op) { op.Action, op.Flags = store.Set, record.Tombstone })
	case n == 16:
		m.mark(m.floors, keys.Conversations, func(op *store.Op) { op.Action = store.Replace })
	case n == 17:
		m.fault()
	case n == 18 && m.rng.IntN(4) == 0:
		m.crash()
	case n == 19 && m.rng.IntN(6) == 0:
		m.heal()
		closeTest(m.t, m.j)
		m.open()
		m.settle()
		m.check()
	default:
		m.check()
	}
}

func (m *model) pend() {
	var rs []*Record
	for range 1 + m.rng.IntN(3) {
		r := setRecord(Pending, m.key("leads"), m.n)
		if m.rng.IntN(2) == 0 {
			r = appendRecord(Pending, m.key(keys.Conversations), m.n)
		}
		r.Time, r.Op.ExpiresAt = m.time(), m.time().Add(time.Hour)
		rs = append(rs, r)
	}
	there := m.append(rs...)
	for _, r := range rs {
		if r.Position == 0 {
			continue
		}
		if m.pending[r.Position] != nil {
			m.t.Fatalf("position %x was given twice", r.Position)
		}
		m.pending[r.Position] = &modeled{record: r, there: there}
	}
}

func (m *model) resolve() {
	p := m.somePending()
	if p == nil {
		return
	}
	r := &Record{Kind: Resolved, Time: m.time(), Resolves: []Position{p.record.Position}}
	if p.record.Kind == Pending && m.rng.IntN(2) == 0 {
		r.Kind, r.Op = Applied, p.record.Op
	}
	p.resolved = max(p.resolved, m.append(r))
}

func (m *model) generation(r *Record) {
	if m.append(r) == certain {
		m.generations[r.Org] = max(m.generations[r.Org], r.Generation)
	}
}

func (m *model) invalidate() {
	r := &Record{Kind: Invalidation, Time: m.time(), Org: m.org(), Token: version(m.n)}
	there := m.append(r)
	for _, p := range m.pending {
		if org := p.record.Org; there != refused && p.record.Position < r.Position && (org == r.Org || p.record.Op.Key.Org() == r.Org) {
			p.resolved = max(p.resolved, there)
		}
	}
	if r.Position != 0 {
		m.pending[r.Position] = &modeled{record: r, there: there}
	}
}

func (m *model) mark(marks map[keys.Key]int, typ keys.Type, f func(*store.Op)) {
	r := setRecord(Applied, m.key(typ), m.n)
	r.Time, r.Op.ExpiresAt, r.Op.Payload = m.time(), m.time().Add(time.Hour), nil
	r.Op.Generation = 1 << 40 // above all others
	f(&r.Op)
	if m.append(r) == certain {
		marks[r.Op.Key] = m.n
	}
}

// fault breaks the disk in one way, or repairs it.
func (m *model) fault() {
	m.heal()
	chance := func(n int) func() bool { return func() bool { return m.luck.IntN(n) == 0 } }
	m.disk.set(func() {
		switch m.rng.IntN(8) {
		case 0:
			m.disk.failSync = chance(2)
		case 1:
			m.disk.failSync, m.disk.failName = chance(2), chance(3)
		case 2:
			m.disk.room = m.rng.Int64N(3000)
		case 3:
			m.disk.room, m.disk.failCut = m.rng.Int64N(1000), chance(2)
		case 4:
			m.disk.failName = chance(2)
		case 5:
			m.disk.freeLeft = 0
		}
	})
}

func (m *model) heal() {
	m.disk.set(func() {
		m.disk.failSync, m.disk.failName, m.disk.failCut = nil, nil, nil
		m.disk.room, m.disk.freeLeft = -1, 1<<40
	})
}

// crash takes the power away, and looks what is left.
func (m *model) crash() {
	disk := m.disk.crash(m.rng)
	m.heal()
	_ = m.j.Close(context.Background()) // its disk is not the one that goes on
	m.disk = disk
	m.told["crash"]++
	m.open()
	m.settle()
	m.check()
}

// settle takes what is there now for certain: it was read from what is durable.
func (m *model) settle() {
	out := m.outstanding()
	for pos, p := range m.pending {
		switch there := out[pos]; {
		case there && p.resolved == certain:
			m.t.Fatalf("position %x was resolved, and is pending again", pos)
		case there:
			p.there, p.resolved = certain, refused
		case p.there == certain && p.resolved == refused:
			m.t.Fatalf("position %x was lost", pos)
		default:
			delete(m.pending, pos)
		}
	}
}

// TestModel runs random schedules of appends, faults and crashes.
func TestModel(t *testing.T) {
	seeds := []uint64{*modelSeed}
	if *modelSeed == 0 {
		seeds = nil
		for range 30 {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			m := &model{
				t: t, rng: rand.New(rand.NewPCG(seed, 1)), luck: rand.New(rand.NewPCG(seed, 2)), disk: newFaulty(),
				pending: map[Position]*modeled{}, generations: map[keys.Org]uint64{},
				tombstones: map[keys.Key]int{}, floors: map[keys.Key]int{}, told: map[string]int{},
			}
			m.now.Store(time.Now().UnixNano())
			m.open()
			for range 600 {
				m.step()
			}
			m.heal()
			m.check()
			_ = m.j.Close(context.Background())
			t.Log(m.told)
		})
	}
}
