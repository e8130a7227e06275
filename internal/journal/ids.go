package journal

import (
	"fmt"
	"slices"

	"github.com/jackcache/jackcache/internal/keys"
)

// EachID calls f with the ID of each message of a conversation that stands behind a
// position, in records that has does not name. It gives the IDs of all records that the
// index has, whatever they count for: those, too, which Known leaves out now and gives
// when what makes them needless is resolved. UpTo is the position of the last record
// that stands there, zero for none. It costs what it gives; where nothing is new, it
// looks at the index alone. Damaged records are passed over, as by Known. After an
// error f may have been called with some.
func (j *Journal) EachID(k keys.Key, after Position, has []Position, f func(id string)) (upTo Position, err error) {
	for range 3 {
		var again bool
		if upTo, again, err = j.eachID(k, after, has, f); !again {
			break
		}
	}
	return upTo, err
}

func (j *Journal) eachID(k keys.Key, after Position, has []Position, f func(id string)) (upTo Position, again bool, err error) {
	h := j.hash.text(k.String())
	j.state.mu.RLock()
	places, upTo := j.state.behindLocked(h, after, has)
	j.state.mu.RUnlock()
	for _, p := range places {
		r, err := j.read(p)
		if err != nil && j.lost(p, err) {
			continue
		}
		if err != nil {
			return upTo, true, fmt.Errorf("read journal: %w", err)
		}
		if r.Op.Key != k {
			continue
		}
		for i := range r.Op.Messages {
			f(r.Op.Messages[i].ID)
		}
	}
	return upTo, false, nil
}

// behindLocked returns where the records of a key are that stand behind a position, but
// for those at some positions, and the position of the last one.
func (s *state) behindLocked(h keyHash, after Position, but []Position) (places []place, last Position) {
	k, ok := s.keys[h]
	if !ok {
		return nil, 0
	}
	for i := s.entries.at(k).tail; i != none && s.recs.at(i).pos > after; i = s.recs.at(i).prev {
		r := s.recs.at(i)
		last = max(last, r.pos)
		if !slices.Contains(but, r.pos) {
			places = append(places, s.placeLocked(i))
		}
	}
	return places, last
}
