package replay

import (
	"testing"
	"time"
)

// A replay gives way while the server is slow, never stops, and comes back to its
// rate; a server that is far away is not a slow one.
func TestPace(t *testing.T) {
	const most = 10_000
	p, now := newPace(most), time.Unix(1, 0)
	spend := func(d, took time.Duration) float64 {
		for end := now.Add(d); now.Before(end); now = now.Add(time.Millisecond) {
			p.took(took, now)
		}
		return float64(p.limit.Limit())
	}
	if got := spend(time.Second, 20*time.Millisecond); got != most {
		t.Errorf("far away: %v", got)
	}
	if got := spend(time.Second, time.Millisecond); got != most {
		t.Errorf("near: %v", got)
	}
	if got := spend(300*time.Millisecond, 10*time.Millisecond); got > most/5 {
		t.Errorf("slow for 0.3 s: %v", got)
	}
	if got := spend(5*time.Second, 2*time.Second); got < leastShare*most || got > 2*leastShare*most {
		t.Errorf("hanging: %v", got)
	}
	if got := spend(3*time.Second, time.Millisecond); got != most {
		t.Errorf("quick again: %v", got)
	}
	if got := spend(time.Hour, 20*time.Millisecond); got != most {
		t.Errorf("farther away for an hour: %v", got)
	}
}
