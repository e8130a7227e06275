package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// What an instance has accepted it reads until it has ended it itself: at no moment
// of an Invalidate does a read give what was there before what waited.

// overOlder is an organisation of which the store has something older than what waits.
type overOlder struct {
	f           *fixture
	s           *faulty
	key, person keys.Key
}

// startWaiting writes the older with the store there, and what waits without it.
func startWaiting(t *testing.T, f *fixture, s *faulty, org string) overOlder {
	t.Helper()
	w := overOlder{f: f, s: s, key: f.key(org, "agent-1"), person: f.phone(org, "+16049085474")}
	for i, away := range []bool{false, true} {
		s.away = away
		id := fmt.Sprint(i)
		if _, err := f.Set(t.Context(), w.key, []byte(id), shared, store.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Append(t.Context(), w.person, []Message{{ID: id, Payload: []byte("{}")}}, limits); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// reads are the ways to read it: each fails where it gives the older without what
// waited.
func (w overOlder) reads() map[string]func(context.Context) error {
	older := func(v Value, err error) error {
		if err == nil && v.Found && string(v.Payload) == "0" {
			return fmt.Errorf("it gives what was there before what waited, from %d", v.Source)
		}
		return nil
	}
	return map[string]func(context.Context) error{
		"get": func(ctx context.Context) error { return older(w.f.Get(ctx, w.key, shared)) },
		"get many": func(ctx context.Context) error {
			vs, err := w.f.GetMany(ctx, []keys.Key{w.key}, []Policy{shared})
			if err != nil {
				return nil
			}
			return older(vs[0], err)
		},
		"messages": func(ctx context.Context) error {
			log, err := w.f.Messages(ctx, w.person, 0)
			if n := len(log.Messages); err == nil && n > 0 && log.Messages[n-1].ID == "0" {
				return fmt.Errorf("it gives messages without what waited, from %d", log.Source)
			}
			return nil
		},
	}
}

// TestReadOvertaken: an invalidation that is accepted after the store has answered a
// read ends what waited, and the answer with it.
func TestReadOvertaken(t *testing.T) {
	f, s := journaled(t)
	for name := range (overOlder{}).reads() {
		t.Run(name, func(t *testing.T) {
			w := startWaiting(t, f, s, "org-"+name[len(name)-3:])
			s.away = false
			s.answered = func() {
				s.away = true
				if pending, err := f.Invalidate(t.Context(), w.key.Org()); err != nil || !pending {
					t.Error(pending, err)
				}
				s.away = false
			}
			if err := w.reads()[name](t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReadDuringAcceptance: the journal has an invalidation before its caller knows.
// Who reads meanwhile waits for that, whether the store is away or not.
func TestReadDuringAcceptance(t *testing.T) {
	for _, away := range []bool{true, false} {
		t.Run(fmt.Sprint("away ", away), func(t *testing.T) {
			f, s := journaled(t)
			for n := range 100 {
				w := startWaiting(t, f, s, fmt.Sprint("org-", n))
				s.endless = true
				s.away = away
				var all sync.WaitGroup
				ctx, cancel := context.WithCancel(t.Context())
				for _, read := range w.reads() {
					all.Go(func() {
						for ctx.Err() == nil {
							if err := read(ctx); err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				if pending, err := f.Invalidate(ctx, w.key.Org()); err != nil || !pending {
					t.Error(pending, err)
				}
				cancel()
				all.Wait()
				s.endless = false
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestReadGivesUp: who waits for the end of an acceptance waits no longer than he has
// time, and is not given what was there before what waited.
func TestReadGivesUp(t *testing.T) {
	f, s := journaled(t)
	for name := range (overOlder{}).reads() {
		t.Run(name, func(t *testing.T) {
			w := startWaiting(t, f, s, "org-"+name[len(name)-3:])
			s.away = false
			a := &acceptance{decided: make(chan struct{})}
			s.answered = func() { // the journal has it, and nobody says so
				f.accepting.Store(w.key.Org(), a)
				f.endings.Add(1)
				r := &journal.Record{Kind: journal.Invalidation, Time: time.Now(), Org: w.key.Org(), Token: f.cfg.Clock.Now()}
				if err := f.journal.Append(t.Context(), true, r); err != nil {
					t.Error(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := w.reads()[name](ctx); err != nil {
				t.Error(err)
			}
			if ctx.Err() == nil {
				t.Error("it did not wait")
			}
		})
	}
}

// TestViewOvertaken: a view is not completed by what the journal knows after an end
// that it was not asked about before.
func TestViewOvertaken(t *testing.T) {
	f, s := journaled(t)
	w := startWaiting(t, f, s, "org-1")
	was := f.past(w.key.Org())
	if _, err := f.Invalidate(t.Context(), w.key.Org()); err != nil {
		t.Fatal(err)
	}
	v := &view{}
	if done, err := f.complete(v, w.person, was); done || err != nil || len(v.byID) > 0 {
		t.Errorf("completed: %v, %v, with %v", done, err, v.byID)
	}
}

// TestInvalidationsTogether: of several invalidations of an organisation that are
// accepted at a time the last one that the journal has is that which waits.
func TestInvalidationsTogether(t *testing.T) {
	f, s := journaled(t)
	for n := range 100 {
		w := startWaiting(t, f, s, fmt.Sprint("org-", n))
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if pending, err := f.Invalidate(t.Context(), w.key.Org()); err != nil || !pending {
					t.Error(pending, err)
				}
			})
		}
		all.Wait()
		s.away, s.endless = false, true
		if v, err := f.Get(t.Context(), w.key, shared); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("round %d: %+v, %v; want that an invalidation waits", n, v, err)
		}
		s.endless = false
		if v, err := f.Get(t.Context(), w.key, shared); err != nil || v.Found {
			t.Fatalf("round %d: %+v, %v; want nothing", n, v, err)
		}
	}
	if n := f.endings.Load(); n != 0 {
		t.Errorf("%d invalidations wait, as far as is counted", n)
	}
}

// TestInvalidationRefused: where the journal does not take an invalidation everything
// is read as before, and a caller who gives up while another one is being accepted
// has ended nothing.
func TestInvalidationRefused(t *testing.T) {
	f, s := journaled(t)
	w := startWaiting(t, f, s, "org-1")
	reads := func(want string) {
		t.Helper()
		if v, err := f.Get(t.Context(), w.key, shared); err != nil || string(v.Payload) != want {
			t.Errorf("value %s, %v; want %s", v.Payload, err, want)
		}
	}
	a := &acceptance{decided: make(chan struct{})}
	f.accepting.Store(w.key.Org(), a)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.Invalidate(ctx, w.key.Org()); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("beside another one: %v", err)
	}
	f.accepting.Delete(w.key.Org())
	close(a.decided)
	reads("1")
	if err := f.journal.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Invalidate(t.Context(), w.key.Org()); !errors.Is(err, ErrJournal) {
		t.Errorf("with a journal that is closed: %v", err)
	}
	if f.endings.Load() != 0 || f.isEnding(w.key.Org()) {
		t.Error("an invalidation waits that nobody keeps")
	}
}
