package replay

import (
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// runMessages and runBytes bound what is sent in one operation: who waits for an
	// answer of the same server waits for its end.
	runMessages = 32
	runBytes    = 64 << 10
)

// run is records that are applied in one operation: one of them, or appends to one
// conversation that follow each other.
type run []*journal.Record

// runs splits records into runs, in order; those of one key are in one list, for
// somebody who applies them one after the other. Messages that come in order cost
// the store a fraction of what those cost that have to be put between others.
func runs(rs []*journal.Record) (byKey [][]run) {
	at := make(map[string]int)
	for _, rec := range rs {
		key := rec.Op.Key.String()
		i, ok := at[key]
		if !ok {
			i = len(byKey)
			at[key], byKey = i, append(byKey, nil)
		}
		if n := len(byKey[i]); n > 0 && byKey[i][n-1].takes(rec) {
			byKey[i][n-1] = append(byKey[i][n-1], rec)
		} else {
			byKey[i] = append(byKey[i], run{rec})
		}
	}
	return byKey
}

// takes reports whether a record can be applied together with those of r.
func (r run) takes(rec *journal.Record) bool {
	first := r[0].Op
	if first.Action != store.Append || rec.Op.Action != store.Append ||
		first.Generation != rec.Op.Generation || first.MaxLife != rec.Op.MaxLife || first.Window != rec.Op.Window {
		return false
	}
	if len(r) >= runMessages {
		return false
	}
	messages, size := 0, 0
	for _, rec := range append(r[:len(r):len(r)], rec) {
		messages += len(rec.Op.Messages)
		for i := range rec.Op.Messages {
			size += len(rec.Op.Messages[i].Payload)
		}
	}
	return messages <= runMessages && size <= runBytes
}

// op is the operation of a run: each message has the order that it has in its own
// record.
func (r *Replayer) op(records run) store.Op {
	op := r.again(records[0])
	if len(records) == 1 {
		return op
	}
	op.Messages = nil
	for _, rec := range records {
		own := r.again(rec)
		if own.Version.Compare(op.Version) > 0 {
			op.Version = own.Version
		}
		if own.ExpiresAt.After(op.ExpiresAt) {
			op.ExpiresAt = own.ExpiresAt
		}
		for _, m := range own.Messages {
			m.At = m.Order(own.Version)
			op.Messages = append(op.Messages, m)
		}
	}
	return op
}
