package near

import (
	"sync/atomic"
	"time"
)

// Handle remembers where the copy of a key is, so that who reads the key again need not
// look for it. It is for one key of one Tier, and keeps no copy alive. The zero Handle
// remembers nothing yet; it must not be copied. Safe for concurrent use.
type Handle struct{ last atomic.Pointer[place] }

// place is where an entry is as long as it is in the tier: it is emptied before the
// entry leaves, for whatever reason.
type place struct{ entry atomic.Pointer[entry] }

// entry returns what is at the place that is remembered, nil for nothing.
func (h *Handle) entry() *entry {
	if h == nil {
		return nil
	}
	p := h.last.Load()
	if p == nil {
		return nil
	}
	return p.entry.Load()
}

func (h *Handle) remember(e *entry) {
	if h != nil {
		h.last.Store(e.place)
	}
}

// countEvery is how often otter hears at most of reads that did not look for the entry: it
// counts them to decide what stays, and up to 15 only.
const countEvery = int64(time.Millisecond)

// uncounted reports whether otter should hear of a read of the entry, once for all
// who ask at the same time.
func (e *entry) uncounted(now int64) bool {
	last := e.counted.Load()
	return now-last >= countEvery && e.counted.CompareAndSwap(last, now)
}
