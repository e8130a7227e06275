package jackcache_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

// What NearOptions must be is told by the name of the field; what they may be is taken.
func TestNearOptions(t *testing.T) {
	for _, tt := range []struct {
		near  jackcache.NearOptions
		field string // that is named; empty: all is well
	}{
		{jackcache.NearOptions{}, ""},
		{jackcache.NearOptions{MaxBytes: -1}, ""},
		{jackcache.NearOptions{MaxBytes: 1 << 16, Share: 1, Freshness: 500 * time.Millisecond}, ""},
		{jackcache.NearOptions{Share: 0.001, Freshness: time.Minute}, ""},
		{jackcache.NearOptions{MaxBytes: 1}, "Near.MaxBytes"},
		{jackcache.NearOptions{Share: -0.5}, "Near.Share"},
		{jackcache.NearOptions{Share: 1.01}, "Near.Share"},
		{jackcache.NearOptions{Share: math.NaN()}, "Near.Share"},
		{jackcache.NearOptions{Freshness: 499 * time.Millisecond}, "Near.Freshness"},
		{jackcache.NearOptions{Freshness: time.Minute + 1}, "Near.Freshness"},
		{jackcache.NearOptions{Freshness: -1}, "Near.Freshness"},
	} {
		_, err := jackcache.Options{Near: tt.near}.Rights() // it validates all options
		if tt.field == "" && err != nil || tt.field != "" && (!errors.Is(err, jackcache.ErrInvalid) || !strings.Contains(err.Error(), "Options."+tt.field+" is")) {
			t.Errorf("%+v: %v, want a word about %q", tt.near, err, tt.field)
		}
	}
}

// What is counted of the copies is what happened, in Stats as in the metrics, and each
// master has a proof.
func TestNearIsTold(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	server := redistest.Start(t)
	a := instance(t, server, copies, patient, func(o *jackcache.Options) { o.MeterProvider = provider })
	if _, err := a.Kinds.AgentConfig.Set(t.Context(), a.Cache.Org("o"), "x", raw(`1`)); err != nil {
		t.Fatal(err)
	}
	warm(t, "a value", func() jackcache.Source {
		e, err := a.Kinds.AgentConfig.Entry(t.Context(), a.Cache.Org("o"), "x")
		if err != nil {
			t.Fatal(err)
		}
		return e.Source
	})
	s := a.Cache.Stats().Near
	if !s.Enabled || s.Entries != 1 || s.Bytes <= 0 || s.MaxBytes != jackcache.DefaultNearBytes || s.Fresh == 0 || s.Misses == 0 ||
		s.Fills == 0 || s.Orgs != 1 || s.Refused != s.RefusedFor.Total() || s.HitRatio() <= 0 || s.HitRatio() >= 1 {
		t.Errorf("stats %+v, hit ratio %v", s, s.HitRatio())
	}
	h := a.Cache.Health()
	if h.Status != jackcache.Healthy || !h.Near.Enabled || h.Near.Problem != "" || h.Near.Freshness != jackcache.DefaultFreshness || h.Near.MaxBytes != s.MaxBytes {
		t.Errorf("health %+v", h)
	}
	got := collected(t, reader)
	for name, want := range map[string]float64{
		"jackcache.near.entries ": 1, "jackcache.near.bytes ": float64(s.Bytes), "jackcache.near.limit ": jackcache.DefaultNearBytes,
		"jackcache.near.organisations ": 1, "jackcache.near.looks result=fresh": float64(s.Fresh), "jackcache.near.looks result=stale": float64(s.Stale),
		"jackcache.near.looks result=miss": float64(s.Misses), "jackcache.near.fills ": float64(s.Fills), "jackcache.near.evictions ": 0,
		"jackcache.near.refused reason=told": float64(s.RefusedFor.Told), "jackcache.near.refused reason=tooLarge": 0,
		"jackcache.near.freshness ": jackcache.DefaultFreshness.Seconds(),
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	eventually(t, 10*time.Second, "a proof is told of", func() bool {
		got := collected(t, reader)
		age, ok := got["jackcache.near.proof.age node="+server.Addr()]
		return ok && age < jackcache.DefaultFreshness.Seconds() && got["jackcache.near.proven node="+server.Addr()] == 1
	})
}

// Without copies nothing is told of them.
func TestNoNearIsTold(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	a := instance(t, redistest.Start(t), patient, func(o *jackcache.Options) { o.MeterProvider, o.Near.MaxBytes = provider, -1 })
	if s, h := a.Cache.Stats().Near, a.Cache.Health(); s != (jackcache.NearStats{}) || h.Near != (jackcache.NearHealth{}) || h.Store.Nodes[0].Near != (jackcache.NearProof{}) {
		t.Errorf("stats %+v, health %+v", s, h)
	}
	for name := range collected(t, reader) {
		if strings.HasPrefix(name, "jackcache.near.") {
			t.Errorf("told is %s", name)
		}
	}
}

// A server that does not tell what changes costs speed and no promise: it is told of,
// and nothing is degraded.
func TestNearIsNotProven(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := jackcache.RedisOptions{Addrs: []string{server.Addr()}}
	allow(t, server, without(rights(t, r).Servers, "+client|tracking"))
	asUser(t, r, func(a *assistant.Assistant) {
		if p := a.Cache.Health().Near.Problem; p != "" {
			t.Errorf("at once: %s", p)
		}
		took := eventually(t, 20*time.Second, "it is told", func() bool { return a.Cache.Health().Near.Problem != "" })
		h := a.Cache.Health()
		if took < 4*time.Second || h.Status != jackcache.Healthy || len(h.Problems) > 0 {
			t.Errorf("after %v: %+v", took, h)
		}
		if p := h.Near.Problem; !strings.Contains(p, server.Addr()) || !strings.Contains(p, "jackcache acl") {
			t.Errorf("the problem is told as %q", p)
		}
		if p := h.Store.Nodes[0].Near; p.Proven || p.Age != 0 || p.Since.IsZero() || p.Problem == "" {
			t.Errorf("of the server: %+v", p)
		}
		allow(t, server, rights(t, r).Servers)
		eventually(t, 20*time.Second, "it is proven", func() bool {
			h := a.Cache.Health()
			return h.Near.Problem == "" && h.Store.Nodes[0].Near.Proven
		})
	})
}
