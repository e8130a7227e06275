package filestore

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/store"
)

// txn is a transaction for writing. It counts what it changes, so that one
// that changed nothing need not be written to disk.
type txn struct {
	names
	tx     *bbolt.Tx
	now    time.Time
	room   int64 // bytes that may be added; negative: none
	writes int
	keys   int64 // how many keys were added, less those removed
}

func (t *txn) millis() int64 { return t.now.UnixMilli() }

// fill is how full pages are left when they are split. Most rows are added at
// the end of those of their kind; bbolt's half costs a quarter more space.
const fill = 0.8

// rows returns the bucket with an organisation's rows, or nil.
func (t *txn) rows(org string) *bbolt.Bucket {
	b := rowsOf(t.tx, t.names, org)
	if b != nil {
		b.FillPercent = fill
	}
	return b
}

func rowsOf(tx *bbolt.Tx, n names, org string) *bbolt.Bucket {
	if org == "" {
		return tx.Bucket(n.directory)
	}
	return tx.Bucket(n.organisations).Bucket([]byte(org))
}

func (t *txn) createRows(org string) (*bbolt.Bucket, error) {
	if b := t.rows(org); b != nil {
		return b, nil
	}
	t.writes++
	return t.tx.Bucket(t.organisations).CreateBucket([]byte(org))
}

func (t *txn) put(b *bbolt.Bucket, name, value []byte) error {
	t.writes++
	return b.Put(name, value)
}

func (t *txn) delete(b *bbolt.Bucket, name []byte) error {
	t.writes++
	return b.Delete(name)
}

// take asks for room for n bytes. Nothing may have been written for the
// operation yet.
func (t *txn) take(n int) error {
	if t.room < int64(n) {
		return fmt.Errorf("%w: the file has reached its limit", store.ErrFull)
	}
	t.room -= int64(n)
	return nil
}

// schedule arranges for a row to be looked at by the sweep at the given time.
// It returns the time at which that will be: an earlier one that was arranged
// before stays, and is put off when it comes.
func (t *txn) schedule(a address, row []byte, before, at int64) (int64, error) {
	if before != 0 && before <= at {
		return before, nil
	}
	return at, t.put(t.tx.Bucket(t.due), dueName(at, a.org, row), []byte{1})
}

func dueName(at int64, org string, row []byte) []byte {
	b := make([]byte, 0, 8+len(org)+1+len(row))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(b, org...)
	b = append(b, 0)
	return append(b, row...)
}

// generationOf reads an organisation's generation; missing is zero.
func generationOf(tx *bbolt.Tx, n names, org string) (uint64, error) {
	v := tx.Bucket(n.generations).Get(orgName(org))
	if v == nil {
		return 0, nil
	}
	g, ok := number(v)
	if !ok {
		return 0, fmt.Errorf("%w: generation of %q", store.ErrCorrupt, org)
	}
	return g, nil
}

func number(b []byte) (uint64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// expiry returns when what op writes ends, in milliseconds; past is true when
// that is not in the future.
func expiry(op *store.Op, now time.Time) (at int64, past bool) {
	if !op.ExpiresAt.IsZero() {
		at = op.ExpiresAt.UnixMilli()
		return at, at <= now.UnixMilli()
	}
	// A life shorter than the resolution is still a life.
	return max(now.Add(op.TTL).UnixMilli(), now.UnixMilli()+1), false
}
