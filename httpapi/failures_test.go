package httpapi

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
)

// TestFailuresInTheLog: while the store is away, one line in ten seconds for each
// problem, which counts the others; what is wrong with one request always has its
// line.
func TestFailuresInTheLog(t *testing.T) {
	var f failures
	begin := time.Now()
	away := fmt.Errorf("append: %w", jackcache.ErrJournalFull)
	for i, told := range []struct {
		after time.Duration
		err   error
		more  int
		tell  bool
	}{
		{0, away, 0, true}, {time.Millisecond, away, 0, false}, {9 * time.Second, away, 0, false},
		{9 * time.Second, jackcache.ErrUnknown, 0, true}, {10 * time.Second, away, 2, true}, {11 * time.Second, jackcache.ErrFull, 0, true},
		{11 * time.Second, jackcache.ErrFull, 0, false}, {time.Hour, away, 0, true}, {time.Hour, jackcache.ErrFull, 1, true},
		{time.Hour, jackcache.ErrCorrupt, 0, true}, {time.Hour, jackcache.ErrCorrupt, 0, true}, {time.Hour, errPanic, 0, true}, {time.Hour, errPanic, 0, true},
	} {
		if more, tell := f.tell(judge(told.err), begin.Add(told.after)); more != told.more || tell != told.tell {
			t.Errorf("%d: %v after %s: %d before, told %v; want %d, %v", i, told.err, told.after, more, tell, told.more, told.tell)
		}
	}
}
