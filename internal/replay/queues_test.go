package replay

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
)

// The organisations with much to do have their turn equally often, though one with
// little is taken in between again and again, and comes to nothing: its shard is dead.
func TestTurnsAreEqual(t *testing.T) {
	t.Parallel()
	const many, rounds = 20, 100
	q := newQueues()
	org := func(n int) keys.Org {
		o, err := keys.ParseOrg(fmt.Sprint("org-", n))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	var last journal.Position
	add := func(o, n int) {
		news := make([]journal.Outstanding, n)
		for i := range news {
			last++
			news[i] = journal.Outstanding{Position: last, Kind: journal.Pending, Org: org(o)}
		}
		q.add(news)
	}
	for o := range many {
		if o == many/2 {
			add(many, 1)
		}
		add(o, few+2*rounds)
	}
	now := time.Now()
	times := make(map[string]int)
	for range rounds {
		for range many {
			now = now.Add(100 * time.Millisecond)
			if l, ps := q.next(1, few, now); l != nil {
				q.put(l, ps, false, now)
			}
			l, ps := q.next(1, math.MaxInt, now)
			if l == nil {
				t.Fatal("nobody has anything to do")
			}
			times[l.org.String()]++
			if l.org == org(many) {
				q.put(l, ps, false, now)
			} else {
				q.put(l, nil, false, now)
			}
		}
	}
	least, most := math.MaxInt, 0
	for o := range many {
		n := times[org(o).String()]
		least, most = min(least, n), max(most, n)
	}
	if most-least > 1 {
		t.Errorf("some had %d turns, others %d: %v", least, most, times)
	}
}
