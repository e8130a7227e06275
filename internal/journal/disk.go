package journal

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// roomEvery is how often the room that is left on the disk is looked at.
const roomEvery = 250 * time.Millisecond

// disk is what is known of the disk. Safe for concurrent use.
type disk struct {
	logger *slog.Logger

	mu      sync.Mutex
	problem string    // guarded by mu; empty: it can be written
	low     error     // guarded by mu: the room that is left is below the bound
	looked  time.Time // guarded by mu: when the room was looked at
}

// report notes why something could not be written. It logs a reason once.
func (d *disk) report(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.problem == "" {
		d.logger.Error("the journal cannot be written", "error", err)
	}
	d.problem = err.Error()
}

// works notes that something was written.
func (d *disk) works() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.problem != "" && d.low == nil {
		d.logger.Info("the journal can be written again", "problem", d.problem)
		d.problem = ""
	}
}

func (d *disk) say() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.problem
}

// checkRoom returns an error if the disk has less room left than the bound.
func (j *Journal) checkRoom() error {
	d := &j.disk
	if j.o.LowWater < 0 {
		return nil
	}
	d.mu.Lock()
	low, fresh := d.low, time.Since(d.looked) < roomEvery
	d.mu.Unlock()
	if fresh {
		return low
	}
	free, err := j.fs.free()
	low = nil
	if err == nil && free < j.o.LowWater {
		low = fmt.Errorf("the disk has %d bytes left; the journal needs %d to be left", free, j.o.LowWater)
	}
	d.mu.Lock()
	d.looked = time.Now()
	was := d.low
	d.low = low
	d.mu.Unlock()
	switch {
	case low != nil:
		d.report(low)
	case was != nil:
		d.works()
	}
	return low
}

// recheck looks at the room again where it was short, so that the problem ends
// without anybody appending.
func (d *disk) recheck(j *Journal) {
	d.mu.Lock()
	low := d.low != nil
	d.mu.Unlock()
	if low {
		_ = j.checkRoom() // it notes what it finds
	}
}
