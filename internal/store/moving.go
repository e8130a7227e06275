package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
)

// ErrWrongStore means that the shared store is not the one that the data directory
// belongs to, so nothing is read from it or written to it.
var ErrWrongStore = errors.New("wrong store")

// Mover is the part of a Store that moves and empties. Its calls are outside the
// budget of an operation.
type Mover interface {
	// Recall adds to a conversation what another store remembered of it beside
	// the messages that stand; see Past. It can be repeated.
	Recall(ctx context.Context, p Past) error
	// Sweep removes what an organisation has below its generation, and returns
	// about how many keys that were; a zero Org stands for all organisations. The
	// floors of conversations stay as long as they are remembered, and so do
	// generations. What is of the generation, or written meanwhile, is not touched.
	Sweep(ctx context.Context, o keys.Org) (int, error)
	// Orgs returns the organisations that have data, in no order.
	Orgs(ctx context.Context) ([]keys.Org, error)
}

// Past is what a conversation remembers beside the messages that stand in it,
// for a store into which they were merged.
//
//   - It is ignored where the conversation has another generation, or no life.
//   - TrimmedTo is raised, unless a message stands at or below the new one: what
//     stands is never lost.
//   - Of each id in Trimmed that is not remembered, the orders from the floor on
//     are, if the lowest of these is at or below trimmedTo.
//   - The life began at Created if that is earlier.
type Past struct {
	Key        keys.Key
	Generation uint64
	TrimmedTo  record.Order
	// Created is an instant by the store's clock; zero: not known.
	Created time.Time
	// Trimmed has the ids whose message left the list: one entry for each order of
	// an id, the lowest first and those of one id together. Only ID, Digest, At,
	// Flags and Payload count; a nil Payload means that the content is not kept.
	Trimmed []Message
}

// Contents is what one key of a store holds, as operations in Mode Merge that
// bring it about in another one: first Ops in any order, then Past. Both are
// empty where nothing is worth keeping.
type Contents struct {
	Key  keys.Key
	Ops  []Op
	Past []Past
	// Damaged says why it cannot be read; the rest is empty then, and Key is zero
	// where not even that could be read.
	Damaged error
}
