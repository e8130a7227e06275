package jackcache_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// lenientKind is a kind of which copies are given while Redis is away.
func lenientKind() *jackcache.Kind[json.RawMessage] {
	return jackcache.NewKind[json.RawMessage](jackcache.KindOptions{Name: "lenient", TTL: time.Hour, ServeStale: true})
}

// alike compares a read of several with reads of each.
func alike(t *testing.T, a *assistant.Assistant, k *jackcache.Kind[json.RawMessage], want map[string]jackcache.Source, ids ...string) {
	t.Helper()
	org := a.Cache.Org("org-1")
	es, err := k.GetMany(t.Context(), org, ids...)
	var part *jackcache.PartialError
	if err != nil && !errors.As(err, &part) || len(es) != len(ids) {
		t.Fatalf("get many: %d entries, %v", len(es), err)
	}
	for i, id := range ids {
		e, single := k.Entry(t.Context(), org, id)
		var many error
		if part != nil {
			many = part.Errs[i]
		}
		source, known := want[id]
		switch {
		case errors.Is(single, jackcache.ErrNotFound):
			if known || many != nil || es[i].Version != "" {
				t.Errorf("%s is not there; among many: %+v, %v; want it from %v", id, es[i], many, source)
			}
		case single != nil:
			if known || !errors.Is(single, jackcache.ErrUnavailable) || !errors.Is(many, jackcache.ErrUnavailable) || es[i].Version != "" {
				t.Errorf("%s: %v; among many: %+v, %v; want it from %v", id, single, es[i], many, source)
			}
		case many != nil || e.Source != source || es[i].Source != source || e.Version != es[i].Version || string(e.Value) != string(es[i].Value):
			t.Errorf("%s: %+v; among many: %+v, %v; want it from %v", id, e, es[i], many, source)
		}
	}
}

// While Redis is away each of several reads is answered as one alone is: by what
// waits, by what this instance wrote, by a copy where the kind allows it; and an
// error is that of the rest.
func TestGetManyWhileAway(t *testing.T) {
	server := redistest.Start(t)
	kind := lenientKind()
	as := withKind(t, server, 2, kind)
	a, other, config := as[0], as[1], as[0].Kinds.AgentConfig
	ctx, org := t.Context(), a.Cache.Org("org-1")
	for _, id := range []string{"mine", "deleted"} {
		if _, err := config.Set(ctx, org, id, raw(`1`)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Kinds.AgentConfig.Set(ctx, other.Cache.Org("org-1"), "theirs", raw(`2`)); err != nil {
		t.Fatal(err)
	}
	if _, err := kind.Set(ctx, other.Cache.Org("org-1"), "theirs", raw(`3`)); err != nil {
		t.Fatal(err)
	}
	warm(t, "theirs", func() jackcache.Source {
		e, err := kind.Entry(ctx, org, "theirs")
		if err != nil {
			t.Fatal(err)
		}
		return e.Source
	})
	server.Freeze()
	away(t, a)
	if _, err := config.Set(ctx, org, "waits", raw(`4`)); err != nil {
		t.Fatal(err)
	}
	if err := config.Delete(ctx, org, "deleted"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "copies are not current any more", func() bool {
		e, err := kind.Entry(ctx, org, "theirs")
		return err == nil && e.Source == jackcache.SourceStale
	})

	alike(t, a, config, map[string]jackcache.Source{"mine": jackcache.SourceStale, "waits": jackcache.SourcePending}, "theirs", "mine", "waits", "deleted", "nobodys")
	alike(t, a, kind, map[string]jackcache.Source{"theirs": jackcache.SourceStale}, "theirs", "nobodys")

	before := a.Cache.Stats().Kinds["agentConfig"]
	es, err := org.ReadMany(ctx, jackcache.KindID{Kind: config, ID: "nobodys"}, jackcache.KindID{Kind: kind, ID: "theirs"},
		jackcache.KindID{Kind: a.Kinds.SSEResponse, ID: "local"}, jackcache.KindID{Kind: config, ID: "waits"})
	var part *jackcache.PartialError
	if !errors.As(err, &part) || len(es) != 4 || len(part.Errs) != 4 || !errors.Is(part.Errs[0], jackcache.ErrUnavailable) ||
		part.Errs[1] != nil || part.Errs[2] != nil || part.Errs[3] != nil {
		t.Fatalf("read many: %+v, %v", es, err)
	}
	if es[0].Found || string(es[1].JSON) != "3" || es[1].Source != jackcache.SourceStale || es[1].Age <= 0 ||
		es[2].Found || string(es[3].JSON) != "4" || es[3].Source != jackcache.SourcePending {
		t.Errorf("read many: %+v", es)
	}
	if after := a.Cache.Stats().Kinds["agentConfig"]; after.Hits != before.Hits+1 || after.Misses != before.Misses {
		t.Errorf("what cannot be answered is counted: %+v, then %+v", before, after)
	}
	server.Thaw()
	back(t, a)
	alike(t, a, config, map[string]jackcache.Source{"waits": jackcache.SourceShared, "mine": jackcache.SourceShared, "theirs": jackcache.SourceShared}, "nobodys", "deleted")
}

// One master of a Cluster that does not answer stops only what it has.
func TestGetManyWhileAShardIsAway(t *testing.T) {
	c := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, NodeTimeout: time.Minute})
	a := instanceOf(t, clusterOptions(c), patient)
	reader := instanceOf(t, clusterOptions(c), patient) // knows nothing by itself
	back(t, a, reader)
	ctx, config := t.Context(), a.Kinds.AgentConfig
	masterOf := func(key string) *redistest.Server { return c.MasterOf(redistest.Slot(a.Cache.KeyPrefix() + key)) }
	generations := masterOf("__gen:org-1")
	var ids []string
	lost := make(map[string]bool)
	for n := range 100 {
		id := fmt.Sprint(n)
		if gone := masterOf("agentConfig:org-1:"+id) != generations; gone || n < 50 {
			ids = append(ids, id)
			lost[id] = gone
		}
		if _, err := config.Set(ctx, a.Cache.Org("org-1"), id, raw(id)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range c.Masters() {
		if s != generations {
			s.Freeze()
			defer s.Thaw()
		}
	}
	away(t, reader)
	es, err := reader.Kinds.AgentConfig.GetMany(ctx, reader.Cache.Org("org-1"), ids...)
	var part *jackcache.PartialError
	if !errors.As(err, &part) || !errors.Is(err, jackcache.ErrUnavailable) {
		t.Fatalf("%d entries, %v", len(es), err)
	}
	for i, id := range ids {
		if lost[id] != errors.Is(part.Errs[i], jackcache.ErrUnavailable) || !lost[id] && (part.Errs[i] != nil || string(es[i].Value) != id) {
			t.Errorf("%s, of a master that is away: %v: %+v, %v", id, lost[id], es[i], part.Errs[i])
		}
	}
}
