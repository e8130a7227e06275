package journal

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// followed is the IDs of a conversation as somebody has them who reads on from where he
// was, and has noted some of the records that he appended himself.
type followed struct {
	ids   map[string]bool
	upTo  Position
	early []Position
}

// history is a random history of conversations, and what is followed of it.
type history struct {
	t       *testing.T
	rng     *rand.Rand
	j       *Journal
	talks   []keys.Key
	follows map[keys.Key]*followed
	written map[keys.Key]map[string]bool // ever
	pending []*Record
	n       int
	highest uint64 // generation
}

func (h *history) talk() keys.Key { return h.talks[h.rng.IntN(len(h.talks))] }

func (h *history) write() {
	h.n++
	kind, k := Kind(Applied), h.talk()
	if h.rng.IntN(2) == 0 {
		kind = Pending
	}
	r := appendRecord(kind, k, max(0, h.n-h.rng.IntN(8))) // some come late
	r.Time = h.j.o.Now()
	if r.Op.ExpiresAt = r.Time.Add(time.Duration(h.rng.IntN(90)) * time.Minute); h.rng.IntN(8) == 0 {
		r.Op.Action = store.Replace
	}
	r.Op.Generation = uint64(h.rng.Int64N(int64(h.highest) + 1))
	r.Op.Messages = r.Op.Messages[:0]
	for range h.rng.IntN(3) {
		r.Op.Messages = append(r.Op.Messages, store.Message{ID: fmt.Sprint("m", h.rng.IntN(40)), Payload: []byte("{}")})
	}
	h.append(r)
	if kind == Pending {
		h.pending = append(h.pending, r)
	}
}

func (h *history) append(r *Record) {
	if err := h.j.Append(h.t.Context(), false, r); err != nil {
		h.t.Fatal(err)
	}
	if !r.Kind.hasOp() {
		return
	}
	k := r.Op.Key
	noted := h.rng.IntN(2) == 0 && r.Position > h.follows[k].upTo
	if noted {
		h.follows[k].early = append(h.follows[k].early, r.Position)
	}
	for _, m := range r.Op.Messages {
		h.written[k][m.ID] = true
		h.follows[k].ids[m.ID] = h.follows[k].ids[m.ID] || noted
	}
}

// resolve has something pending applied, or set aside.
func (h *history) resolve() {
	if len(h.pending) == 0 {
		return
	}
	i := h.rng.IntN(len(h.pending))
	was := h.pending[i]
	h.pending = slices.Delete(h.pending, i, i+1)
	r := &Record{Kind: Resolved, Time: h.j.o.Now(), Resolves: []Position{was.Position}}
	if h.rng.IntN(2) == 0 {
		r.Kind, r.Op = Applied, was.Op
	}
	h.append(r)
}

func (h *history) step(pass func(time.Duration), reopen func()) {
	org := h.talk().Org()
	switch n := h.rng.IntN(100); {
	case n < 60:
		h.write()
	case n < 85:
		h.resolve()
	case n < 89:
		h.highest++
		h.append(&Record{Kind: Generation, Time: h.j.o.Now(), Org: org, Generation: h.highest})
	case n < 92:
		h.append(&Record{Kind: Invalidation, Time: h.j.o.Now(), Org: org, Token: version(h.n)})
	case n < 95:
		h.append(&Record{Kind: Assigned, Time: h.j.o.Now(), Org: org, Generation: h.highest, UpTo: h.j.Position()})
	case n == 96:
		pass(20 * time.Minute)
		fill(h.t, h.j, 1)
	case n == 97:
		reopen()
	}
}

// check brings what is followed of some conversations forward, and compares it with all
// that is known of them.
func (h *history) check() {
	for k, f := range h.follows {
		if h.rng.IntN(3) > 0 {
			continue
		}
		upTo, err := h.j.EachID(k, f.upTo, f.early, func(id string) { f.ids[id] = true })
		if err != nil {
			h.t.Fatal(err)
		}
		f.upTo, f.early = max(f.upTo, upTo), nil
		for _, r := range known(h.t, h.j, k) {
			for _, m := range r.Op.Messages {
				if !f.ids[m.ID] {
					h.t.Fatalf("%s: %s is known (kind %d, position %x), and left out up to %x", k, m.ID, r.Kind, r.Position, f.upTo)
				}
			}
		}
		for id, has := range f.ids {
			if has && !h.written[k][id] {
				h.t.Fatalf("%s: %s was never written there", k, id)
			}
		}
	}
}

// TestEachID: who reads on from where he was leaves out nothing that Known gives at any
// time, whatever happens in between, and has nothing of another conversation.
func TestEachID(t *testing.T) {
	for range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			o, now := smallOptions(t)
			o.MaxBytes = 256 << 10
			j, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 1)), j: j, written: map[keys.Key]map[string]bool{}, highest: 1}
			for _, org := range []string{"one", "two"} {
				for _, id := range []string{"1", "2"} {
					k := testKey(t, keys.Conversations, org, id)
					h.talks, h.written[k] = append(h.talks, k), map[string]bool{}
				}
			}
			forget := func() {
				h.follows = map[keys.Key]*followed{}
				for _, k := range h.talks {
					h.follows[k] = &followed{ids: map[string]bool{}}
				}
			}
			forget()
			for range 300 {
				h.step(func(d time.Duration) { now.Add(int64(d)) }, func() {
					closeTest(t, h.j)
					if h.j, err = Open(o); err != nil {
						t.Fatal(err)
					}
					forget()
				})
				h.check()
			}
			closeTest(t, h.j)
		})
	}
}

// What cannot be read is passed over, as Known does, and is not read again each time.
func TestEachIDDamaged(t *testing.T) {
	o := testOptions(t)
	j := openTest(t, o)
	k := testKey(t, keys.Conversations, "org", "1")
	r := appendRecord(Pending, k, 1)
	appendTest(t, j, r)
	at, _ := j.pendingAt(r.Position)
	if _, err := at.seg.f.WriteAt([]byte{0xff, 0xff}, at.off+int64(at.size)-2); err != nil {
		t.Fatal(err)
	}
	upTo, err := j.EachID(k, 0, nil, func(id string) { t.Error("told of ", id) })
	if err != nil || upTo != r.Position {
		t.Errorf("up to %d, %v; want %d", upTo, err, r.Position)
	}
	if rs := known(t, j, k); len(rs) > 0 {
		t.Error("it can be read")
	}
}
