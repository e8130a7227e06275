package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/httpapi"
	"github.com/jackcache/jackcache/internal/telemetry"
)

// instance is one of the caches that are compared, with its server.
type instance struct {
	name string
	tel  *telemetry.Telemetry // nil: no metrics
	org  jackcache.Org
	url  string
}

// measured tells what metrics cost: two instances without, whose difference is
// chance, and one with, all on the same Redis.
func (e *environment) measured() ([]contest, error) {
	ctx := context.Background()
	tel, err := telemetry.Open(ctx, telemetry.Options{Version: "bench", Getenv: func(string) string { return "" }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	all := []instance{{name: "without metrics"}, {name: "without metrics, again"}, {name: "jackcache, with metrics", tel: tel}}
	for i := range all {
		if err := e.start(&all[i]); err != nil {
			return nil, err
		}
	}
	small := json.RawMessage(`{"leadId":"lead-0123456789abcdef-0123456789abcdef-0123456789"}`)
	for n := range valueKeys {
		if err := kindSet(rawKind, all[0].org, small)(ctx, n); err != nil {
			return nil, err
		}
	}
	var gets, requests []contender
	for _, in := range all {
		gets = append(gets, contender{name: in.name, run: kindGet(rawKind, in.org)})
		requests = append(requests, contender{name: in.name, run: httpGet(in.url, len(small))})
	}
	var contests []contest
	for _, callers := range []int{1, 64} {
		contests = append(contests,
			contest{name: fmt.Sprintf("metrics: library GET of %d B", len(small)), callers: callers, goal: "≥ 0.97", contenders: gets, serverCPU: e.redis.CPU},
			contest{name: fmt.Sprintf("metrics: HTTP GET of %d B", len(small)), callers: callers, goal: "≥ 0.97", contenders: requests, serverCPU: e.redis.CPU})
	}
	return contests, nil
}

// start opens a cache on the shared Redis and serves it.
func (e *environment) start(in *instance) error {
	o := jackcache.Options{
		DataDir: filepath.Join(e.dir, in.name), Kinds: []jackcache.AnyKind{rawKind}, Logger: slog.New(slog.DiscardHandler), Budget: 10 * time.Second,
		Redis: &jackcache.RedisOptions{Addrs: []string{e.redis.Addr()}},
	}
	h := httpapi.Options{Logger: o.Logger}
	if in.tel != nil {
		o.MeterProvider, h.MeterProvider, h.Metrics = in.tel.Meters, in.tel.Meters, in.tel.Handler
	}
	a, err := assistant.Open(context.Background(), o, assistant.TTLs{})
	if err != nil {
		return err
	}
	e.closeLater(a)
	base, err := e.serve(httpapi.New(a, h))
	in.org, in.url = a.Cache.Org("metrics"), base+"/api/v1/orgs/metrics/entries/rawValue/1"
	return err
}
