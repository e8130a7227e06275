package jackcache_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/migrate"
)

// The fifteen checks that the system which this product replaces was tested by,
// in its order: connection, basic operations, four of conversations, two of
// leads, organisation data, tenants, performance, failover, two of invalidation,
// migration. They hold with Redis, without it, and while it fails.

// world is where the checks are run.
type world struct {
	*testing.T
	a *assistant.Assistant
	// between is what happens between two steps; nil: nothing.
	between func()
	// away takes Redis away, and back brings it; nil: there is none.
	away, back func()
	// later opens what somebody else reads in the end: another instance, or one
	// over what a crash of this one leaves.
	later func() *assistant.Assistant
	// alone: there is no Redis, so what nobody here knows of is an error.
	alone bool
}

// step is between two steps of a check.
func (w *world) step() {
	if w.between != nil {
		w.between()
	}
}

func (w *world) org(name string) jackcache.Org { return w.a.Cache.Org("org-" + name) }

// gone reports whether an error says that nothing is there to read. What was
// removed while nobody could be asked is not known to be absent.
func (w *world) gone(err error) bool {
	return errors.Is(err, jackcache.ErrNotFound) || w.unsure() && errors.Is(err, jackcache.ErrUnavailable)
}

func (w *world) unsure() bool { return w.alone || w.between != nil }

func wantEqual[T comparable](what string, got, want T, err error) error {
	if err != nil || got != want {
		return fmt.Errorf("%s is %v, %w; want %v", what, got, errors.Join(err), want)
	}
	return nil
}

var talk = []jackcache.Message{message("m1", "Is the blue one there?"), message("m2", "It is."), message("m3", "I come at nine.")}

// fifteen are the checks: run does it with the instance, and after is what
// somebody else finds in the end; nil: nothing is left to be found.
var fifteen = []struct {
	name  string
	run   func(*world) error
	after func(*testing.T, *assistant.Assistant) error
}{
	{"1 connection: health tells how the store is", (*world).connection, nil},
	{"2 basic operations: set, get, delete, gone", (*world).basics, nil},
	{"3 a conversation is written", func(w *world) error {
		for _, m := range talk {
			if _, err := w.org("talk").Conversation(phone(1)).Append(w.Context(), m); err != nil {
				return err
			}
			w.step()
		}
		return nil
	}, nil},
	{"4 a conversation is read with all its messages", func(w *world) error { return talked(w.T, w.a) }, talked},
	{"5 a summary is written", func(w *world) error {
		return second(w.a.Kinds.Summary.Set(w.Context(), w.org("talk"), phone(1), assistant.Summary{Text: "wants the blue one"}))
	}, nil},
	{"6 a summary is read", func(w *world) error { return summarised(w.T, w.a) }, summarised},
	{"7 a lead is written", func(w *world) error { return w.a.Link(w.Context(), w.org("talk"), phone(1), "lead-1") }, nil},
	{"8 a lead is read, from both sides", func(w *world) error { return led(w.T, w.a) }, led},
	{"9 organisation data is written and read", func(w *world) error {
		if _, err := w.a.Kinds.Organization.Set(w.Context(), w.org("talk"), "", raw(`{"name":"Blue Motors"}`)); err != nil {
			return err
		}
		w.step()
		return organised(w.T, w.a)
	}, organised},
	{"10 one phone in two organisations is two", func(w *world) error {
		for _, name := range []string{"one", "two"} {
			if _, err := w.org(name).Conversation(phone(2)).Append(w.Context(), message("m", "words of "+name)); err != nil {
				return err
			}
			w.step()
		}
		return apart(w.T, w.a)
	}, apart},
	{"11 performance: reads take 25 ms on average at most, writes 30", (*world).performance, nil},
	{"12 failover: what is acknowledged meanwhile is there", (*world).failover, failedOver},
	{"13 two phones of an organisation have data", (*world).phones, nil},
	{"14 an organisation is cleared: both are empty", (*world).cleared, emptied},
	{"15 migration: a conversation, a summary, a lead", (*world).migration, nil},
}

func (w *world) connection() error {
	h := w.a.Cache.Health()
	switch {
	case w.alone && (h.Status != jackcache.Degraded || h.Store.State == "up" || len(h.Problems) == 0):
		return fmt.Errorf("health says nothing of a Redis that is not there: %+v", h)
	case !w.alone && (h.Status != jackcache.Healthy || h.Store.State != "up"):
		return fmt.Errorf("health is %+v", h)
	}
	return nil
}

