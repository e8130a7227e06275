package store

import (
	"sync/atomic"
	"testing"
	"time"
)

// Nothing is proven for what began when something broke, however little later: the
// end of what was proven is seen whole.
func TestBreakIsSeenWhole(t *testing.T) {
	t.Parallel()
	var c Cover
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300_000 { // even epochs are proven, odd ones never
			c.Prove(c.Epoch(), Now())
			c.Break()
			c.Break()
		}
		over.Store(true)
	}()
	proven := 0
	for !over.Load() {
		e := c.Epoch()
		fresh := c.Fresh(e, Now(), time.Hour)
		if fresh && e%2 == 1 {
			t.Errorf("epoch %d is proven", e)
			break
		}
		if fresh {
			proven++
		}
	}
	<-done
	t.Logf("%d times something was proven", proven)
}

// A proof that comes late is none for what broke meanwhile, and takes none away.
func TestLateProof(t *testing.T) {
	t.Parallel()
	var c Cover
	first, sent := c.Epoch(), Now()
	c.Break()
	c.Prove(first, sent)
	if _, ok := c.Age(Now()); ok || c.Fresh(first, Now(), time.Hour) || c.Fresh(c.Epoch(), Now(), time.Hour) {
		t.Error("something is proven")
	}
	c.Prove(c.Epoch(), sent)
	c.Prove(first, Now())
	age, ok := c.Age(Now())
	if !ok || !c.Fresh(c.Epoch(), Now(), time.Hour) {
		t.Error("what was proven is not")
	}
	if late := time.Duration(Now() - sent); age < 0 || age > late+1<<epochBits {
		t.Errorf("%v old, sent %v ago", age, late)
	}
	c.Prove(c.Epoch(), sent-int64(time.Minute))
	if again, _ := c.Age(Now()); again > time.Minute {
		t.Errorf("an older proof counts: %v", again)
	}
}
