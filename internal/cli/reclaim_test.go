package cli

import (
	"bytes"
	"testing"
)

// TestReclaimIsShown: what is given back is shown, and nothing where that is off.
func TestReclaimIsShown(t *testing.T) {
	for _, shown := range []struct {
		r    reclaimStats
		want string
	}{
		{reclaimStats{}, ""},
		{reclaimStats{Enabled: true, Queued: 2}, `reclaim 0 keys of invalidated organisations removed, of 0 looked at in 0 scans
  waiting    2 organisations
`},
		{reclaimStats{Enabled: true, Removed: 12345, Looked: 99000, Scans: 3, Dropped: 1}, `reclaim 12,345 keys of invalidated organisations removed, of 99,000 looked at in 3 scans
  waiting    0 organisations
  dropped    1 organisations, for which the queue had no place: what they took goes as lives end
`},
	} {
		var out bytes.Buffer
		showReclaim(&out, shown.r)
		if out.String() != shown.want {
			t.Errorf("shown is\n%s\nwant\n%s", out.String(), shown.want)
		}
	}
}
