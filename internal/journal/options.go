package journal

import (
	"errors"
	"fmt"
)

const (
	defaultSegmentBytes = 64 << 20
	maxSegmentBytes     = 1 << 30
	defaultLowWater     = 64 << 20
	defaultIndexKeys    = 1_000_000
)

// withDefaults fills in what is zero and refuses what cannot be.
func (o Options) withDefaults() (Options, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf("journal: "+format, args...)) }
	if o.Dir == "" && !o.Memory {
		bad("Dir is empty; set it, or Memory")
	}
	if o.Space.Prefix() == "" || len(o.Space.Prefix()) > maxSpace {
		bad("Space has the prefix %q; it needs one of 1 to %d bytes", o.Space.Prefix(), maxSpace)
	}
	if o.MaxBytes <= 0 {
		bad("MaxBytes is %d; it has to be positive", o.MaxBytes)
	}
	if o.Window <= 0 {
		bad("Window is %s; it has to be positive", o.Window)
	}
	if o.SegmentBytes < 0 || o.IndexKeys < 0 {
		bad("SegmentBytes is %d and IndexKeys %d; they cannot be negative", o.SegmentBytes, o.IndexKeys)
	}
	if o.Now == nil || o.Logger == nil {
		bad("Now and Logger are required")
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = min(o.SegmentBytes, maxSegmentBytes, max(o.MaxBytes/8, 1))
	if o.LowWater == 0 {
		o.LowWater = defaultLowWater
	}
	if o.IndexKeys == 0 {
		o.IndexKeys = defaultIndexKeys
	}
	return o, errors.Join(problems...)
}
