package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// window is how many messages of a conversation are kept: more than any is
// given, so that nothing falls out.
const window = 1000

// fleet is the instances: processes first, the library last.
type fleet struct {
	all  []instance
	lib  *library
	disk *disk // of the first process; nil where it takes more rights
}

// newFleet prepares the instances of a plan, and starts them.
func newFleet(s *servers, p plan) (*fleet, error) {
	f := &fleet{}
	var err error
	if f.disk, err = mountDisk(filepath.Join(p.dir, "disk")); err != nil {
		return nil, err
	}
	for i := range p.instances - 1 {
		env, err := s.env(i)
		if err != nil {
			return f, err
		}
		if i == withoutCopies {
			env = append(env, "JACKCACHE_NEAR_BYTES=off")
		}
		own := filepath.Join(p.dir, "instance"+strconv.Itoa(i))
		data := filepath.Join(own, "data")
		if i == 0 && f.disk != nil {
			data = filepath.Join(f.disk.dir, "data")
		}
		one, err := newProcess(p.binary, own, data, append(env, p.switches(i)...))
		if err != nil {
			return f, err
		}
		f.all = append(f.all, one)
	}
	f.lib = &library{dir: filepath.Join(p.dir, "library"), redis: s.options(p.instances - 1), withoutJournal: p.sabotage == "journal"}
	f.all = append(f.all, f.lib)
	return f, f.start()
}

// withoutCopies is the instance that keeps no copies. It hears of nothing that others
// invalidate until it asks Redis.
const withoutCopies = 1

// switches are the settings that break a process on purpose.
func (p plan) switches(instance int) []string {
	env := sabotageEnv(p.sabotage)
	if len(p.skews) == 0 {
		return env
	}
	skew := "clock=" + p.skews[instance%len(p.skews)]
	if wantsTag(p.sabotage) {
		return []string{sabotageVariable + "=" + p.sabotage + "," + skew}
	}
	return append(env, sabotageVariable+"="+skew)
}

// library is the number of the instance in this process.
func (f *fleet) library() int { return len(f.all) - 1 }

// start starts those that do not run.
func (f *fleet) start() error {
	errs := make([]error, len(f.all))
	var wg sync.WaitGroup
	for i, one := range f.all {
		wg.Go(func() { errs[i] = one.start() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (f *fleet) close() {
	var wg sync.WaitGroup
	for _, one := range f.all {
		wg.Go(one.close)
	}
	wg.Wait()
	f.disk.unmount()
}

// waitHealthy returns when each instance has been healthy with nothing pending
// since the call, and the instant of the first; or an error that says who was not
// after limit.
func (f *fleet) waitHealthy(ctx context.Context, limit time.Duration) (since time.Time, err error) {
	deadline := time.Now().Add(limit)
	for i := 0; i < len(f.all); {
		asked := time.Now()
		h := f.all[i].health(ctx)
		if h.good() {
			if i == 0 {
				since = asked
			}
			i++
			continue
		}
		if asked.After(deadline) {
			return since, fmt.Errorf("instance %d is %q over a store that is %q, with %d pending and %d to be restored: %q", i, h.status, h.store, h.pending, h.restoring, h.problems)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return since, ctx.Err()
		}
	}
	return since, nil
}

// replayed is how many operations all have replayed since their starts; -1 where
// they do not tell.
func (f *fleet) replayed(ctx context.Context) int64 {
	sum := int64(-1)
	for _, one := range f.all {
		if h := one.health(ctx); h.replayed >= 0 {
			sum = max(sum, 0) + h.replayed
		}
	}
	return sum
}

// leftovers are the acknowledged writes that instances gave up, in words.
func (f *fleet) leftovers(ctx context.Context) []string {
	var all []string
	for i, one := range f.all {
		if h := one.health(ctx); h.setAside > 0 || h.expired > 0 {
			all = append(all, fmt.Sprintf("instance %d set aside %d acknowledged writes, and let %d expire", i, h.setAside, h.expired))
		}
	}
	return all
}
