package store

import (
	"context"

	"github.com/jackcache/jackcache/internal/keys"
)

// Reclaimer is a Shared store that gives back in the background what invalidated
// organisations took.
type Reclaimer interface {
	Shared
	// Reclaim is Sweep for several organisations at once, and slow: it looks at no
	// more than rate keys a second on average, and rests between for many times as
	// long as its commands took. It returns an error where it could not look
	// everywhere.
	Reclaim(ctx context.Context, os []keys.Org, rate int) (Reclaimed, error)
}

// Reclaimed is what came of it.
type Reclaimed struct {
	Looked  int // about how many keys were looked at
	Removed int // how many of them went
}

// ReclaimerOf returns the Reclaimer that a store is, or that it stands in front
// of, as its method Unwrap tells; nil: it gives space back by itself.
func ReclaimerOf(s Store) Reclaimer {
	for {
		if r, ok := s.(Reclaimer); ok {
			return r
		}
		w, ok := s.(interface{ Unwrap() Shared })
		if !ok {
			return nil
		}
		s = w.Unwrap()
	}
}
