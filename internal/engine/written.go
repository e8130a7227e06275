package engine

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/jackcache/jackcache/internal/keys"
)

// writes counts what this process has written, or may have, by key. Keys share
// counters: that costs a load which could have been shared, never a wrong answer.
type writes [1 << 10]atomic.Uint64

var writesSeed = maphash.MakeSeed()

func (w *writes) of(k keys.Key) *atomic.Uint64 {
	return &w[maphash.String(writesSeed, k.String())%uint64(len(w))]
}
