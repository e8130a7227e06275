package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackcache/jackcache/internal/breaker"
	"github.com/jackcache/jackcache/internal/store"
)

// memoryWarning is the share of maxmemory above which health warns.
const memoryWarning = 0.85

// facts is what is known of a server.
type facts struct {
	mu       sync.Mutex
	info     map[string]string // guarded by mu: of INFO, nil before the first
	warnings []string          // guarded by mu
	offers   store.Offers      // guarded by mu
	told     bool              // guarded by mu: what it offers
	events   uint64            // guarded by mu: in the node's doubt, when info was read
	refusal  string            // guarded by mu: of the last heartbeat, a write; empty: it was taken
}

// refuses notes what the server said to a heartbeat, and logs a change.
func (n *node) refuses(err error) {
	text := ""
	if _, moved := redirected(err); err != nil && !moved {
		text = err.Error()
	}
	n.facts.mu.Lock()
	before := n.facts.refusal
	n.facts.refusal = text
	n.facts.mu.Unlock()
	switch {
	case before == "" && text != "":
		n.logger.Warn("redis refuses writes", "addr", n.addr, "err", text)
	case before != "" && text == "":
		n.logger.Info("redis takes writes again", "addr", n.addr)
	}
}

// inspect reads INFO, derives warnings, and at first finds out what the server
// offers.
func (n *node) inspect(ctx context.Context) {
	c := n.link.Load().jobs
	text, err := c.Do(ctx, c.B().Info().Build()).ToString()
	if err != nil && !isReply(err) {
		return // the breaker says more about it
	}
	info := parseInfo(text)
	v := &n.facts
	v.mu.Lock()
	same, before := v.told && v.info["run_id"] == info["run_id"], v.offers
	n.compareLocked(info)
	v.mu.Unlock()
	offers := offersOf(info)
	if same {
		offers.Missing, offers.Tracking = before.Missing, before.Tracking
		if offers.Persistence == "" {
			offers.Persistence = before.Persistence
		}
	} else {
		n.explore(ctx, c, &offers)
	}
	v.mu.Lock()
	v.info, v.offers, v.told = info, offers, true
	if err != nil {
		v.warnings = []string{"INFO is not available, so settings of redis cannot be checked: " + err.Error()}
	} else {
		v.warnings = warnings(info)
	}
	if len(offers.Missing) > 0 {
		v.warnings = append(v.warnings, "redis refuses commands that are needed: "+strings.Join(offers.Missing, ", ")+"; 'jackcache acl' prints the rights that the user needs")
	}
	warned := v.warnings
	v.mu.Unlock()
	if !same {
		n.tellOffers(offers, warned)
	}
}

// compareLocked notes that the server is another one than the last time, or that
// its writes go another way than at the last look, if nothing else tells that.
func (n *node) compareLocked(info map[string]string) {
	v := &n.facts
	events := n.doubt.events.Load()
	if old := v.info["run_id"]; events == v.events && old != "" && info["run_id"] != "" && old != info["run_id"] {
		n.doubt.happened("its run_id changed")
	}
	if stream := n.stream.Load(); stream != nil && *stream != "" && info["master_replid"] != "" && *stream != info["master_replid"] && !n.doubt.doubted() {
		n.doubt.happened("its master_replid changed")
	}
	v.events = events
}

// tellOffers logs once what a server offers and what is degraded by it.
func (n *node) tellOffers(o store.Offers, warned []string) {
	n.logger.Info("connected to redis", "addr", n.addr, "version", o.Version, "role", o.Role, "replicas", o.Replicas,
		"persistence", o.Persistence, "maxmemoryPolicy", o.Eviction, "tracking", o.Tracking)
	for _, w := range warned {
		n.logger.Warn("a promise is in danger", "addr", n.addr, "problem", w)
	}
}

func offersOf(info map[string]string) store.Offers {
	o := store.Offers{
		Version: info["redis_version"], Role: info["role"], Eviction: info["maxmemory_policy"],
		Replicas: int(number(info["connected_slaves"])),
	}
	if v := info["valkey_version"]; v != "" {
		o.Version = "valkey " + v
	}
	if info["aof_enabled"] == "1" {
		o.Persistence = "aof"
	}
	return o
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.SplitSeq(text, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			info[name] = value
		}
	}
	return info
}

// warnings names the settings and conditions that endanger a promise.
func warnings(info map[string]string) []string {
	var w []string
	if p := info["maxmemory_policy"]; p != "" && p != "noeviction" {
		w = append(w, fmt.Sprintf("redis may evict what was acknowledged: maxmemory-policy is %s, set it to noeviction", p))
	}
	used, limit := number(info["used_memory"]), number(info["maxmemory"])
	if limit > 0 && float64(used) > memoryWarning*float64(limit) {
		w = append(w, fmt.Sprintf("redis uses %d %% of its maxmemory; at 100 %% writes are refused", used*100/limit))
	}
	if role := info["role"]; role != "" && role != "master" {
		w = append(w, "redis is a "+role+"; connect to the master")
	}
	if info["rdb_last_bgsave_status"] == "err" {
		w = append(w, "the last snapshot of redis failed; look at its log and its disk")
	}
	if info["aof_last_write_status"] == "err" {
		w = append(w, "redis cannot write its append-only file; look at its log and its disk")
	}
	if info["loading"] == "1" {
		w = append(w, "redis is loading its data")
	}
	return w
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // absent is zero
	return n
}

// health tells how the node is, from what is known.
func (n *node) health() store.NodeHealth {
	state, since, reason, openings := n.breaker.Snapshot()
	h := store.NodeHealth{
		Addr: n.addr, Since: since, Problem: reason,
		InFlight: int(n.waiting.Load()), Reconnects: n.reconnects.Load(),
	}
	if n.s.opts.Witness != nil {
		h.Doubt = n.doubt.text()
	}
	h.Tracking = n.hears()
	n.facts.mu.Lock()
	defer n.facts.mu.Unlock()
	info := n.facts.info
	switch state {
	case breaker.Closed:
		h.State, h.Problem = store.Up, ""
	case breaker.HalfOpen:
		h.State = store.Probing
	case breaker.Open:
		h.State = store.Down
		if openings == 1 && reason != "" && len(info) == 0 {
			h.State = store.Starting
		}
	}
	h.Offers = n.facts.offers
	if n.facts.refusal != "" {
		h.Warnings = append(h.Warnings, "redis refuses writes: "+n.facts.refusal)
	}
	h.Warnings = append(h.Warnings, n.facts.warnings...)
	h.UsedBytes, h.MaxBytes = number(info["used_memory"]), number(info["maxmemory"])
	h.Keys = keysOf(info, n.s.opts.DB)
	return h
}

// keysOf reads "db0:keys=3,expires=2,avg_ttl=0".
func keysOf(info map[string]string, db int) int64 {
	first, _, _ := strings.Cut(info["db"+strconv.Itoa(db)], ",")
	return number(strings.TrimPrefix(first, "keys="))
}
