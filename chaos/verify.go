package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// fresh is how old what an instance shows may be: the bound of the product,
	// and some time for the machine.
	fresh = 1500 * time.Millisecond
	// answerTime is how long an instance may refuse to answer when all is over.
	answerTime = 10 * time.Second
	// verifiers is how many keys are read at a time.
	verifiers = 8
)

// settle ends all faults, starts what does not run, and waits until everything
// is healthy and fresh.
func (r *run) settle(ctx context.Context) error {
	r.say("faults are over; waiting until everything is healthy")
	if err := r.servers.heal(); err != nil {
		return err
	}
	if r.fleet.disk != nil {
		if err := r.fleet.disk.free(); err != nil {
			return err
		}
	}
	if err := r.fleet.start(); err != nil {
		return err
	}
	r.awaitHealthy(ctx, "at the end")
	for _, text := range r.fleet.leftovers(ctx) {
		r.remember("%s", text)
	}
	select {
	case <-time.After(fresh):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// verify reads every key through every instance and checks it. What is wrong is
// read a second time before it is told: instances may not agree while a late
// write lands.
func (r *run) verify(ctx context.Context) {
	keys := r.ledger.all()
	r.say("reading %d keys through %d instances", len(keys), len(r.fleet.all))
	ch := checker{healthy: r.ledger.moments()}
	var (
		mu    sync.Mutex
		wrong []*key
	)
	each(keys, func(k *key) {
		if len(ch.check(k, r.readAll(ctx, k))) > 0 {
			mu.Lock()
			defer mu.Unlock()
			wrong = append(wrong, k)
		}
	})
	if len(wrong) > 0 {
		r.say("reading %d keys again", len(wrong))
		time.Sleep(fresh)
		each(wrong, func(k *key) { r.report(k, ch.check(k, r.readAll(ctx, k))) })
	}
	r.say("checked")
}

// each calls do for every key, several at a time.
func each(keys []*key, do func(*key)) {
	todo := make(chan *key)
	var wg sync.WaitGroup
	for range verifiers {
		wg.Go(func() {
			for k := range todo {
				do(k)
			}
		})
	}
	for _, k := range keys {
		todo <- k
	}
	close(todo)
	wg.Wait()
}

// readAll reads a key through each instance. An answer that says that it may not be
// all, as the instance knows it by itself, is none here.
func (r *run) readAll(ctx context.Context, k *key) []seen {
	reads := make([]seen, len(r.fleet.all))
	for i, one := range r.fleet.all {
		deadline := time.Now().Add(answerTime)
		for {
			reads[i] = one.read(r.calls, k, 0)
			reads[i].instance = i
			reads[i].refused = reads[i].refused || reads[i].partial
			if !reads[i].refused || time.Now().After(deadline) || ctx.Err() != nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return reads
}

// broken is the violations in words: how many keys of each organisation, and the
// first of each in full, up to most.
func (r *run) broken(most int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	type place struct {
		breach breach
		org    string
	}
	keys := make(map[place]int)
	var first, rest []violation
	for _, v := range r.violations {
		p := place{v.breach, v.key.org}
		if keys[p]++; keys[p] == 1 {
			first = append(first, v)
		} else {
			rest = append(rest, v)
		}
	}
	for _, v := range first {
		lines = append(lines, fmt.Sprintf("%s: %d keys of %s", breachNames[v.breach], keys[place{v.breach, v.key.org}], v.key.org))
	}
	for _, v := range append(first, rest...)[:min(most, len(r.violations))] {
		lines = append(lines, fmt.Sprintf("%s: %v, instance %d: %s", breachNames[v.breach], v.key, v.instance, v.detail))
		for _, o := range v.ops {
			lines = append(lines, "    "+o.String())
		}
	}
	return lines
}

// found is how many violations there are, by kind.
func (r *run) found() (sum [breaches]int) {
	for _, c := range r.meter.cells {
		for b, n := range c.found {
			sum[b] += n
		}
	}
	return sum
}

func (r *run) failed() bool { return r.ill || r.found() != [breaches]int{} }
