package near

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
)

// Options say how much a Tier keeps and what it trusts. All are required.
type Options struct {
	// MaxBytes is the budget for all copies, with their keys and what keeping them
	// costs. It may be exceeded for moments, while what is too much is evicted. Each
	// organisation that has copies takes about 200 bytes beside it.
	MaxBytes uint64
	// Share is the part of MaxBytes that one organisation may have, above 0 and at
	// most 1. The directory without an organisation counts as one.
	Share float64
	// Bound is how old the proof may be with which a copy is given as fresh.
	Bound time.Duration
	// Space is that of the keys. Others are neither kept nor heard of.
	Space keys.Space
}

// maxBudget is the highest MaxBytes: what is counted stays far from an overflow.
const maxBudget = 1 << 60

func (o Options) validate() error {
	var errs []error
	if o.MaxBytes == 0 || o.MaxBytes > maxBudget {
		errs = append(errs, fmt.Errorf("option MaxBytes is %d; allowed are 1 to %d", o.MaxBytes, uint64(maxBudget)))
	}
	if !(o.Share > 0 && o.Share <= 1) {
		errs = append(errs, fmt.Errorf("option Share is %v; allowed is what is above 0 and at most 1", o.Share))
	}
	if o.Bound <= 0 {
		errs = append(errs, fmt.Errorf("option Bound is %v; allowed is what is above 0", o.Bound))
	}
	if o.Space.Prefix() == "" {
		errs = append(errs, errors.New("option Space is that of no environment; allowed is one of keys.NewSpace"))
	}
	return errors.Join(errs...)
}

// Item is a copy of what the store has under a key. Nobody may change the Value,
// neither who filled it in nor who got it: all share the same one.
type Item struct {
	Value any
	// Version and Generation are those of the stored value; zero for a stored
	// conversation that has none, and when Absent.
	Version    clock.Version
	Generation uint64
	// Size is what Value takes in memory, in bytes.
	Size int
	// TTL is how long the copy may be given from when it is filled in: the kind's near
	// TTL or what is left of the value's life, whichever is shorter. Up to a tenth is
	// taken from it, so that copies do not all expire together.
	TTL time.Duration
	// Retain is for how long after it was last known to be current the copy is kept
	// for Stale, beyond its TTL and what is told of the key. Zero: it is kept for its
	// TTL, until something is told.
	Retain time.Duration
	// Absent says that the store has none.
	Absent bool

	filled int64 // as store.Now
}

// newer reports whether i is of a later state of its key than o.
func (i *Item) newer(o *Item) bool {
	if i.Generation != o.Generation {
		return i.Generation > o.Generation
	}
	return i.Version.Compare(o.Version) > 0
}

// Tier keeps copies of what a shared store has, within a budget of bytes. It
// implements store.Listener. Safe for concurrent use.
type Tier struct {
	cache  *otter.Cache[string, *entry]
	coarse *otter.CoarseClock
	space  keys.Space
	max    uint64
	share  int64 // of MaxBytes, in bytes
	bound  time.Duration

	prefix string // of the space's keys
	ends   string // prefix of the keys of generations

	seed   maphash.Seed
	told   stripes // raised when something is told of a key
	ended  stripes // raised when the generation of an organisation changes
	orgs   accounts
	sweeps sweeper
	counts counts
	random func() uint64 // for the jitter

	retains atomic.Bool // whether there was an item with a Retain
}

// Numbers of clocks. A clock that several keys share costs a fill that could have
// been kept, never a wrong answer.
const (
	keyStripes = 1 << 14
	orgStripes = 1 << 10
)

// coarseness is that of the clock by which otter drops what has expired. Get looks
// at the exact time.
const coarseness = 50 * time.Millisecond

// New returns an empty tier. The error names each option that is not allowed.
func New(o Options) (*Tier, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("near tier: %w", err)
	}
	t := &Tier{
		coarse: otter.NewCoarseClock(coarseness),
		space:  o.Space, max: o.MaxBytes, share: int64(o.Share * float64(o.MaxBytes)), bound: o.Bound,
		prefix: o.Space.Prefix(), ends: o.Space.Generation(keys.Org{}),
		seed: maphash.MakeSeed(), told: make(stripes, keyStripes), ended: make(stripes, orgStripes),
		orgs: accounts{byName: map[string]*account{}}, random: rand.Uint64,
	}
	cache, err := otter.New(&otter.Options[string, *entry]{
		MaximumWeight:    o.MaxBytes,
		Weigher:          func(_ string, e *entry) uint32 { return e.weight },
		Clock:            t.coarse,
		OnAtomicDeletion: t.gone,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, *entry]) time.Duration {
			// The coarse clock lags, so that without more the copy would go too early.
			return e.Value.item.TTL + e.Value.item.Retain + coarseness
		}),
	})
	if err != nil {
		t.coarse.Stop()
		return nil, fmt.Errorf("near tier: %w", err)
	}
	t.cache = cache
	t.sweeps.start(t.sweep)
	return t, nil
}

// Close ends the background work. The tier must not be used any more.
func (t *Tier) Close() {
	t.sweeps.stop()
	t.cache.StopAllGoroutines()
	t.coarse.Stop()
}

// stripes are clocks that many names share.
type stripes []atomic.Uint64

// of returns the clock of a name. Their number is a power of two.
func (s stripes) of(seed maphash.Seed, name string) *atomic.Uint64 {
	return &s[maphash.String(seed, name)&uint64(len(s)-1)]
}
