package replay

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// drive sends operations of size n by many workers for so long, and returns how many
// were done a second in the last half of it. Each takes as long as it is told.
func drive(t *testing.T, p *pace, n int, long time.Duration, takes func(n int) time.Duration) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	half := time.Now().Add(long / 2)
	var done atomic.Int64
	var all sync.WaitGroup
	for range turns * workers {
		all.Go(func() {
			for ctx.Err() == nil {
				err := p.operations(ctx, n, func() error {
					time.Sleep(takes(n))
					if time.Now().After(half) {
						done.Add(int64(n))
					}
					return nil
				})
				if err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
					// rate says so of a wait that would be too long.
					if deadline, _ := ctx.Deadline(); time.Until(deadline) > time.Second {
						t.Errorf("operations: %v", err)
					}
					return
				}
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / (long / 2).Seconds()
}

func always(d time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return d }
}

func between(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %.0f operations/s, want %.0f to %.0f", what, got, low, high)
	}
}

// A replay is as fast as it may be where everybody is quick, slower where calls take
// long, and comes to an end however long they take.
func TestPace(t *testing.T) {
	for name, c := range map[string]struct {
		most, n   int
		takes     time.Duration
		low, high float64
	}{
		"quick, bounded":          {most: 10_000, n: 8, takes: time.Millisecond, low: 9_500, high: 10_100},
		"quick, bounded, in runs": {most: 10_000, n: runMessages, takes: time.Millisecond, low: 9_500, high: 10_100},
		"quick, low bound":        {most: 100, n: 1, takes: time.Millisecond, low: 90, high: 105},
		"quick, hardly bounded":   {most: 1_000_000, n: runMessages, takes: time.Millisecond, low: 45_000, high: 64_100},
		"slow":                    {most: 1_000_000, n: 4, takes: late + time.Millisecond, low: slowest * 0.95, high: slowest * 1.05},
		"very slow":               {most: 1_000_000, n: 4, takes: 50 * time.Millisecond, low: slowest * 0.95, high: slowest * 1.05},
		"slow, low bound":         {most: 100, n: 1, takes: late + time.Millisecond, low: 90, high: 105},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				between(t, name, drive(t, newPace(c.most), c.n, 20*time.Second, always(c.takes)), c.low, c.high)
			})
		})
	}
}

// Where calls take long from some rate on, it stays about there, and grows again when
// they do not any more.
func TestPaceAdapts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bearable = 8_000
		p := newPace(30_000)
		loaded := func(int) time.Duration {
			if p.adapted.Limit() > bearable {
				return 4 * late
			}
			return time.Millisecond
		}
		between(t, "under load", drive(t, p, 8, 10*time.Second, loaded), bearable/2, bearable*1.05)
		between(t, "afterwards", drive(t, p, 8, 14*time.Second, always(time.Millisecond)), 28_000, 30_100)
	})
}

// It is not faster than it was shown to be bearable: a rate that is not used up does
// not grow.
func TestPaceUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(30_000)
		for range 1000 {
			if err := p.operations(t.Context(), 1, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := p.adapted.Limit(); got != slowest {
			t.Errorf("the rate is %v after 100 operations a second, want %v", got, slowest)
		}
	})
}

// A journal that is slow slows it down, and what is few is heard beside what is many.
func TestPaceJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(30_000)
		between(t, "before", drive(t, p, 8, 14*time.Second, always(time.Millisecond)), 28_000, 30_100)
		ctx, cancel := context.WithCancel(t.Context())
		var journal sync.WaitGroup
		journal.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(2 * late)
				p.recorded(2 * late)
			}
		})
		between(t, "a slow journal", drive(t, p, 8, 14*time.Second, always(time.Millisecond)), slowest*0.95, slowest*1.05)
		cancel()
		journal.Wait()
	})
}

// What is refused at once says nothing about how much can be taken: who is back is not
// met with all at once.
func TestPaceRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(10_000)
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
			if err := p.operations(t.Context(), 1, func() error { return io.ErrUnexpectedEOF }); err == nil {
				t.Fatal("no error")
			}
		}
		if got := p.adapted.Limit(); got > slowest {
			t.Errorf("after refusals alone: %.0f operations/s", got)
		}
	})
}

// The store has no more before it than it may, whatever the size.
func TestPaceUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{1, runMessages, 10 * underWay} {
			var now, most atomic.Int64
			var all sync.WaitGroup
			p := newPace(1_000_000)
			for range 4 * underWay {
				all.Go(func() {
					_ = p.operations(t.Context(), n, func() error { // it returns what f does
						for is := now.Add(1); ; {
							if was := most.Load(); is <= was || most.CompareAndSwap(was, is) {
								break
							}
						}
						time.Sleep(p.counts - time.Millisecond)
						now.Add(-1)
						return nil
					})
				})
			}
			all.Wait()
			if got, want := most.Load(), int64(max(1, underWay/n)); got != want {
				t.Errorf("%d of size %d were under way, want %d", got, n, want)
			}
		}
	})
}

// What hangs keeps others waiting for a moment, and gives back no more than it took.
func TestPaceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(1_000_000)
		start := time.Now()
		var all sync.WaitGroup
		for range underWay {
			all.Go(func() {
				_ = p.operations(t.Context(), 1, func() error { time.Sleep(callTime); return nil }) // it returns what f does
			})
		}
		synctest.Wait()
		if err := p.operations(t.Context(), 1, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < p.counts || took > 2*p.counts {
			t.Errorf("another one waited %s, want %s", took, p.counts)
		}
		all.Wait()
		if !p.room.TryAcquire(underWay) || p.room.TryAcquire(1) {
			t.Error("there is another room than in the beginning")
		}
	})
}

// Who ends while it waits leaves everything as it was.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(100)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 10 * underWay {
			all.Go(func() {
				for p.operations(ctx, 1, func() error { return nil }) == nil {
				}
			})
		}
		time.Sleep(time.Second)
		cancel()
		all.Wait()
		if !p.room.TryAcquire(underWay) {
			t.Error("room was not given back")
		}
	})
}

// Generations go first: they do not wait for a rate that was slowed down.
func TestPaceQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(10_000)
		start := time.Now()
		for range 10_000 {
			if err := p.question(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 900*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("10,000 at 10,000/s took %s", took)
		}
	})
}

// One at a time reads many records.
func TestPacePieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(10_000)
		var now, most int
		var mu sync.Mutex
		var all sync.WaitGroup
		failed := errors.New("failed")
		for range 8 {
			all.Go(func() {
				err := p.piece(func() error {
					mu.Lock()
					now++
					most = max(most, now)
					mu.Unlock()
					for range 100 {
						runtime.Gosched()
					}
					mu.Lock()
					defer mu.Unlock()
					now--
					return failed
				})
				if !errors.Is(err, failed) {
					t.Errorf("piece returned %v", err)
				}
			})
		}
		all.Wait()
		if most != 1 {
			t.Errorf("%d had a piece at a time, want 1", most)
		}
	})
}
