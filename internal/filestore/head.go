package filestore

import (
	"encoding/binary"
	"fmt"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// head is what a conversation's row says of it: nine numbers in this order,
// then the floor and trimmedTo. Times are milliseconds; zero means none.
type head struct {
	generation  uint64
	created     int64
	expires     int64 // end of the life of the messages
	floorUntil  int64 // end of the floor's, when that is later
	due         int64 // when the sweep looks at it
	lastArrival int64 // microseconds
	messages    int64 // in the list
	bytes       int64 // of the list, as stored
	ids         int64 // remembered

	floor     clock.Version
	trimmedTo record.Order
}

const headLen = 9*8 + clock.VersionLen + record.OrderLen

// until returns when nothing of the conversation is worth keeping.
func (h head) until() int64 { return max(h.expires, h.floorUntil) }

// numbers are those that follow the generation.
func (h *head) numbers() []*int64 {
	return []*int64{&h.created, &h.expires, &h.floorUntil, &h.due, &h.lastArrival, &h.messages, &h.bytes, &h.ids}
}

func (h head) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, headLen), h.generation)
	for _, n := range h.numbers() {
		b = binary.BigEndian.AppendUint64(b, uint64(*n))
	}
	return h.trimmedTo.Append(h.floor.Append(b))
}

func parseHead(b []byte) (h head, err error) {
	if len(b) != headLen {
		return head{}, fmt.Errorf("%w: the head of a conversation has %d bytes", store.ErrCorrupt, len(b))
	}
	h.generation = binary.BigEndian.Uint64(b)
	for _, n := range h.numbers() {
		b = b[8:]
		*n = int64(binary.BigEndian.Uint64(b))
	}
	b = b[8:]
	if h.floor, err = clock.Parse(b[:clock.VersionLen]); err != nil {
		return head{}, fmt.Errorf("%w: floor: %w", store.ErrCorrupt, err)
	}
	if h.trimmedTo, err = record.ParseOrder(b[clock.VersionLen:]); err != nil {
		return head{}, fmt.Errorf("trimmed to: %w", err)
	}
	return h, nil
}
