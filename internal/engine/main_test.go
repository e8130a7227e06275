package engine

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/filestore"
	"github.com/jackcache/jackcache/internal/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is an engine over an embedded store.
type fixture struct {
	*Engine
	t     testing.TB
	space keys.Space
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	clk := clock.New(nil, 1, nil)
	shared, err := filestore.Open(filepath.Join(t.TempDir(), "store.db"), filestore.Options{Space: space, Now: clk.Steady})
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{
		Store: shared, Clock: clk, Timeout: 10 * time.Second, LoadTimeout: 10 * time.Second,
		LocalBytes: 1 << 20, OwnTime: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return &fixture{Engine: e, t: t, space: space}
}

// key is one of a type whose ids are opaque.
func (f *fixture) key(org, id string) keys.Key {
	f.t.Helper()
	o, err := keys.ParseOrg(org)
	if err != nil {
		f.t.Fatal(err)
	}
	i, err := keys.ParseID(id)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.space.Key("agentConfig", o, i)
}
