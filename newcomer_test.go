package jackcache_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// A new instance that meets an emptied Redis before the others do gives it another id:
// the others refuse it from then on. Nothing of theirs is lost: they go on, and give
// back what they had, when the id is theirs again, and the new one adopts it.
func TestNewInstanceMeetsAnEmptiedRedis(t *testing.T) {
	server := redistest.Start(t)
	old := instance(t, server, patient)
	back(t, old)
	id := old.Cache.KeyPrefix() + "__store"
	theirs := do(t, server, "GET", id)
	ctx := t.Context()
	if _, err := old.Kinds.AgentConfig.Set(ctx, old.Cache.Org("org-1"), "x", raw("1")); err != nil {
		t.Fatal(err)
	}
	newcomer := old
	for do(t, server, "GET", id) == theirs { // unless the old one was quicker
		do(t, server, "FLUSHALL")
		newcomer = instance(t, server, patient)
	}
	refused := func(err error) bool { return errors.Is(err, jackcache.ErrWrongStore) }
	eventually(t, 20*time.Second, "the old instance refuses it", func() bool {
		return refused(second(old.Kinds.AgentConfig.Get(ctx, old.Cache.Org("org-1"), "x")))
	})
	if _, err := newcomer.Kinds.AgentConfig.Set(ctx, newcomer.Cache.Org("org-1"), "y", raw("2")); err != nil {
		t.Fatal(err)
	}

	do(t, server, "SET", id, theirs)
	back(t, old)
	eventually(t, 20*time.Second, "the new instance refuses it", func() bool {
		return refused(second(newcomer.Kinds.AgentConfig.Get(ctx, newcomer.Cache.Org("org-1"), "y")))
	})
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(newcomer.Cache.DataDir())); err != nil {
		t.Fatal(err)
	}
	adopted := instance(t, server, patient, func(o *jackcache.Options) { o.DataDir, o.Adopt = copied, true })
	back(t, adopted)
	for id, want := range map[string]string{"x": "1", "y": "2"} {
		for name, a := range map[string]*assistant.Assistant{"old": old, "adopted": adopted} {
			if e, err := a.Kinds.AgentConfig.Entry(ctx, a.Cache.Org("org-1"), id); err != nil || string(e.Value) != want || e.Source != jackcache.SourceShared {
				t.Errorf("%s reads %s: %+v, %v", name, id, e, err)
			}
		}
	}
}
