package counter

import (
	"sync"
	"testing"
)

func TestSet(t *testing.T) {
	const callers, each = 64, 1000
	var (
		s   Set
		wg  sync.WaitGroup
		all = make(chan struct{})
	)
	for range callers {
		wg.Go(func() {
			<-all // each has a stack of its own until then
			for n := range each {
				s.Add(n % 2 * (Size - 1))
			}
		})
	}
	close(all)
	wg.Wait()
	for i := range Size {
		want := uint64(0)
		if i == 0 || i == Size-1 {
			want = callers * each / 2
		}
		if got := s.Load(i); got != want {
			t.Errorf("counter %d has %d, want %d", i, got, want)
		}
	}
	used := 0
	for p := range s.parts {
		if s.parts[p].of[0].Load() > 0 {
			used++
		}
	}
	if used < len(s.parts)/2 {
		t.Errorf("%d goroutines shared %d of %d parts", callers, used, len(s.parts))
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	var s Set
	if n := testing.AllocsPerRun(100, func() { s.Add(1) }); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var s Set
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Add(0)
		}
	})
}