func (w *world) basics() error {
	config, o := w.a.Kinds.AgentConfig, w.org("basics")
	if _, err := config.Set(w.Context(), o, "agent", raw(`{"n":1}`)); err != nil {
		return err
	}
	w.step()
	got, err := config.Get(w.Context(), o, "agent")
	if err := wantEqual("the value", string(got), `{"n":1}`, err); err != nil {
		return err
	}
	w.step()
	if err := config.Delete(w.Context(), o, "agent"); err != nil {
		return err
	}
	w.step()
	// This instance knows of the deletion, whatever Redis does.
	if _, err := config.Get(w.Context(), o, "agent"); !errors.Is(err, jackcache.ErrNotFound) {
		return fmt.Errorf("after the deletion: %v", err)
	}
	return nil
}

func talked(t *testing.T, a *assistant.Assistant) error {
	got, err := a.Cache.Org("org-talk").Conversation("(604) 908-0001").Messages(t.Context(), jackcache.ReadOptions{})
	var words []string
	for _, m := range got.Messages {
		words = append(words, m.ID+" "+m.Content)
	}
	return wantEqual("the conversation", strings.Join(words, ", "), "m1 Is the blue one there?, m2 It is., m3 I come at nine.", err)
}

func summarised(t *testing.T, a *assistant.Assistant) error {
	got, err := a.Kinds.Summary.Get(t.Context(), a.Cache.Org("org-talk"), phone(1))
	return wantEqual("the summary", got.Text, "wants the blue one", err)
}

func led(t *testing.T, a *assistant.Assistant) error {
	o := a.Cache.Org("org-talk")
	lead, err := a.LeadOf(t.Context(), o, phone(1))
	if err := wantEqual("the lead", lead, "lead-1", err); err != nil {
		return err
	}
	of, err := a.PhoneOf(t.Context(), o, "lead-1")
	return wantEqual("the phone", of, phone(1), err)
}

func organised(t *testing.T, a *assistant.Assistant) error {
	got, err := a.Kinds.Organization.Get(t.Context(), a.Cache.Org("org-talk"), "")
	return wantEqual("the data", string(got), `{"name":"Blue Motors"}`, err)
}

func apart(t *testing.T, a *assistant.Assistant) error {
	for _, name := range []string{"one", "two"} {
		got, err := a.Cache.Org("org-"+name).Conversation(phone(2)).Messages(t.Context(), jackcache.ReadOptions{})
		if err != nil || len(got.Messages) != 1 || got.Messages[0].Content != "words of "+name {
			return fmt.Errorf("organisation %s reads %+v, %w", name, got.Messages, errors.Join(err))
		}
	}
	return nil
}

// performance measures a hundred writes and reads, and again where they were slow: a
// disk, or a server, that gets no turn for a second is no average.
func (w *world) performance() (err error) {
	for range 3 {
		if err = w.measured(); err == nil {
			return nil
		}
		w.Log(err)
	}
	return err
}

// measured measures a hundred writes and reads. What this machine keeps a timer
// waiting is not counted.
func (w *world) measured() error {
	const calls = 100
	config, o := w.a.Kinds.AgentConfig, w.org("speed")
	var set, get time.Duration
	late := lateness(func() {
		for i := range calls {
			start := time.Now()
			if _, err := config.Set(w.Context(), o, fmt.Sprint(i), raw(fmt.Sprint(i))); err != nil {
				w.Errorf("set %d: %v", i, err)
			}
			set += time.Since(start)
			if i == calls/2 {
				w.step()
			}
		}
		for i := range calls {
			start := time.Now()
			got, err := config.Get(w.Context(), o, fmt.Sprint(i))
			get += time.Since(start)
			if err != nil || string(got) != fmt.Sprint(i) {
				w.Errorf("get %d: %s, %v", i, got, err)
			}
		}
	})
	w.Logf("set %v, get %v on average; a timer is %v late", set/calls, get/calls, late)
	if get/calls > 25*time.Millisecond+4*late || set/calls > 30*time.Millisecond+4*late {
		return fmt.Errorf("a write takes %v, a read %v on average", set/calls, get/calls)
	}
	return nil
}

// lateness runs f and returns how late a timer of a millisecond was meanwhile, on
// average.
func lateness(f func()) time.Duration {
	stop, late := make(chan struct{}), make(chan time.Duration)
	go func() {
		var sum time.Duration
		n := time.Duration(1)
		for {
			due := time.Now().Add(time.Millisecond)
			select {
			case <-stop:
				late <- sum / n
				return
			case <-time.After(time.Millisecond):
				sum += time.Since(due)
				n++
			}
		}
	}()
	f()
	close(stop)
	return <-late
}

