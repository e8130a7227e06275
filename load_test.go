package jackcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// loaders are instances over one deployment, with callers who miss the same.
type loaders struct {
	*testing.T
	all   []*assistant.Assistant
	loads atomic.Int32
}

func newLoaders(t *testing.T, redis jackcache.RedisOptions, n int) *loaders {
	t.Helper()
	l := &loaders{T: t}
	for range n {
		a := instanceOf(t, redis, copies, patient, func(o *jackcache.Options) { o.Kinds = []jackcache.AnyKind{cars} })
		l.all = append(l.all, a)
		back(t, a)
	}
	return l
}

func (l *loaders) org(i int) jackcache.Org { return l.all[i].Cache.Org("org-1") }

// begin starts callers of an instance, and returns what waits for them.
func (l *loaders) begin(i, callers int, id, want string, load func(context.Context) (car, error)) (wait func()) {
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			got, err := cars.GetOrLoad(l.Context(), l.org(i), id, func(ctx context.Context) (car, error) {
				l.loads.Add(1)
				return load(ctx)
			})
			if err != nil || got.Make != want {
				l.Errorf("a caller of instance %d gets %+v, %v; want %q", i, got, err, want)
			}
		})
	}
	return wg.Wait
}

// loading returns a loader that says when it is called, and waits.
func loading(value string) (load func(context.Context) (car, error), called <-chan struct{}, finish func()) {
	began, release := make(chan struct{}), make(chan struct{})
	return func(ctx context.Context) (car, error) {
		close(began)
		select {
		case <-release:
			return car{Make: value}, nil
		case <-ctx.Done():
			return car{}, ctx.Err()
		}
	}, began, func() { close(release) }
}

// loads returns a loader that gives a value.
func loads(value string) func(context.Context) (car, error) {
	return func(context.Context) (car, error) { return car{Make: value}, nil }
}

// asked waits until so many callers of an instance have asked Redis for a value:
// they know that it is missing.
func (l *loaders) asked(i, callers int) {
	l.Helper()
	eventually(l, 10*time.Second, "the callers ask", func() bool {
		return l.all[i].Cache.Stats().Operations["get"].Count >= uint64(callers)
	})
}

func (l *loaders) loaded(want int32) {
	l.Helper()
	if n := l.loads.Load(); n != want {
		l.Errorf("%d loads, want %d", n, want)
	}
}

// P5: callers of several instances who miss the same key cause one load, however
// Redis is run.
func TestOneLoadAcrossInstances(t *testing.T) {
	one := func(t *testing.T, l *loaders) {
		load, called, finish := loading("x")
		waits := []func(){l.begin(0, 100, "1", "x", load)}
		<-called
		for i := range l.all[1:] {
			waits = append(waits, l.begin(i+1, 100, "1", "x", loads("another")))
		}
		for i := range l.all {
			l.asked(i, 100)
		}
		finish()
		for _, wait := range waits {
			wait()
		}
		l.loaded(1)
	}
	server := redistest.Start(t)
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			do(t, server, "FLUSHALL")
			one(t, newLoaders(t, jackcache.RedisOptions{Addrs: []string{server.Addr()}}, n))
		})
	}
	t.Run("cluster", func(t *testing.T) {
		one(t, newLoaders(t, clusterOptions(redistest.StartCluster(t, redistest.ClusterOptions{})), 2))
	})
}

// A caller who gives up leaves those of the other instances their load.
func TestLoadOutlivesItsCaller(t *testing.T) {
	l := newLoaders(t, jackcache.RedisOptions{Addrs: []string{redistest.Start(t).Addr()}}, 2)
	ctx, cancel := context.WithCancel(t.Context())
	load, called, finish := loading("x")
	gaveUp := make(chan error, 1)
	go func() {
		_, err := cars.GetOrLoad(ctx, l.org(0), "1", load)
		gaveUp <- err
	}()
	<-called
	wait := l.begin(1, 10, "1", "x", loads("another"))
	l.asked(1, 10)
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	finish()
	wait()
	l.loaded(0)
}

// A loader that fails is called by each instance that has callers, and the first
// one that succeeds serves the others.
func TestLoaderFailsInAnInstance(t *testing.T) {
	l := newLoaders(t, jackcache.RedisOptions{Addrs: []string{redistest.Start(t).Addr()}}, 3)
	mine := errors.New("my database")
	began, release := make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		_, err := cars.GetOrLoad(t.Context(), l.org(0), "1", func(context.Context) (car, error) {
			close(began)
			<-release
			return car{}, mine
		})
		failed <- err
	}()
	<-began
	one, two := l.begin(1, 10, "1", "x", loads("x")), l.begin(2, 10, "1", "x", loads("x"))
	l.asked(1, 10)
	l.asked(2, 10)
	close(release)
	if err := <-failed; err != mine {
		t.Errorf("got %v, want the loader's error", err)
	}
	one()
	two()
	l.loaded(1)
}

// A load of another instance that began before a write, a deletion or an
// invalidation is not waited for by those who ask after it, and does not bring the
// old value back.
func TestLaterCallersOfOtherInstances(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(l *loaders, id string) error
		want      string
		loads     int32
	}{
		"set": {func(l *loaders, id string) error {
			return second(cars.Set(l.Context(), l.org(1), id, car{Make: "set"}))
		}, "set", 1},
		"delete":     {func(l *loaders, id string) error { return cars.Delete(l.Context(), l.org(1), id) }, "new", 2},
		"invalidate": {func(l *loaders, _ string) error { return l.org(1).Invalidate(l.Context()) }, "new", 2},
	} {
		t.Run(name, func(t *testing.T) {
			// Of its own: no instance has to learn a generation before it writes.
			server := redistest.Start(t)
			l := newLoaders(t, jackcache.RedisOptions{Addrs: []string{server.Addr()}}, 3)
			load, called, finish := loading("old")
			old := l.begin(0, 10, name, "old", load)
			<-called
			waits := l.begin(2, 10, name, c.want, loads("new"))
			l.asked(2, 10)
			if err := c.meanwhile(l, name); err != nil {
				t.Fatal(err)
			}
			l.begin(1, 10, name, c.want, loads("new"))()
			waits()
			finish()
			old()
			l.loaded(c.loads)
			for i := range l.all {
				if got, err := cars.Get(t.Context(), l.org(i), name); err != nil || got.Make != c.want {
					t.Errorf("then instance %d has %+v, %v; want %q", i, got, err, c.want)
				}
			}
		})
	}
}

// P5: Redis is frozen during the load; everybody is served, once per instance.
func TestFrozenDuringALoad(t *testing.T) {
	server := redistest.Start(t)
	l := newLoaders(t, jackcache.RedisOptions{Addrs: []string{server.Addr()}}, 3)
	load, called, finish := loading("x")
	holder := l.begin(0, 10, "1", "x", load)
	<-called
	one, two := l.begin(1, 10, "1", "x", loads("x")), l.begin(2, 10, "1", "x", loads("x"))
	l.asked(1, 10)
	l.asked(2, 10)
	server.Freeze()
	defer server.Thaw()
	began := time.Now()
	one()
	two()
	waited := time.Since(began)
	finish()
	holder()
	t.Logf("those who waited were served after %v", waited)
	if waited >= jackcache.DefaultLoadTimeout {
		t.Errorf("those who waited were served after %v", waited)
	}
	l.loaded(3)
}
