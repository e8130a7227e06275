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
	if ceiling != nil {
		c.last = uint64(ceiling.Millis()) << 16
	}
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

// Persist keeps on disk a time that readings will not exceed before
// CeilingReserve has passed. Call it well within that time, away from callers
// who wait: it syncs a file.
func (c *Clock) Persist() error {
	if c.ceiling == nil {
		return nil
	}
	c.mu.Lock()
	highest := max(c.last>>16, uint64(c.wall().Add(c.offset).UnixMilli()))
	c.mu.Unlock()
	return c.ceiling.Raise(int64(highest) + CeilingReserve.Milliseconds())
}

// Observe makes later readings higher than v. A version more than MaxAhead
// ahead of this clock is ignored: no store accepts one, so it is not real.
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
