package engine

import (
	"slices"
	"sync"
	"sync/atomic"
)

// maxWaiting bounds how many wait to be woken; more are not, and find out by
// asking.
const maxWaiting = 10_000

// waker wakes those who wait for a key to change. The zero waker has nobody who
// waits. Safe for concurrent use.
type waker struct {
	waiting atomic.Int64 // how many are in byName; written with mu held

	mu     sync.Mutex
	byName map[string][]chan struct{} // guarded by mu
}

// wait returns a channel on which something is sent when a key has changed
// since; many changes may be one. Who waits asks afterwards what there is
// now, and calls cancel in the end. It is a hint: who waits asks now and then
// anyway.
func (w *waker) wait(name string) (woken <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting.Load() >= maxWaiting {
		return ch, func() {}
	}
	if w.byName == nil {
		w.byName = make(map[string][]chan struct{})
	}
	w.byName[name] = append(w.byName[name], ch)
	w.waiting.Add(1)
	return ch, sync.OnceFunc(func() { w.leave(ch, name) })
}

func (w *waker) leave(ch chan struct{}, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := slices.DeleteFunc(w.byName[name], func(c chan struct{}) bool { return c == ch })
	if w.byName[name] = left; len(left) == 0 {
		delete(w.byName, name)
	}
	w.waiting.Add(-1)
}

// Changed wakes those who wait for one of the keys. It never blocks, keeps
// nothing of names, and costs next to nothing where nobody waits.
func (w *waker) Changed(names []string) {
	if w.waiting.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		for _, ch := range w.byName[name] {
			select {
			case ch <- struct{}{}:
			default: // it has not looked yet
			}
		}
	}
}
