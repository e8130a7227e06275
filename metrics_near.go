package jackcache

// nearMetrics tell of the copies in this process. There are none where no copies
// are kept.
var nearMetrics = []instrument{
	{"jackcache.near.entries", "{entry}", "Copies that are kept.", false, ofNear(func(n NearStats) float64 { return float64(n.Entries) })},
	{"jackcache.near.bytes", "By", "What the copies take, with their keys and what keeping them costs.", false, ofNear(func(n NearStats) float64 { return float64(n.Bytes) })},
	{"jackcache.near.limit", "By", "What the copies may take.", false, ofNear(func(n NearStats) float64 { return float64(n.MaxBytes) })},
	{"jackcache.near.organisations", "{organisation}", "Organisations that have copies.", false, ofNear(func(n NearStats) float64 { return float64(n.Orgs) })},
	{"jackcache.near.looks", "{look}", "Looks for a copy, by what was found.", true, tellLooks},
	{"jackcache.near.fills", "{entry}", "Copies that were kept.", true, ofNear(func(n NearStats) float64 { return float64(n.Fills) })},
	{"jackcache.near.refused", "{entry}", "Copies that were not kept, by reason.", true, tellRefused},
	{"jackcache.near.evictions", "{entry}", "Copies that went for want of room.", true, ofNear(func(n NearStats) float64 { return float64(n.Evictions) })},
	{"jackcache.near.freshness", "s", "How old the proof may be by which a copy counts as current.", false, tellFreshness},
	{"jackcache.near.proven", "", "1: copies of what the master has may be given.", false, tellProven},
	{"jackcache.near.proof.age", "s", "How old the proof is that changes on the master are heard of.", false, tellProofs},
}

// ofNear tells one value where copies are kept.
func ofNear(value func(NearStats) float64) func(*reading, say) {
	return func(r *reading, say say) {
		if r.stats.Near.Enabled {
			say(value(r.stats.Near))
		}
	}
}

func tellLooks(r *reading, say say) {
	if n := r.stats.Near; n.Enabled {
		say(float64(n.Fresh), "result", "fresh")
		say(float64(n.Stale), "result", "stale")
		say(float64(n.Misses), "result", "miss")
	}
}

func tellRefused(r *reading, say say) {
	if !r.stats.Near.Enabled {
		return
	}
	n := r.stats.Near.RefusedFor
	say(float64(n.Uncovered), "reason", "uncovered")
	say(float64(n.Told), "reason", "told")
	say(float64(n.OrgTold), "reason", "orgTold")
	say(float64(n.Broken), "reason", "broken")
	say(float64(n.Outdated), "reason", "outdated")
	say(float64(n.Expired), "reason", "expired")
	say(float64(n.TooLarge), "reason", "tooLarge")
	say(float64(n.NoShare), "reason", "noShare")
}

func tellFreshness(r *reading, say say) {
	if n := r.health.Near; n.Enabled {
		say(n.Freshness.Seconds())
	}
}

func tellProven(r *reading, say say) {
	if n := r.health.Near; n.Enabled {
		for _, node := range r.health.Store.Nodes {
			say(whether(node.Near.fresh(n.Freshness)), "node", node.Addr)
		}
	}
}

// tellProofs tells nothing of a master of which nothing is proven.
func tellProofs(r *reading, say say) {
	if r.health.Near.Enabled {
		for _, node := range r.health.Store.Nodes {
			if node.Near.Proven {
				say(node.Near.Age.Seconds(), "node", node.Addr)
			}
		}
	}
}
