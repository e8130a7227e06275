package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/store"
)

// TestTripsBeforeAnEnd: a read that begins when an invalidation has been accepted is given
// nothing of a trip from before it, though the store has not got it and the lease of the
// trip holds.
func TestTripsBeforeAnEnd(t *testing.T) {
	for _, conversation := range []bool{false, true} {
		t.Run(fmt.Sprintf("conversation=%t", conversation), func(t *testing.T) {
			f, s := journaled(t)
			tier, err := near.New(near.Options{MaxBytes: 8 << 20, Share: 1, Bound: time.Hour, Space: f.space})
			if err != nil {
				t.Fatal(err)
			}
			p := &proven{faulty: s}
			p.cover.Prove(p.cover.Epoch(), store.Now())
			f.copies, f.cfg.NearLogs = copies{tier: tier, tracked: p}, time.Hour
			k, person, policy := f.key("org-1", "agent-1"), f.phone("org-1", "+16049085474"), shared
			policy.Near = time.Hour
			if _, err := f.Set(t.Context(), k, []byte("old"), policy, store.Condition{}); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Append(t.Context(), person, []Message{{ID: "old", Payload: []byte("{}")}}, limits); err != nil {
				t.Fatal(err)
			}
			read := func(ctx context.Context) string {
				if conversation {
					log, _ := f.Messages(ctx, person, 0)
					return fmt.Sprint(len(log.Messages))
				}
				v, _ := f.Get(ctx, k, policy)
				return string(v.Payload)
			}
			after := make(chan string, 1)
			s.answered = func() { // the trip has its answer, and is under way still
				s.away, s.endless = true, true
				if pending, err := f.Invalidate(t.Context(), k.Org()); err != nil || !pending {
					t.Errorf("invalidate: pending %v, %v", pending, err)
				}
				go func() { after <- read(context.Background()) }()
				select {
				case got := <-after:
					after <- got
				case <-time.After(250 * time.Millisecond):
				}
			}
			if got := read(t.Context()); got != "old" && got != "1" {
				t.Fatalf("the trip brought %q", got)
			}
			if got := <-after; got == "old" || got == "1" {
				t.Errorf("who began after the invalidation got %q", got)
			}
		})
	}
}
