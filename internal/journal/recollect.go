package journal

import "github.com/jackcache/jackcache/internal/keys"

// recollect finds from what is known what the records of the segment may have
// said of pending records in older ones: which of those are not pending any more,
// and whose generation was decided.
func (g *gathering) recollect(r *reader) error {
	g.resolved = nil
	for _, older := range g.older {
		g.j.state.mu.RLock()
		end := older.size
		g.j.state.mu.RUnlock()
		err := g.j.walkTo(older, end).each(r, func(e *entry) {
			if e.kind.pends() && !g.j.Waits(e.pos) {
				g.resolved = append(g.resolved, e.pos)
			}
		})
		if err != nil {
			return err
		}
	}
	g.records = append(g.records, g.decided()...)
	return nil
}

// decided returns the decisions about generations that concern older segments, as
// they would have been taken over. That some are there twice does no harm: the
// first counts, and they have the position of that.
func (g *gathering) decided() (out []*Record) {
	type decision struct {
		org  keys.Org
		made Position
	}
	s := g.j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := map[decision]*Record{}
	for _, p := range s.order.list {
		pe, ok := s.pend[p]
		if !ok || pe.assigner == 0 || !g.holds(p) {
			continue
		}
		d := decision{pe.org, pe.assigner}
		if found[d] == nil {
			found[d] = &Record{Kind: Assigned, Org: pe.org, Generation: pe.generation, origin: pe.assigner}
			out = append(out, found[d])
		}
		found[d].UpTo = p // they are in order
	}
	return out
}