func (w *world) failover() error {
	o := w.org("failover")
	write := func(id string) error {
		_, err := o.Conversation(phone(3)).Append(w.Context(), message(id, "hi"))
		return errors.Join(err, second(w.a.Kinds.Summary.Set(w.Context(), o, phone(3), assistant.Summary{Text: id})))
	}
	if err := write("before"); err != nil {
		return err
	}
	if w.away != nil {
		w.away()
		defer w.back()
	}
	ctx, receipt := jackcache.WithReceipt(w.Context())
	if _, err := o.Conversation(phone(3)).Append(ctx, message("during", "hi")); err != nil || !receipt.Pending() {
		return fmt.Errorf("append: %w, pending %v", errors.Join(err), receipt.Pending())
	}
	w.step()
	if err := write("during"); err != nil { // a repetition of the message
		return err
	}
	return failedOver(w.T, w.a)
}

func failedOver(t *testing.T, a *assistant.Assistant) error {
	o := a.Cache.Org("org-failover")
	if got := idsOf(t, o.Conversation(phone(3))); !slices.Equal(got, []string{"before", "during"}) {
		return fmt.Errorf("messages %v", got)
	}
	got, err := a.Kinds.Summary.Get(t.Context(), o, phone(3))
	return wantEqual("the summary", got.Text, "during", err)
}

func (w *world) phones() error {
	for i := range 2 {
		conv := w.org("cleared").Conversation(phone(4 + i))
		if _, err := conv.Append(w.Context(), message("m", "hi")); err != nil {
			return err
		}
		w.step()
		if got := idsOf(w.T, conv); len(got) != 1 {
			return fmt.Errorf("messages %v", got)
		}
	}
	return nil
}

func (w *world) cleared() error {
	if err := w.org("cleared").Invalidate(w.Context()); err != nil {
		return err
	}
	w.step()
	for i := range 2 {
		got, err := w.org("cleared").Conversation(phone(4+i)).Messages(w.Context(), jackcache.ReadOptions{})
		if len(got.Messages) > 0 || err != nil && !w.gone(err) {
			return fmt.Errorf("phone %d has %+v, %w", i, got.Messages, errors.Join(err))
		}
	}
	// What comes afterwards is there, and alone.
	conv := w.org("cleared").Conversation(phone(4))
	if _, err := conv.Append(w.Context(), message("after", "hi")); err != nil {
		return err
	}
	w.step()
	if got := idsOf(w.T, conv); !slices.Equal(got, []string{"after"}) {
		return fmt.Errorf("messages %v", got)
	}
	return nil
}

func emptied(t *testing.T, a *assistant.Assistant) error {
	if got := idsOf(t, a.Cache.Org("org-cleared").Conversation(phone(4))); !slices.Equal(got, []string{"after"}) {
		return fmt.Errorf("the first phone has %v", got)
	}
	got, err := a.Cache.Org("org-cleared").Conversation(phone(5)).Messages(t.Context(), jackcache.ReadOptions{})
	if len(got.Messages) > 0 || err != nil && !errors.Is(err, jackcache.ErrUnavailable) {
		return fmt.Errorf("the second phone has %+v, %w", got.Messages, errors.Join(err))
	}
	return nil
}

const oldMaps = `{"map":"conversationContexts","key":"org-moved:+16049080006","value":[{"role":"user","content":"one"},{"role":"assistant","content":"two"}]}
{"map":"conversationSummaries","key":"org-moved:16049080006","value":"wants a red one"}
{"map":"phoneToLeadMapping","key":"org-moved:+16049080006","value":"lead-6"}
`

// migration imports entries of the old maps. An import is decided by the store:
// where there is none, each entry is reported as failed, and none is lost of
// which that was not said.
func (w *world) migration() error {
	patience := 20 * time.Second
	if w.alone {
		patience = time.Millisecond
	}
	var returns sync.WaitGroup
	if w.between != nil {
		w.away()
		returns.Go(w.back)
	}
	r, err := migrate.Import(w.Context(), w.a, strings.NewReader(oldMaps), migrate.ImportOptions{RetryFor: patience})
	returns.Wait()
	if w.alone {
		if r.Seen != 3 || r.Failed != 3 || len(r.Problems) != 3 {
			return fmt.Errorf("without a store: %+v, %w", r, errors.Join(err))
		}
		return nil
	}
	if err != nil || r.Imported != 3 || r.Failed+r.SetAside > 0 {
		return fmt.Errorf("%+v, %w", r, errors.Join(err))
	}
	w.step()
	turn, err := w.a.Turn(w.Context(), w.org("moved"), phone(6), jackcache.ReadOptions{})
	if err != nil || len(turn.Messages) != 2 || turn.Summary != "wants a red one" || turn.Lead != "lead-6" {
		return fmt.Errorf("what was imported reads %+v, %w", turn, errors.Join(err))
	}
	return nil
}
