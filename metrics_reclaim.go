package jackcache

// reclaimMetrics tell how the space of invalidated organisations is given back.
// There are none where that is off.
var reclaimMetrics = []instrument{
	{"jackcache.reclaim.queued", "{organisation}", "Invalidated organisations of which the space is not given back yet.", false, ofReclaim(func(r ReclaimStats) float64 { return float64(r.Queued) })},
	{"jackcache.reclaim.scans", "{scan}", "Scans of Redis for what they took.", true, ofReclaim(func(r ReclaimStats) float64 { return float64(r.Scans) })},
	{"jackcache.reclaim.looked", "{key}", "About how many keys were looked at.", true, ofReclaim(func(r ReclaimStats) float64 { return float64(r.Looked) })},
	{"jackcache.reclaim.removed", "{key}", "Keys that went.", true, ofReclaim(func(r ReclaimStats) float64 { return float64(r.Removed) })},
	{"jackcache.reclaim.dropped", "{organisation}", "Organisations for which there was no place in the queue.", true, ofReclaim(func(r ReclaimStats) float64 { return float64(r.Dropped) })},
}

// ofReclaim tells one value where space is given back.
func ofReclaim(value func(ReclaimStats) float64) func(*reading, say) {
	return func(r *reading, say say) {
		if r.stats.Reclaim.Enabled {
			say(value(r.stats.Reclaim))
		}
	}
}
