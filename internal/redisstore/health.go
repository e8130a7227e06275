package redisstore

import (
	"fmt"
	"strings"
	"time"

	"github.com/jackcache/jackcache/internal/store"
)

// Health tells how the deployment is, from what is known.
func (s *Store) Health() store.Health {
	l := s.layout.Load()
	h := store.Health{Kind: "redis", State: store.Up, Since: s.begun, Reconnects: s.reconnects.Load()}
	h.Suspected, h.Confirmed = s.beats.suspected.Load(), s.beats.confirmed.Load()
	s.mu.Lock()
	problem, since, claimed := s.problem, s.since, s.claimed
	s.mu.Unlock()
	if len(l.masters) == 0 {
		h.State, h.Problem = store.Starting, problem
		return h
	}
	counts := make(map[store.State]int)
	for _, n := range l.masters {
		add(&h, n.health(), counts)
	}
	h.State = overall(counts, len(l.masters))
	if missing := slotCount - l.covered(); missing > 0 {
		h.Problem = join(h.Problem, fmt.Sprintf("%d of %d slots are served by nobody", missing, slotCount))
		if h.State == store.Up {
			h.State = store.Partial
		}
	}
	if problem != "" {
		h.Warnings = append(h.Warnings, "the masters of redis cannot be found since "+since.UTC().Format(time.RFC3339)+
			", so a failover would not be noticed: "+problem)
	}
	if h.State == store.Up && !claimed {
		h.Warnings = append(h.Warnings, "no instance number could be claimed; writes of two instances may get the same version")
	}
	return s.identified(h)
}

// add sums a node's health up with that of the others.
func add(h *store.Health, n store.NodeHealth, counts map[store.State]int) {
	h.Nodes = append(h.Nodes, n)
	counts[n.State]++
	if n.State != store.Up {
		h.Problem = join(h.Problem, n.Addr+": "+n.Problem)
	}
	if n.Since.After(h.Since) {
		h.Since = n.Since
	}
	for _, w := range n.Warnings {
		if len(h.Nodes) > 1 || n.Addr == "" {
			w = n.Addr + ": " + w
		}
		h.Warnings = append(h.Warnings, w)
	}
	if h.ServerVersion == "" || n.State == store.Up {
		h.ServerVersion, h.Role = n.Offers.Version, n.Offers.Role
	}
	h.UsedBytes += n.UsedBytes
	h.MaxBytes += n.MaxBytes
	h.Keys += n.Keys
	h.InFlight += n.InFlight
}

// overall is the state of a deployment of n masters.
func overall(counts map[store.State]int, n int) store.State {
	switch {
	case counts[store.Up] == n:
		return store.Up
	case counts[store.Up] > 0:
		return store.Partial
	case counts[store.Starting] == n:
		return store.Starting
	case counts[store.Probing] > 0:
		return store.Probing
	}
	return store.Down
}

func join(a, b string) string { return strings.TrimPrefix(a+"; "+b, "; ") }
