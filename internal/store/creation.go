package store

import (
	"time"

	"github.com/jackcache/jackcache/internal/clock"
)

// liveMillis is the lowest millisecond of a version that a clock gave; historic
// ones are below it.
const liveMillis = 1 << 40

// Creation returns the earlier of a conversation's creation and the time of a
// version: that of what is merged into it. A historic version, which tells when
// the data was written and not when it came here, changes nothing. The zero
// created is no creation.
func Creation(created time.Time, v clock.Version) time.Time {
	if ms := v.Millis(); ms >= liveMillis && !created.IsZero() && ms < created.UnixMilli() {
		return time.UnixMilli(ms)
	}
	return created
}
