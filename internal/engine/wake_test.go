package engine

import (
	"fmt"
	"sync"
	"testing"
)

func isWoken(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestWaker(t *testing.T) {
	var w waker
	w.Changed([]string{"a"}) // nobody waits
	one, endOne := w.wait("a")
	two, endTwo := w.wait("a")
	other, endOther := w.wait("b")
	if isWoken(one) {
		t.Error("woken by what came before")
	}
	w.Changed([]string{"c", "a", "a"})
	w.Changed([]string{"a"}) // does not wait for who has not looked
	if !isWoken(one) || !isWoken(two) || isWoken(other) {
		t.Error("not those who wait for the key are woken")
	}
	if isWoken(one) {
		t.Error("many changes are more than one")
	}
	w.Changed([]string{"a"})
	if !isWoken(one) {
		t.Error("woken once only")
	}
	endOne()
	endOne()
	w.Changed([]string{"a", "b"})
	if isWoken(one) || !isWoken(two) || !isWoken(other) {
		t.Error("who has left is woken, or who has not is not")
	}
	endTwo()
	endOther()
	if n := w.waiting.Load(); n != 0 || len(w.byName) != 0 {
		t.Errorf("%d wait, %d names are left", n, len(w.byName))
	}
}

func TestWakerIsBounded(t *testing.T) {
	var w waker
	var ends []func()
	for i := range maxWaiting {
		_, end := w.wait(fmt.Sprint(i))
		ends = append(ends, end)
	}
	ch, end := w.wait("one more")
	w.Changed([]string{"one more"})
	if isWoken(ch) || len(w.byName) != maxWaiting {
		t.Errorf("woken beyond the bound; %d names", len(w.byName))
	}
	end()
	for _, end := range ends {
		end()
	}
	if n := w.waiting.Load(); n != 0 || len(w.byName) != 0 {
		t.Errorf("%d wait, %d names are left", n, len(w.byName))
	}
}

func TestWakerConcurrently(t *testing.T) {
	var w waker
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				ch, end := w.wait("a")
				w.Changed([]string{"a"})
				<-ch
				end()
			}
		})
	}
	wg.Wait()
	if n := w.waiting.Load(); n != 0 || len(w.byName) != 0 {
		t.Errorf("%d wait, %d names are left", n, len(w.byName))
	}
}

func BenchmarkChangedForNobody(b *testing.B) {
	var w waker
	names := []string{"a", "b"}
	for b.Loop() {
		w.Changed(names)
	}
}
