package journal

import (
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func (m *model) outstanding() map[Position]bool {
	out := map[Position]bool{}
	var after Position
	for {
		page := m.j.Outstanding(after, 7)
		if len(page) == 0 {
			return out
		}
		for _, o := range page {
			after = o.Position
			p := m.pending[o.Position]
			if p == nil || p.there == refused || out[o.Position] {
				m.t.Fatalf("%+v was invented, or is there twice (%+v)", o, p)
			}
			if o.Kind != p.record.Kind || o.Key != p.record.Op.Key {
				m.t.Fatalf("%+v is outstanding, appended was %+v", o, p.record)
			}
			out[o.Position] = true
		}
	}
}

func (m *model) check() {
	out := m.outstanding()
	for pos, p := range m.pending {
		if p.there == certain && p.resolved == refused && !out[pos] {
			_, pending := m.j.pendingAt(pos)
			m.t.Fatalf("position %x was lost; it is pending: %t", pos, pending)
		}
		if p.resolved == certain && out[pos] {
			m.t.Fatalf("position %x was resolved, and is pending again", pos)
		}
	}
	if int(m.j.PendingCount()) != len(out) {
		m.t.Fatalf("%d pending, %d outstanding", m.j.PendingCount(), len(out))
	}
	generations := m.j.Generations()
	for o, g := range m.generations {
		if generations[o] < g {
			m.t.Fatalf("%s has generation %d, want %d", o, generations[o], g)
		}
	}
	for _, marks := range []map[keys.Key]int{m.tombstones, m.floors} {
		for k, n := range marks {
			m.checkMark(k, n)
		}
	}
	checkState(m.t, m.j)
}

func (m *model) checkMark(k keys.Key, n int) {
	rs, err := m.j.Known(k)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, r := range rs {
		if r.Op.Action != store.Append && r.Op.Version.Compare(version(n)) >= 0 {
			return
		}
	}
	m.t.Fatalf("what %s had at %d is forgotten: %+v", k, n, rs)
}

// checkState compares what is counted with what is there.
func checkState(t *testing.T, j *Journal) {
	t.Helper()
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	pending, bytes := map[uint32]int64{}, int64(0)
	for _, pe := range s.pend {
		r := s.recs.at(pe.rec)
		pending[r.seg]++
		bytes += int64(r.size)
	}
	linked := 0
	for _, seg := range s.segments {
		if seg.pending != pending[seg.number] {
			t.Fatalf("%s: %d pending, counted %d", seg.name, pending[seg.number], seg.pending)
		}
		for i := seg.head; i != none; i = s.recs.at(i).segNext {
			linked++
		}
	}
	if bytes != s.pendingBytes || linked+len(s.pend) != s.recs.len() || s.entries.len() != len(s.keys) {
		t.Fatalf("pending bytes %d, counted %d; %d+%d records, counted %d", bytes, s.pendingBytes, linked, len(s.pend), s.recs.len())
	}
}
