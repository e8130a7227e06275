package main

import "testing"

// TestGood: an instance counts as settled only if nothing is left to be done.
func TestGood(t *testing.T) {
	well := health{reached: true, status: "healthy", store: "up"}
	for name, c := range map[string]struct {
		change func(*health)
		want   bool
	}{
		"healthy":              {func(*health) {}, true},
		"excused":              {func(h *health) { h.status, h.problems = "degraded", []string{"the journal is off: nothing is kept"} }, true},
		"not excused":          {func(h *health) { h.status, h.problems = "degraded", []string{"the store is down"} }, false},
		"not reached":          {func(h *health) { h.reached = false }, false},
		"degraded":             {func(h *health) { h.status = "degraded" }, false},
		"the store is down":    {func(h *health) { h.store = "down" }, false},
		"a part of it is down": {func(h *health) { h.store = "partial" }, false},
		"down, and excused": {func(h *health) {
			h.store, h.status, h.problems = "down", "degraded", []string{"redis had lost its data at …"}
		}, false},
		"no state":         {func(h *health) { h.store = "" }, false},
		"pending":          {func(h *health) { h.pending = 1 }, false},
		"it does not tell": {func(h *health) { h.pending = -1 }, true},
		"restoring":        {func(h *health) { h.restoring = 1 }, false},
	} {
		h := well
		if c.change(&h); h.good() != c.want {
			t.Errorf("%s: %+v: good is %v", name, h, h.good())
		}
	}
}
