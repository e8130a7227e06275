package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// Reads prolong the lives of values of sliding kinds, and cost little: the time in a
// bubble is exact.

var (
	slides = Policy{TTL: time.Hour, Keep: time.Hour, CompressAbove: -1, Sliding: true, MaxLife: 4*time.Hour + time.Minute}
	stays  = Policy{TTL: time.Hour, Keep: time.Hour, CompressAbove: -1, Sliding: true, MaxLife: 4*time.Hour + time.Minute, LocalOnly: true}
)

// write stores a value by a process.
func (f *fleet) write(p process, policy Policy) {
	f.t.Helper()
	if _, err := p.Set(f.t.Context(), f.key, []byte("x"), policy, store.Condition{}); err != nil {
		f.t.Fatal(err)
	}
}

// has reports whether a process finds the value, by each way to read it.
func (f *fleet) has(p process, policy Policy) bool {
	f.t.Helper()
	v, err := p.Get(f.t.Context(), f.key, policy)
	if err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
	return v.Found
}

func TestReadsProlongLives(t *testing.T) {
	for name, policy := range map[string]Policy{"shared": slides, "local": stays} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 2, func(t *testing.T, f *fleet) {
				a, b := f.processes[0], f.processes[1]
				if policy.LocalOnly {
					b = a
				}
				began := time.Now()
				f.write(a, policy)
				for time.Since(began) < policy.MaxLife-time.Minute {
					time.Sleep(30 * time.Minute)
					if !f.has(b, policy) {
						t.Fatalf("gone after %v", time.Since(began))
					}
				}
				time.Sleep(50 * time.Second)
				if !f.has(b, policy) {
					t.Fatalf("gone after %v, a moment before the longest life", time.Since(began))
				}
				time.Sleep(20 * time.Second)
				if f.has(b, policy) {
					t.Errorf("there after %v; the longest life is %v", time.Since(began), policy.MaxLife)
				}

				f.write(a, policy)
				time.Sleep(59 * time.Minute)
				f.has(b, policy)
				time.Sleep(59 * time.Minute)
				f.has(b, policy)
				time.Sleep(time.Hour + time.Minute)
				if f.has(b, policy) {
					t.Error("there an hour after the last read")
				}
			})
		})
	}
	t.Run("fixed", func(t *testing.T) {
		inFleet(t, 1, func(t *testing.T, f *fleet) {
			p := f.processes[0]
			f.write(p, plain)
			time.Sleep(59 * time.Minute)
			f.has(p, plain)
			time.Sleep(2 * time.Minute)
			if f.has(p, plain) {
				t.Error("a read prolonged a life that does not slide")
			}
		})
	})
}

// GetMany and GetOrLoad are reads like Get.
func TestEachReadProlongs(t *testing.T) {
	for name, read := range map[string]func(p process, k keys.Key) error{
		"many": func(p process, k keys.Key) error {
			_, err := p.GetMany(context.Background(), []keys.Key{k}, []Policy{slides})
			return err
		},
		"or load": func(p process, k keys.Key) error {
			_, err := p.GetOrLoad(context.Background(), k, slides, func(context.Context) ([]byte, error) { panic("it is there") })
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 1, func(t *testing.T, f *fleet) {
				p := f.processes[0]
				f.write(p, slides)
				for range 3 {
					time.Sleep(50 * time.Minute)
					if err := read(p, f.key); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				time.Sleep(50 * time.Minute)
				if !f.has(p, slides) {
					t.Error("gone")
				}
			})
		})
	}
}

// A thousand reads a second by four processes prolong a life four times in an hour.
func TestRefreshesAreRare(t *testing.T) {
	inFleet(t, 4, func(t *testing.T, f *fleet) {
		const hours = 3
		f.write(f.processes[0], slides)
		for range hours * 3600 {
			time.Sleep(time.Second)
			for _, p := range f.processes {
				f.has(p, slides)
			}
		}
		total, dropped := uint64(0), uint64(0)
		for _, p := range f.processes {
			total, dropped = total+p.Refreshes().Done, dropped+p.Refreshes().Dropped
		}
		if total < hours || total > 4*hours || dropped > 0 {
			t.Errorf("%d refreshes in %d lives, %d dropped", total, hours, dropped)
		}
	})
}

// What the store does not take is dropped and counted, and nobody waits for it. The
// next read asks again.
func TestRefreshesAreDropped(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		p := f.processes[0]
		f.write(p, slides)
		time.Sleep(30 * time.Minute)
		p.line.deaf.Store(true)
		for i := range uint64(3) {
			if !f.has(p, slides) {
				t.Fatal("gone")
			}
			if got := p.Refreshes(); got.Done != 0 || got.Dropped != i+1 {
				t.Errorf("%+v after %d reads", got, i+1)
			}
		}
		p.line.deaf.Store(false)
		f.has(p, slides)
		if got := p.Refreshes(); got.Done != 1 || got.Dropped != 3 {
			t.Errorf("%+v once it is taken", got)
		}
		time.Sleep(59 * time.Minute)
		if !f.has(p, slides) {
			t.Error("gone")
		}
	})
}

// However many keys are read while the store is slow, what waits is bounded, and an
// engine that closes waits for one call at most.
func TestRefreshesAreBounded(t *testing.T) {
	inFleet(t, 1, func(t *testing.T, f *fleet) {
		const many = 2 * mostRefreshes
		p := f.processes[0]
		named := f.names(many)
		for _, k := range named {
			if _, err := p.Set(t.Context(), k, []byte("x"), slides, store.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Minute)
		p.line.slow.Store(true)
		var all sync.WaitGroup
		var calls atomic.Int64
		for range 2 { // the second round finds that they are on their way
			for _, k := range named {
				all.Go(func() {
					if _, err := p.Get(t.Context(), k, slides); err == nil {
						calls.Add(1)
					}
				})
			}
			all.Wait()
		}
		if n := calls.Load(); n != 2*many {
			t.Errorf("%d of %d reads were answered", n, 2*many)
		}
		p.refreshes.mu.Lock()
		waiting, running := len(p.refreshes.waiting), p.refreshes.running
		p.refreshes.mu.Unlock()
		if waiting > mostRefreshes || running > refreshers {
			t.Errorf("%d wait, %d are under way", waiting, running)
		}
		if p.Refreshes().Dropped == 0 {
			t.Error("none was dropped")
		}
		began := time.Now()
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*p.cfg.Timeout {
			t.Errorf("to close took %v", took)
		}
	})
}
