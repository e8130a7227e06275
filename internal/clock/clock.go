package clock

import (
	"sync"
	"time"
)

// Clock is a hybrid logical clock. Its readings never go back and never
// repeat, they follow the time of the shared store, and they are higher than
// every version that was observed. Safe for concurrent use.
type Clock struct {
	wall    func() time.Time
	ceiling *Ceiling // nil: nothing is kept across restarts

	mu     sync.Mutex
	node   uint16
	last   uint64        // guarded by mu: tick of the highest reading or observation
	offset time.Duration // guarded by mu: what to add to wall for the store's time
}

// New returns a clock that reads wall (nil means time.Now), carries the given
// instance number and starts above what ceiling has kept (nil: keep nothing).
func New(wall func() time.Time, node uint16, ceiling *Ceiling) *Clock {
	if wall == nil {
		wall = time.Now
	}
	c := &Clock{wall: wall, node: node, ceiling: ceiling}
	if ceiling == nil {
		return c
	}
	start := ceiling.Millis()
	if start > wall().UnixMilli() {
		// The host's clock went back while the process was down: readings that
		// were given after the file was written lie above what it holds.
		start += CeilingReserve.Milliseconds()
	}
	c.last = uint64(start)<<16 | 0xffff
	return c
}

// Now returns a version higher than all that this clock gave or observed.
func (c *Clock) Now() Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	physical := uint64(c.wall().Add(c.offset).UnixMilli()) << 16
	c.last = max(physical, c.last+1)
	return Version{tick: c.last, node: c.node}
}

// Persist keeps on disk the time of day that was reached. Call it well within
// CeilingReserve, away from callers who wait: it syncs a file.
//
// Versions of others that are ahead of the time of day are not kept: they would
// add up over restarts. Who stamps below one of them is told so by the store.
func (c *Clock) Persist() error {
	if c.ceiling == nil {
		return nil
	}
	return c.ceiling.Raise(c.wall().Add(c.Offset()).UnixMilli())
}

// Observe makes later readings higher than v. A version more than MaxAhead
// ahead of this clock is ignored, so that one wrong clock does not carry all
// others away: who has to exceed such a version does so for that key alone.
func (c *Clock) Observe(v Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bound := uint64(c.wall().Add(c.offset+MaxAhead).UnixMilli()) << 16
	if v.tick > c.last && v.tick <= bound {
		c.last = v.tick
	}
}

// Follow sets the physical time to that of the shared store, measured now. If
// readings had run more than MaxAhead ahead of it they come back to it: the
// store refuses such versions, so none of them was stored.
func (c *Clock) Follow(storeTime time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = storeTime.Sub(c.wall())
	if bound := uint64(storeTime.Add(MaxAhead).UnixMilli()) << 16; c.last > bound {
		c.last = uint64(storeTime.UnixMilli()) << 16
	}
}

// Time returns the shared store's time as far as it is known here.
func (c *Clock) Time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall().Add(c.offset)
}

// Steady returns the time that readings have reached, or the time of day where
// that is later: a time that does not go back when the host's clock does.
func (c *Clock) Steady() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.wall().Add(c.offset)
	if reached := time.UnixMilli(int64(c.last >> 16)); reached.After(now) {
		return reached
	}
	return now
}

// Offset returns by how much the shared store's time is ahead of this host's.
func (c *Clock) Offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// Node returns the instance number that readings carry.
func (c *Clock) Node() uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

// SetNode changes the instance number that later readings carry.
func (c *Clock) SetNode(node uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = node
}
