package cli

import (
	"time"

	"github.com/jackcache/jackcache/internal/sabotage"
)

// wallClock is nil, which is the clock of the host; in builds that can be sabotaged
// it may be off by a fixed time.
func wallClock() func() time.Time {
	offset, err := time.ParseDuration(sabotage.Value("clock"))
	if err != nil {
		return nil
	}
	return func() time.Time { return time.Now().Add(offset) }
}
