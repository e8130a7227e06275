package engine

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// filterBytes bounds the filters together: those of some 100,000 conversations
	// that are written to in an outage, or of a million messages.
	filterBytes = 32 << 20
	// mostEarly bounds the records of a filter or a view that nobody has looked at since.
	mostEarly = 1000
)

// idFilter tells which messages are new to what the journal knows of a conversation.
// While the store is away each append asks that, and nearly all of them are: a filter
// has a hash of each ID, eight bytes of what a view keeps whole, so that it is there for
// many more conversations than are read.
//
// It may take a message for a known one, and then the view decides: because two IDs have
// one hash, or because what the journal had of it has ended, was cleared, expired or was
// left behind. It never takes a known one for new: it has all that stands in the index
// up to a position, and is brought forward from there before each answer.
type idFilter struct {
	weight
	mu    sync.Mutex
	upTo  journal.Position   // guarded by mu: what is in it
	early []journal.Position // guarded by mu: above upTo, and in it
	ids   hashes             // guarded by mu
}

// idFilters are those of the conversations that were written to while the store was away.
// The zero value has none.
type idFilters struct{ recent[*idFilter] }

func (s *idFilters) of(k keys.Key) *idFilter {
	return s.get(k, filterBytes, func() *idFilter { return new(idFilter) })
}

// idSeed is that of the hashes of IDs: nobody can choose IDs that have one hash.
var idSeed = maphash.MakeSeed()

// allNew reports whether all of the messages are certainly new to what the journal knows
// of the conversation.
func (e *Engine) allNew(f *idFilter, k keys.Key, msgs []store.Message) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.ids.bytes()
	defer func() { e.filters.grew(f, f.ids.bytes()-before) }()
	upTo, err := e.journal.EachID(k, f.upTo, f.early, func(id string) { f.ids.add(maphash.String(idSeed, id)) })
	if err != nil {
		return false // it is not complete, and asks again from where it was
	}
	f.upTo, f.early = max(f.upTo, upTo), f.early[:0]
	return !slices.ContainsFunc(msgs, func(m store.Message) bool { return f.ids.has(maphash.String(idSeed, m.ID)) })
}

// note adds a record that was just journalled, so that it need not be read back.
func (e *Engine) note(f *idFilter, r *journal.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Position <= f.upTo || len(f.early) >= mostEarly {
		return
	}
	before := f.ids.bytes()
	f.early = append(f.early, r.Position)
	for i := range r.Op.Messages {
		f.ids.add(maphash.String(idSeed, r.Op.Messages[i].ID))
	}
	e.filters.grew(f, f.ids.bytes()-before)
}

// hashes is a set. The zero value is empty.
type hashes struct {
	table []uint64 // a power of two of places, probed one after the other; zero: free
	n     int
}

func (h *hashes) bytes() int { return 8 * len(h.table) }

func (h *hashes) has(x uint64) bool { return h.n > 0 && h.table[h.place(x)] != 0 }

func (h *hashes) add(x uint64) {
	if 4*h.n >= 3*len(h.table) {
		was := h.table
		h.table = make([]uint64, max(4, 2*len(was)))
		for _, x := range was {
			if x != 0 {
				h.table[h.place(x)] = x
			}
		}
	}
	if at := h.place(x); h.table[at] == 0 {
		h.table[at] = max(x, 1)
		h.n++
	}
}

// place returns where x is, or would be. There is always a free place.
func (h *hashes) place(x uint64) int {
	x = max(x, 1)
	mask := uint64(len(h.table) - 1)
	at := x & mask
	for h.table[at] != 0 && h.table[at] != x {
		at = (at + 1) & mask
	}
	return int(at)
}
