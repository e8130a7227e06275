// Package near keeps values in the memory of this process.
package near

import (
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
)

// overhead is what an entry costs beside its key and payload, in bytes.
const overhead = 160

// Local keeps the values of kinds that are never shared, within a budget of
// bytes. Safe for concurrent use.
type Local struct {
	cache *otter.Cache[string, local]
}

type local struct {
	value record.Value
	ttl   time.Duration
}

// NewLocal returns an empty tier of at most maxBytes.
func NewLocal(maxBytes uint64) (*Local, error) {
	cache, err := otter.New(&otter.Options[string, local]{
		MaximumWeight: maxBytes,
		Weigher: func(key string, l local) uint32 {
			return uint32(len(key)+len(l.value.Stored)) + overhead
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, local]) time.Duration {
			return e.Value.ttl
		}),
	})
	if err != nil {
		return nil, err
	}
	return &Local{cache: cache}, nil
}

// Get returns what k holds, of whatever generation.
func (l *Local) Get(k keys.Key) (record.Value, bool) {
	e, ok := l.cache.GetIfPresent(k.String())
	return e.value, ok
}

// Set keeps v for ttl. The payload is not copied.
func (l *Local) Set(k keys.Key, v record.Value, ttl time.Duration) {
	l.cache.Set(k.String(), local{value: v, ttl: ttl})
}

// Delete drops what k holds.
func (l *Local) Delete(k keys.Key) { l.cache.Invalidate(k.String()) }

// Len returns about how many values are kept.
func (l *Local) Len() int { return l.cache.EstimatedSize() }

// Bytes returns about how much of the budget is used.
func (l *Local) Bytes() uint64 { return l.cache.WeightedSize() }

// Close ends the background work. The tier must not be used any more.
func (l *Local) Close() { l.cache.StopAllGoroutines() }
