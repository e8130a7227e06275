package journal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestSlowDisk: a sync that hangs holds nobody beyond his context, and nobody
// who does not ask for it; what was appended is outstanding.
func TestSlowDisk(t *testing.T) {
	j, disk := openFaulty(t)
	hang := make(chan struct{})
	disk.set(func() { disk.hang = hang })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	r := setRecord(Pending, testKey(t, "leads", "org", "1"), 1)
	if err := j.Append(ctx, true, r); !errors.Is(err, ErrSlow) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("durable append to a hanging disk: %v", err)
	}
	if got := j.Outstanding(0, 9); len(got) != 1 || got[0].Position != r.Position {
		t.Errorf("outstanding %+v", got)
	}
	if err := j.Append(context.Background(), false, setRecord(Applied, testKey(t, "leads", "org", "2"), 2)); err != nil {
		t.Errorf("append without sync: %v", err)
	}
	if st := j.Stats(); st.Records != 2 {
		t.Errorf("stats %+v", st)
	}
	// What waits for the disk is bounded.
	big := setRecord(Applied, testKey(t, "leads", "org", "3"), 3)
	big.Op.Payload = make([]byte, 8<<20)
	var err error
	for range maxBacklog / len(big.Op.Payload) {
		err = j.Append(ctx, false, big)
	}
	if !errors.Is(err, ErrSlow) {
		t.Errorf("too much waits for the disk: %v", err)
	}
	if err := j.Close(ctx); !errors.Is(err, ErrSlow) {
		t.Errorf("close: %v", err)
	}
	close(hang)
	closeTest(t, j)
	if err := j.Append(context.Background(), true, r); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	if _, err := j.Known(testKey(t, "leads", "org", "2")); err == nil {
		t.Error("known after close")
	}
}

// TestSharedSyncs: callers at once share syncs.
func TestSharedSyncs(t *testing.T) {
	j, disk := openFaulty(t)
	hang := make(chan struct{})
	disk.set(func() { disk.hang, disk.syncs = hang, 0 })
	const callers = 64
	errs := make(chan error, callers)
	for i := range callers {
		go func() {
			errs <- j.Append(context.Background(), true, setRecord(Applied, testKey(t, "leads", "org", fmt.Sprint(i)), i))
		}()
	}
	waitFor(t, func() bool { return j.Stats().Records == callers })
	disk.set(func() { disk.hang = nil })
	close(hang)
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	disk.set(func() {
		if disk.syncs > 3 {
			t.Errorf("%d syncs for %d appends at once", disk.syncs, callers)
		}
	})
	closeTest(t, j)
}
