package jackcache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// told returns what a monitor has now, as lines.
func told(t *testing.T, m *jackcache.Monitor) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var lines []string
	for {
		page := make([]jackcache.MonitorEvent, 4)
		n, err := m.Read(ctx, page)
		for _, ev := range page[:n] {
			line := fmt.Sprint(ev.Operation, " ", ev.Kind, " ", ev.Org, " ", ev.ID, " ", ev.Source, " ", ev.Outcome)
			if ev.Took <= 0 || ev.Time.IsZero() || strings.Contains(fmt.Sprintf("%+v", ev), "9085474") {
				t.Errorf("%+v", ev)
			}
			lines = append(lines, line)
		}
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			return strings.Join(lines, "\n")
		}
	}
}

func monitor(t *testing.T, a *assistant.Assistant, o jackcache.MonitorOptions) *jackcache.Monitor {
	t.Helper()
	m, err := a.Cache.Monitor(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// TestMonitor: calls are told by the names of their kinds, whatever the store.
func TestMonitor(t *testing.T) {
	everyStore(t, func(t *testing.T, a *assistant.Assistant) {
		ctx, org := t.Context(), a.Cache.Org("org-1")
		all := monitor(t, a, jackcache.MonitorOptions{})
		few := monitor(t, a, jackcache.MonitorOptions{Kind: jackcache.ConversationKind, Operation: "append", Org: "org-1"})
		conv := org.Conversation("(604) 908-5474")
		sse, err := a.Cache.RawKind("sseResponse")
		if err != nil {
			t.Fatal(err)
		}
		load := func(context.Context) (car, error) { return car{Make: "Volvo"}, nil }
		for _, err := range []error{
			second(conv.Append(ctx, message("m1", "hi"))), second(conv.Messages(ctx, jackcache.ReadOptions{})),
			second(cars.GetOrLoad(ctx, org, "a lorry", load)), second(cars.Get(ctx, org, "a lorry")),
			second(sse.Set(ctx, org, "response", json.RawMessage("1"))),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		const appended = "append conversationContext org-1 …74 shared done"
		want := appended + `
messages conversationContext org-1 …74 shared hit
load car org-1 a … loader done
fill car org-1 a … shared done
get car org-1 a … loader loaded
get car org-1 a … shared hit
set sseResponse org-1 re… near done`
		if got := told(t, all); got != want {
			t.Errorf("told\n%s\nwant\n%s", got, want)
		}
		if got := told(t, few); got != appended {
			t.Errorf("told\n%s\nwant\n%s", got, appended)
		}
		if s := all.Summary(); s.Operations != 7 || s.Errors != 0 || s.Dropped != 0 || s.Over <= 0 {
			t.Errorf("%+v", s)
		}
		if _, err := org.Forget(ctx, "+16049085474"); err != nil {
			t.Fatal(err)
		}
		if got := told(t, all); !strings.Contains(got, "set __forgotten ") || !strings.Contains(got, "delete phoneToLead org-1 …74") {
			t.Errorf("forgetting is told as\n%s", got)
		}
	})
}

func TestMonitorErrors(t *testing.T) {
	a, err := assistant.Open(t.Context(), jackcache.Options{DataDir: t.TempDir()}, assistant.TTLs{})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []jackcache.MonitorOptions{
		{Sample: -1}, {Sample: jackcache.MaxSample + 1}, {Kind: "nothing"}, {Operation: "nothing"}, {Org: "\x00"},
	} {
		if _, err := a.Cache.Monitor(bad); !errors.Is(err, jackcache.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", bad, err)
		}
	}
	last := monitor(t, a, jackcache.MonitorOptions{})
	for range jackcache.MaxMonitors - 1 {
		monitor(t, a, jackcache.MonitorOptions{})
	}
	if _, err := a.Cache.Monitor(jackcache.MonitorOptions{}); !errors.Is(err, jackcache.ErrBusy) {
		t.Errorf("one more: %v, want ErrBusy", err)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Read(t.Context(), make([]jackcache.MonitorEvent, 1)); !errors.Is(err, jackcache.ErrClosed) {
		t.Errorf("read of a closed cache: %v, want ErrClosed", err)
	}
	if _, err := a.Cache.Monitor(jackcache.MonitorOptions{}); !errors.Is(err, jackcache.ErrClosed) {
		t.Errorf("of a closed cache: %v, want ErrClosed", err)
	}
}
