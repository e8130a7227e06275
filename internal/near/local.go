package near

import (
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// overhead is what an entry costs beside its key and payload, in bytes.
const overhead = 160

// Local keeps the values of kinds that are never shared, within a budget of
// bytes. Safe for concurrent use.
type Local struct {
	cache *otter.Cache[string, local]
}

// Life is how long a value is kept.
type Life struct {
	TTL time.Duration
	// Sliding says that TTL counts from the last read, too, up to Max from the write.
	Sliding bool
	Max     time.Duration
}

type local struct {
	value record.Value
	ttl   time.Duration
	ends  int64 // of a life that slides, however often it is read, as store.Now; 0: it does not
}

// lives is how otter learns the lives. Reads of what slides move the end by steps of
// a second where more than that is left.
type lives struct{}

func (lives) ExpireAfterCreate(e otter.Entry[string, local]) time.Duration { return e.Value.ttl }

func (lives) ExpireAfterUpdate(e otter.Entry[string, local], _ local) time.Duration {
	return e.Value.ttl
}

func (lives) ExpireAfterRead(e otter.Entry[string, local]) time.Duration {
	if e.Value.ends == 0 {
		return e.ExpiresAfter()
	}
	return max(e.ExpiresAfter(), min(e.Value.ttl, time.Duration(e.Value.ends-store.Now())))
}

// NewLocal returns an empty tier of at most maxBytes.
func NewLocal(maxBytes uint64) (*Local, error) {
	cache, err := otter.New(&otter.Options[string, local]{
		MaximumWeight: maxBytes,
		Weigher: func(key string, l local) uint32 {
			return uint32(len(key)+len(l.value.Stored)) + overhead
		},
		ExpiryCalculator: lives{},
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

// Set keeps v for a life, and reports whether there is room for it at all. The
// payload is not copied. A deletion is a value with the Tombstone flag: it keeps
// away what was loaded before it.
func (l *Local) Set(k keys.Key, v record.Value, life Life) bool {
	if !l.fits(k, v) {
		return false
	}
	l.cache.Set(k.String(), newLocal(v, life))
	return true
}

func newLocal(v record.Value, life Life) local {
	n := local{value: v, ttl: life.TTL}
	if life.Sliding {
		n.ends = store.Now() + int64(life.Max)
	}
	return n
}

func (l *Local) fits(k keys.Key, v record.Value) bool {
	return uint64(len(k.String())+len(v.Stored)+overhead) <= l.cache.GetMaximum()
}

// Fill is Set for what was loaded: it keeps v only if k still holds what was
// seen before the load, the zero version for nothing.
func (l *Local) Fill(k keys.Key, v record.Value, life Life, seen clock.Version) {
	if !l.fits(k, v) {
		return
	}
	l.cache.Compute(k.String(), func(old local, found bool) (local, otter.ComputeOp) {
		if found && old.value.Version != seen || !found && !seen.IsZero() {
			return old, otter.CancelOp
		}
		return newLocal(v, life), otter.WriteOp
	})
}

// Len returns about how many values are kept.
func (l *Local) Len() int { return l.cache.EstimatedSize() }

// Bytes returns about how much of the budget is used.
func (l *Local) Bytes() uint64 { return l.cache.WeightedSize() }

// Close ends the background work. The tier must not be used any more.
func (l *Local) Close() { l.cache.StopAllGoroutines() }
