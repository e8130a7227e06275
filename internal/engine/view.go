package engine

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// viewBytes bounds the views together.
	viewBytes = 64 << 20
	// viewEntry is about what a message in a view takes beside its bytes.
	viewEntry = 250
)

// view is what the journal knows of a conversation, merged. It is completed, not
// read again, by each who looks: while the store is away every read of a conversation
// does, and each append of what may be there before.
type view struct {
	weight
	mu sync.Mutex
	content
}

// content is guarded by the lock of its view.
type content struct {
	past
	upTo    journal.Position // what is in it
	floor   clock.Version
	life    time.Time
	window  int
	byID    map[string]known
	sorted  []record.Message // nil: to be made
	records int
	early   map[journal.Position]bool // above upTo, and in it
}

// known is a message of a view.
type known struct {
	record.Message
	digest [8]byte
}

// views are those of the conversations that are looked at. The zero value has
// none.
type views struct{ recent[*view] }

func (s *views) of(k keys.Key) *view {
	return s.get(k, viewBytes, func() *view { return &view{content: content{byID: make(map[string]known)}} })
}

// view returns the view of a conversation, up to date and locked; the caller
// unlocks it.
func (e *Engine) view(k keys.Key) (*view, error) {
	v := e.views.of(k)
	v.mu.Lock()
	for {
		was := e.past(k.Org())
		done, err := e.complete(v, k, was)
		if err != nil {
			v.mu.Unlock()
			return nil, err
		}
		if done {
			return v, nil
		}
	}
}

// complete brings a view up to date, where what was past is so still: what waited is
// not found any more once an invalidation has ended it, and what was there before it
// must not be shown then.
func (e *Engine) complete(v *view, k keys.Key, was past) (done bool, err error) {
	if was != v.past {
		v.content = content{past: was, byID: make(map[string]known)}
	}
	rs, upTo, err := e.journal.KnownAfter(k, v.upTo, v.early)
	if err != nil || e.past(k.Org()) != was {
		return false, err
	}
	e.views.grew(v, v.add(rs))
	v.upTo, v.early = max(v.upTo, upTo), nil
	v.life = later(v.life, e.journal.ExpiresAt(k))
	return true, nil
}

// remember adds a record that was just journalled to the view of its conversation,
// if somebody has looked at it, so that it need not be read back.
func (e *Engine) remember(r *journal.Record) {
	v, ok := e.views.peek(r.Op.Key)
	if !ok {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Position <= v.upTo || v.early[r.Position] || len(v.early) >= mostEarly {
		return
	}
	if v.early == nil {
		v.early = make(map[journal.Position]bool)
	}
	v.early[r.Position] = true
	e.views.grew(v, v.add([]*journal.Record{r}))
}

// add merges records, by the rules of package store, and returns about how many
// bytes that took.
func (v *content) add(rs []*journal.Record) (size int) {
	for _, r := range rs {
		if v.has(r) {
			continue
		}
		if !v.life.IsZero() && r.Time.After(v.life) {
			// Its life was over: what came after it is another one.
			v.floor, v.sorted, v.byID = clock.Version{}, nil, make(map[string]known)
		}
		v.records++
		v.life = later(v.life, r.Op.ExpiresAt)
		v.window = max(v.window, r.Op.Window.Messages)
		if r.Op.Action == store.Replace && r.Op.Version.Compare(v.floor) > 0 {
			v.floor, v.sorted = r.Op.Version, nil
			maps.DeleteFunc(v.byID, func(_ string, m known) bool { return m.Order.Version.Compare(v.floor) < 0 })
		}
		for _, m := range r.Op.Messages {
			order := m.Order(r.Op.Version)
			old, ok := v.byID[m.ID]
			if order.Version.Compare(v.floor) < 0 || ok && order.Compare(old.Order) >= 0 {
				continue
			}
			now := known{digest: m.Digest, Message: record.Message{
				Order: order, Generation: max(v.generation, r.Op.Generation), Arrival: r.Time.UnixMicro(),
				ID: m.ID, Flags: m.Flags, Stored: m.Payload,
			}}
			v.byID[m.ID] = now
			if n := len(v.sorted); !ok && n > 0 && order.Compare(v.sorted[n-1].Order) > 0 {
				v.sorted = append(v.sorted, now.Message) // as nearly always
			} else {
				v.sorted = nil
			}
			size += len(m.Payload) + viewEntry
		}
	}
	return size
}

// messages returns what the view has, in order.
func (v *content) messages() []record.Message {
	if v.sorted == nil {
		v.sorted = make([]record.Message, 0, len(v.byID))
		for _, m := range v.byID {
			v.sorted = append(v.sorted, m.Message)
		}
		slices.SortFunc(v.sorted, byOrder)
	}
	return v.sorted
}

// over returns what stands in the store, oldest first, with what the view has. It
// may be the view's own, and counts while the view is locked.
func (v *content) over(stored []record.Message) []record.Message {
	if len(stored) == 0 {
		return v.messages()
	}
	all := make([]record.Message, 0, len(stored)+len(v.byID))
	for _, m := range stored {
		if k, ok := v.byID[m.ID]; m.Order.Version.Compare(v.floor) < 0 || ok && k.Order.Compare(m.Order) <= 0 {
			continue
		}
		all = append(all, m)
	}
	lower := make(map[string]bool)
	for _, m := range all {
		if _, ok := v.byID[m.ID]; ok {
			lower[m.ID] = true // it stands lower than the view has it
		}
	}
	for _, m := range v.messages() {
		if !lower[m.ID] {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, byOrder)
	return all
}

func byOrder(a, b record.Message) int { return a.Order.Compare(b.Order) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
