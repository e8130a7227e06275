package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

// Leaser is a Shared store by which processes agree on which of them loads what
// none of them found. A lease is a courtesy and no lock: whoever has lost it goes
// on, and what keeps a load from bringing back what is over is the condition and
// the generation under which it is written.
type Leaser interface {
	// LeaseLoad takes the lease to load a key for life, at least a millisecond, or
	// prolongs that of the same token. Where another token has it, held is false and
	// left is what remains of that life, more than zero; it is taken away from a
	// token of a lower miss, see LoadToken. Errors are those of a read: after one it
	// may be held all the same.
	LeaseLoad(ctx context.Context, k keys.Key, token string, life time.Duration) (held bool, left time.Duration, err error)
	// ReleaseLoad gives the lease back if it is the token's; otherwise it does
	// nothing. Errors are those of a read.
	ReleaseLoad(ctx context.Context, k keys.Key, token string) error
}

// LeaserOf returns the Leaser that a store is, or that it stands in front of, as
// its method Unwrap tells; nil: there is none, because one process has the store
// for itself.
func LeaserOf(s Store) Leaser {
	for {
		if l, ok := s.(Leaser); ok {
			return l
		}
		w, ok := s.(interface{ Unwrap() Shared })
		if !ok {
			return nil
		}
		s = w.Unwrap()
	}
}

// missLen is the length of what a token says of the miss.
const missLen = 16 + 20

// LoadToken returns the token of one who loads because of what it read. It has no
// spaces if who has none, and nobody else may use the same who.
//
// It begins with the miss: who read a higher generation, or a later deletion,
// must not wait for a load that began before it, and takes the lease away.
func LoadToken(r Read, who string) string { return Miss(r) + who }

// Miss returns what a token says of a miss: texts of one length, which sort by
// generation and version.
func Miss(r Read) string { return fmt.Sprintf("%016x%v", r.Generation, r.Value.Version) }

// MissOf returns what a token says of its miss.
func MissOf(token string) string { return token[:min(missLen, len(token))] }
