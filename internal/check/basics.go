package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
)

const (
	pollEvery = 20 * time.Millisecond
	// settleTime is how long a reason that is understood must stand at the start.
	settleTime = time.Second
	// trips is how often the way to the store is measured.
	trips = 50
)

// strangers explains data that nobody of this run wrote.
const strangers = "something else writes or deletes keys of jackcache in this database: give jackcache a database, or a server, of its own (REDIS_DB), and a user whom only it has"

// connection opens two instances and measures the way to the store.
func (s *session) connection(ctx context.Context) (string, error) {
	s.step("open the store")
	a, err := s.open(ctx, patient)
	if err != nil {
		return "", doing("open", err)
	}
	s.a = a
	s.report.KeyPrefix = a.Cache.KeyPrefix()
	if err := s.reached(ctx, connectTime); err != nil {
		return "", err
	}
	b := a
	if s.o.Cache.Redis != nil {
		s.step("open a second instance")
		if b, err = s.open(ctx, patient); err != nil {
			return "", doing("open a second instance", err)
		}
	}
	s.b = b
	s.step("measure the way")
	onA, _ := s.both("connection")
	took := make([]time.Duration, trips)
	for i := range took {
		start := time.Now()
		if _, err := a.Kinds.AgentConfig.Get(ctx, onA, "absent"); !errors.Is(err, jackcache.ErrNotFound) {
			return "", doing("read what is not there", unexpected(err, "something"))
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	h := a.Cache.Health().Store
	name := strings.TrimSpace(h.Kind + " " + h.ServerVersion)
	return fmt.Sprintf("%s is %s; a read takes %s", name, h.State, shown(took[trips/2])), nil
}

// reached waits until the store answers a read, or says for a while why it does
// not.
func (s *session) reached(all context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(all, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var (
		toDo     string // ports in the text of an error change
		since    time.Time
		examined bool
	)
	for {
		err := s.answers(ctx)
		if err == nil {
			return nil
		}
		if hint := s.hint(err); hint != toDo {
			toDo, since, examined = hint, time.Now(), false
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s.explained(all, err)
		}
		if examined || time.Since(since) < settleTime {
			continue
		}
		examined = true
		if err = s.explained(all, err); s.hint(err) != network {
			return err
		}
	}
}

// explained is err, with what to do about it where that can be found out.
func (s *session) explained(ctx context.Context, err error) error {
	if s.hint(err) != network {
		return err
	}
	if reason := diagnose(ctx, s.o.Cache.Redis); reason != "" {
		return &fault{text: err.Error(), toDo: reason}
	}
	return err
}

// answers reads what is not there. The error is the reason that health knows,
// where it knows one.
func (s *session) answers(ctx context.Context) error {
	_, err := s.a.Kinds.AgentConfig.Get(ctx, s.a.Cache.Org(s.org("connection")), "absent")
	h := s.a.Cache.Health()
	switch {
	case errors.Is(err, jackcache.ErrNotFound) && h.Store.State == "up":
		return nil
	case h.Store.State != "up" && len(h.Problems) > 0:
		return errors.New(h.Problems[0])
	}
	return doing("read", unexpected(err, "a value"))
}

// unexpected is err, or says what a call gave where it should have failed.
func unexpected(err error, what string) error {
	if err != nil {
		return err
	}
	return wrong(strangers, "it gave %s", what)
}

// basicOperations sets, gets, deletes, and finds it gone.
func (s *session) basicOperations(ctx context.Context) (string, error) {
	onA, onB := s.both("basic")
	kind, id := s.a.Kinds.AgentConfig, "agent-1"
	get := func(what, want string) error {
		got, err := s.b.Kinds.AgentConfig.Get(ctx, onB, id)
		if err == nil && string(got) != want {
			err = wrong(strangers, "got %s, want %s", got, want)
		} else if errors.Is(err, jackcache.ErrNotFound) {
			err = wrong(strangers, "nothing is there, want %s", want)
		}
		return doing(what, err)
	}
	s.step("set")
	first, err := kind.Set(ctx, onA, id, json.RawMessage(`{"n":1}`))
	if err != nil {
		return "", doing("set", err)
	}
	s.step("get")
	if err := get("get", `{"n":1}`); err != nil {
		return "", err
	}
	s.step("set on conditions")
	if _, err = kind.Set(ctx, onA, id, json.RawMessage(`{"n":0}`), jackcache.IfAbsent()); !errors.Is(err, jackcache.ErrPrecondition) {
		return "", doing("set if absent, of what is there", unexpected(err, "success"))
	}
	if _, err = kind.Set(ctx, onA, id, json.RawMessage(`{"n":2}`), jackcache.IfVersion(first)); err != nil {
		return "", doing("set if unchanged", err)
	}
	if err := get("get after a conditional set", `{"n":2}`); err != nil {
		return "", err
	}
	s.step("delete")
	if err := kind.Delete(ctx, onA, id); err != nil {
		return "", doing("delete", err)
	}
	s.step("find it gone")
	if _, err := s.b.Kinds.AgentConfig.Get(ctx, onB, id); !errors.Is(err, jackcache.ErrNotFound) {
		return "", doing("get after the delete", unexpected(err, "a value"))
	}
	return "set, get, conditional set, delete, gone" + s.seen(), nil
}

// seen says who read what was written.
func (s *session) seen() string {
	if s.a == s.b {
		return ""
	}
	return "; read by another instance"
}

// shown is a duration for people.
func shown(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
