package filestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// value is the row of a value: expiry and due in milliseconds, then the record.
type value struct {
	expires int64
	due     int64 // when the sweep looks at it
	record  record.Value
}

// valueHead is the length of what stands before the record.
const valueHead = 16

func (v value) live(now time.Time) bool { return v.expires > now.UnixMilli() }

func (v value) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(v.expires))
	dst = binary.BigEndian.AppendUint64(dst, uint64(v.due))
	return v.record.Append(dst)
}

// parseValue returns a value that aliases b.
func parseValue(b []byte) (value, error) {
	if len(b) < valueHead {
		return value{}, fmt.Errorf("%w: a value of %d bytes", store.ErrCorrupt, len(b))
	}
	v := value{expires: int64(binary.BigEndian.Uint64(b)), due: int64(binary.BigEndian.Uint64(b[8:]))}
	var err error
	v.record, err = record.ParseValue(b[valueHead:])
	return v, err
}

// readValue returns what stands at a, expired or not. The result aliases the
// transaction's memory.
func readValue(b *bbolt.Bucket, a address) (v value, found bool, err error) {
	if b == nil {
		return value{}, false, nil
	}
	row := b.Get(a.row(rowValue))
	if row == nil {
		return value{}, false, nil
	}
	v, err = parseValue(row)
	return v, err == nil, err
}

// set applies a Set. Nothing is written unless the answer is Applied.
func (t *txn) set(op *store.Op, a address) (store.Result, error) {
	res, done, err := t.begin(op, a)
	if done || err != nil {
		return res, err
	}
	stored, row, err := readValue(t.rows(a.org), a)
	if err != nil {
		return res, err
	}
	found := row && stored.live(t.now)
	if found {
		res.Version = stored.record.Version
		res.ExpiresAt = time.UnixMilli(stored.expires)
	}
	if res.Status = decide(op, stored.record, found); res.Status != store.Applied {
		if res.Status == store.Stale {
			res.Generation = max(res.Generation, stored.record.Generation)
		}
		return res, nil
	}
	next := value{record: record.Value{Version: op.Version, Generation: op.Generation, Flags: op.Flags, Stored: op.Payload}}
	// A deletion must work where there is no room.
	switch {
	case op.Version.IsAbsence():
		err = t.take(rowOverhead)
	case !next.record.IsTombstone():
		err = t.take(len(op.Payload))
	}
	if err != nil {
		return res, err
	}
	next.expires, _ = expiry(op, t.now)
	next.due = stored.due
	if !row {
		t.keys++
	}
	if err := t.putValue(a, next); err != nil {
		return res, err
	}
	res.Version, res.ExpiresAt = op.Version, time.UnixMilli(next.expires)
	return res, nil
}

func (t *txn) putValue(a address, v value) error {
	b, err := t.createRows(a.org)
	if err != nil {
		return err
	}
	row := a.row(rowValue)
	if v.due, err = t.schedule(a, row, v.due, v.expires); err != nil {
		return err
	}
	return t.put(b, row, v.append(make([]byte, 0, valueHead+record.MaxHeader+len(v.record.Stored))))
}

// decide says what becomes of a Set where stored is found, or nothing.
func decide(op *store.Op, stored record.Value, found bool) store.Status {
	if !holds(op, stored, found) {
		return store.ConditionFail
	}
	if !found {
		return store.Applied
	}
	switch c := op.Version.Compare(stored.Version); {
	case op.Generation < stored.Generation:
		return store.Stale
	case op.Generation > stored.Generation, c > 0:
		return store.Applied
	case c < 0:
		return store.Superseded
	case op.Flags != stored.Flags || !bytes.Equal(op.Payload, stored.Stored):
		return store.Conflict
	}
	return store.Unchanged
}

// holds reports whether the condition of op holds.
func holds(op *store.Op, stored record.Value, found bool) bool {
	live := found && !stored.IsTombstone() && stored.Generation >= op.Generation
	switch op.If.Kind {
	case store.IfAbsent:
		return !live
	case store.IfVersion:
		return live && stored.Version == op.If.Version
	case store.IfSeen:
		if op.If.Version.IsZero() {
			return !found
		}
		return found && stored.Version == op.If.Version
	}
	return true
}
