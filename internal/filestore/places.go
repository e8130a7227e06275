package filestore

import (
	"fmt"
	"slices"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// maxPlaces is how many orders of one message id are remembered.
const maxPlaces = 32

// digest tells contents apart.
type digest [8]byte

// place is one order under which a message was brought, and what it said.
type place struct {
	order  record.Order
	digest digest
}

// placeLen is the length of a stored place.
const placeLen = record.OrderLen + len(digest{})

// places are those of one message id, ascending. The message stands at the
// first. None means that the id is not remembered.
type places []place

func parsePlaces(b []byte) (places, error) {
	if len(b)%placeLen != 0 {
		return nil, fmt.Errorf("%w: orders of a message in %d bytes", store.ErrCorrupt, len(b))
	}
	var ps places
	for ; len(b) > 0; b = b[placeLen:] {
		o, err := record.ParseOrder(b[:record.OrderLen])
		if err != nil {
			return nil, err
		}
		ps = append(ps, place{order: o, digest: digest(b[record.OrderLen:placeLen])})
	}
	return ps, nil
}

func (ps places) encode() []byte {
	b := make([]byte, 0, len(ps)*placeLen)
	for _, p := range ps {
		b = p.order.Append(b)
		b = append(b, p.digest[:]...)
	}
	return b
}

func compareOrder(p place, o record.Order) int { return p.order.Compare(o) }

func (ps places) has(o record.Order) bool {
	_, found := slices.BinarySearchFunc(ps, o, compareOrder)
	return found
}

// with returns ps and p; of too many the lowest and the highest remain.
func (ps places) with(p place) places {
	i, found := slices.BinarySearchFunc(ps, p.order, compareOrder)
	if found {
		return ps
	}
	next := slices.Insert(slices.Clone(ps), i, p)
	if len(next) > maxPlaces {
		next = slices.Delete(next, maxPlaces-1, len(next)-1)
	}
	return next
}

// from returns the places whose version is not below floor.
func (ps places) from(floor clock.Version) places {
	for i, p := range ps {
		if p.order.Version.Compare(floor) >= 0 {
			return ps[i:]
		}
	}
	return nil
}

// differ reports whether one of the places has another content than d.
func (ps places) differ(d digest) bool {
	return slices.ContainsFunc(ps, func(p place) bool { return p.digest != d })
}
