package cli

import (
	"fmt"
	"io"
)

// reclaimStats is what this program reads of how the space of invalidated
// organisations is given back.
type reclaimStats struct {
	Enabled bool   `json:"enabled"`
	Queued  int64  `json:"queued"`
	Removed uint64 `json:"removed"`
	Looked  uint64 `json:"looked"`
	Scans   uint64 `json:"scans"`
	Dropped uint64 `json:"dropped"`
}

// showReclaim prints for people how space is given back, and nothing where it is off.
func showReclaim(w io.Writer, r reclaimStats) {
	if !r.Enabled {
		return
	}
	fmt.Fprintf(w, "reclaim %s keys of invalidated organisations removed, of %s looked at in %s scans\n", shown(r.Removed), shown(r.Looked), shown(r.Scans))
	fmt.Fprintf(w, "  %-9s  %s organisations\n", "waiting", grouped(r.Queued))
	if r.Dropped > 0 {
		fmt.Fprintf(w, "  %-9s  %s organisations, for which the queue had no place: what they took goes as lives end\n", "dropped", shown(r.Dropped))
	}
}
