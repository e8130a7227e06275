package filestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// maxID is the longest message id in bytes; bbolt bounds names of rows.
	maxID = 16 << 10

	// rowOverhead is about what a row costs beside its payload, in bytes.
	rowOverhead = 200
)

// Apply applies one operation; see package store for the rules. It answers
// once the outcome is on disk.
func (s *Store) Apply(ctx context.Context, op store.Op) (store.Result, error) {
	a, err := s.names.address(op.Key)
	if err != nil {
		return store.Result{}, err
	}
	if err := check(&op); err != nil {
		return store.Result{}, fmt.Errorf("%w: %w", store.ErrRejected, err)
	}
	var res store.Result
	err = s.submit(ctx, sizeOf(&op), func(t *txn) error {
		var err error
		if op.Action == store.Set {
			res, err = t.set(&op, a)
		} else {
			res, err = t.converse(&op, a)
		}
		return err
	})
	if err != nil {
		return store.Result{}, err
	}
	return res, nil
}

// check finds what no state could accept.
func check(op *store.Op) error {
	switch {
	case op.Action < store.Set || op.Action > store.Replace:
		return fmt.Errorf("action %d", op.Action)
	case op.TTL <= 0 && op.ExpiresAt.IsZero():
		return errors.New("neither TTL nor ExpiresAt")
	case op.Generation > store.MaxGeneration:
		return fmt.Errorf("generation %d", op.Generation)
	case unknownFlags(op.Flags):
		return fmt.Errorf("flags %02x", uint8(op.Flags))
	}
	for i, m := range op.Messages {
		if m.ID == "" || len(m.ID) > maxID {
			return fmt.Errorf("message %d: an id of %d bytes", i, len(m.ID))
		}
		if unknownFlags(m.Flags) {
			return fmt.Errorf("message %d: flags %02x", i, uint8(m.Flags))
		}
	}
	return nil
}

func unknownFlags(f record.Flags) bool { return f&^(record.Tombstone|record.Zstd) != 0 }

func sizeOf(op *store.Op) int {
	n := rowOverhead + len(op.Payload)
	for _, m := range op.Messages {
		n += rowOverhead + len(m.ID) + len(m.Payload)
	}
	return n
}

// begin starts the answer to op; done is true when it is complete already.
func (t *txn) begin(op *store.Op, a address) (res store.Result, done bool, err error) {
	res = store.Result{StoreTime: t.now}
	if res.Generation, err = generationOf(t.tx, t.names, a.org); err != nil {
		return res, true, err
	}
	_, past := expiry(op, t.now)
	switch {
	case op.Version.Millis() > t.now.Add(clock.MaxAhead).UnixMilli():
		res.Status = store.Ahead
	case past && (op.Mode != store.Merge || op.Action == store.Set):
		res.Status = store.Expired
	}
	return res, res.Status != 0, nil
}

func timeOf(millis int64) time.Time {
	if millis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(millis)
}
