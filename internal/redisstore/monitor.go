package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/breaker"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// beatEvery is how often an idle server is asked whether it is there.
	beatEvery = 500 * time.Millisecond
	// inspectEvery is how often INFO is read and the instance number kept.
	inspectEvery = 5 * time.Second
	// claimLife is how long a claim of an instance number outlives its process.
	claimLife = time.Hour
	// claimTries bounds how many numbers are tried when they are taken.
	claimTries = 32
	// memoryWarning is the share of maxmemory above which health warns.
	memoryWarning = 0.85
)

// server is what INFO said.
type server struct {
	mu       sync.Mutex
	info     map[string]string // guarded by mu
	warnings []string          // guarded by mu
	claimed  bool              // guarded by mu
}

func (v *server) init() { v.info = map[string]string{} }

// monitor asks an idle server whether it is there, keeps the claim of the
// instance number, and reads INFO.
func (s *Store) monitor() {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	next := time.Now().Add(inspectEvery)
	for {
		select {
		case <-s.stop:
			return
		case <-beat.C:
		}
		if !s.node.breaker.Allow() {
			next = time.Time{} // as soon as it is back
			continue
		}
		s.beat()
		if time.Now().Before(next) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), jobTime)
		s.claimInstance(ctx)
		s.inspect(ctx)
		cancel()
		next = time.Now().Add(inspectEvery)
	}
}

// beat is the call that finds out about a dead server when nobody else calls.
// Two that fail in a row count as much as a row of failed calls.
func (s *Store) beat() {
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
		err := s.node.do(ctx, 1, func() error {
			return s.node.client.Do(ctx, s.node.client.B().Ping().Build()).Error()
		})
		cancel()
		if judge(err, true) != failing {
			return
		}
		if !s.node.breaker.Allow() {
			return
		}
	}
	s.node.breaker.Trip("it did not answer two heartbeats")
}

// claimInstance makes sure that no other process stamps with this one's number.
func (s *Store) claimInstance(ctx context.Context) {
	for range claimTries {
		node := s.opts.Clock.Node()
		res := instanceClaim.run(ctx, s.jobs, []string{s.opts.Space.Instance(node)},
			[]string{s.bootID, strconv.FormatInt(claimLife.Milliseconds(), 10)})
		n, err := res.AsInt64()
		s.server.mu.Lock()
		s.server.claimed = err == nil && n == 1
		s.server.mu.Unlock()
		if err != nil || n == 1 {
			return
		}
		// Far from the taken one: neighbours that look for a number do not collide.
		s.opts.Clock.SetNode(node*31 + 17)
	}
}

// inspect reads INFO and derives warnings.
func (s *Store) inspect(ctx context.Context) {
	text, err := s.jobs.Do(ctx, s.jobs.B().Info().Build()).ToString()
	v := &s.server
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.warnings = []string{"INFO is not available, so settings of redis cannot be checked: " + err.Error()}
		return
	}
	v.info = parseInfo(text)
	v.warnings = warnings(v.info)
	if !v.claimed {
		v.warnings = append(v.warnings, "no instance number could be claimed; writes of two instances may get the same version")
	}
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
	if info["loading"] == "1" {
		w = append(w, "redis is loading its data")
	}
	return w
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // absent is zero
	return n
}

// Health tells how the server is, from what is known.
func (s *Store) Health() store.Health {
	state, since, reason, openings := s.node.breaker.Snapshot()
	h := store.Health{
		Kind: "redis", Since: since, Problem: reason,
		InFlight: int(s.node.waiting.Load()), Reconnects: s.node.reconnects.Load(),
	}
	switch state {
	case breaker.Closed:
		h.State, h.Problem = store.Up, ""
	case breaker.HalfOpen:
		h.State = store.Probing
	case breaker.Open:
		h.State = store.Down
		if openings == 1 && reason != "" && len(s.info()) == 0 {
			h.State = store.Starting
		}
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	info := s.server.info
	h.Warnings = append(h.Warnings, s.server.warnings...)
	h.ServerVersion, h.Role = info["redis_version"], info["role"]
	h.UsedBytes, h.MaxBytes = number(info["used_memory"]), number(info["maxmemory"])
	h.Keys = keysOf(info, s.opts.DB)
	return h
}

func (s *Store) info() map[string]string {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.server.info
}

// keysOf reads "db0:keys=3,expires=2,avg_ttl=0".
func keysOf(info map[string]string, db int) int64 {
	first, _, _ := strings.Cut(info["db"+strconv.Itoa(db)], ",")
	return number(strings.TrimPrefix(first, "keys="))
}
