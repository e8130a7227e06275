package store

import (
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
)

// Refresh asks for a longer life of a value that was read.
type Refresh struct {
	Key keys.Key
	// Version is that of the value that was read: no other is prolonged.
	Version clock.Version
	// Generation is the organisation's, as far as the reader knows: a value of a
	// lower one is not prolonged.
	Generation uint64
	// TTL is the life from now, by the store's clock; at least a millisecond.
	TTL time.Duration
	// Until is where the life ends at the latest, by the store's clock. Zero: no
	// bound.
	Until time.Time
}

// RefreshPart is the part of a TTL that has to pass before a life is prolonged: a
// server tells every process of a new expiry as of any other change.
const RefreshPart = 4

// Due reports whether a life of which so much is left may be prolonged to ttl.
func Due(left, ttl time.Duration) bool { return left <= ttl-ttl/RefreshPart }

// Prolonged returns the end of the life of a value that now ends at an instant, and
// whether that is later: a life is never shortened.
func (r Refresh) Prolonged(now, expiresAt time.Time) (time.Time, bool) {
	if !Due(expiresAt.Sub(now), r.TTL) {
		return expiresAt, false
	}
	to := now.Add(r.TTL)
	if !r.Until.IsZero() && to.After(r.Until) {
		to = r.Until
	}
	if to = to.Truncate(time.Millisecond); !to.After(expiresAt) {
		return expiresAt, false
	}
	return to, true
}
