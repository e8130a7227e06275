package check

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
)

// storeShare is the part of JACKCACHE_BUDGET that the store has.
const storeShare = 0.72

// advice is what should be changed although it may work today: what the store
// says of itself, and settings that do not go together.
func (s *session) advice() []string {
	list := []string{}
	if s.b != nil {
		h := s.a.Cache.Health()
		list = append(list, h.Problems...)
		list = append(list, serversAdvice(h.Store.Nodes)...)
		if d := h.Store.ClockOffset.Abs(); d > time.Second {
			list = append(list, fmt.Sprintf("the clock of this host and that of the store differ by %s: keep both with NTP", shown(d)))
		}
	}
	if s.o.Cache.Redis != nil {
		list = append(list, s.redisAdvice()...)
	} else if s.o.Cache.Production {
		list = append(list, "the embedded store belongs to one server: with two, each has a state of its own; set REDIS_HOST to share one")
	}
	if dir := existing(s.dataDir()); inMemory(dir) {
		list = append(list, fmt.Sprintf("JACKCACHE_DATA_DIR (%s) is in memory (tmpfs): what is kept there is gone when this host restarts; put it on a disk", absolute(dir)))
	}
	return list
}

// serversAdvice is about what the servers were found to offer, each line with all
// to which it applies.
func serversAdvice(nodes []jackcache.NodeHealth) []string {
	var lines []string
	servers := make(map[string][]string)
	for _, n := range nodes {
		for _, line := range serverAdvice(n) {
			if servers[line] == nil {
				lines = append(lines, line)
			}
			servers[line] = append(servers[line], n.Addr)
		}
	}
	for i, line := range lines {
		lines[i] = "redis " + strings.Join(servers[line], ", ") + " " + line
	}
	return lines
}

func serverAdvice(n jackcache.NodeHealth) []string {
	if n.State != "up" {
		return nil // the problems say more
	}
	var list []string
	switch {
	case n.Persistence == "none" && n.Replicas == 0:
		list = append(list, "persists nothing and has no replica: what it holds is gone when it restarts; set appendonly yes, or add replicas")
	case n.Persistence == "none":
		list = append(list, "persists nothing: where it restarts before a replica takes its place, the replicas become as empty as it is; set appendonly yes")
	case n.Persistence == "rdb":
		list = append(list, "persists by snapshots alone: what came after the last one is gone when it is killed; set appendonly yes")
	}
	if n.MaxBytes == 0 && n.Version != "" {
		list = append(list, "has no maxmemory: it grows until its host ends it; set maxmemory, so that writes are refused with an error instead")
	}
	return list
}

func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

func (s *session) redisAdvice() []string {
	r := s.o.Cache.Redis
	var list []string
	away := ""
	for _, addr := range r.Addrs {
		if !local(addr) {
			away = addr
		}
	}
	if away != "" && r.TLS == nil && r.CurrentTLS == nil {
		list = append(list, fmt.Sprintf("what goes to %s can be read on the way, passwords too: set REDIS_TLS=on, or use a network that encrypts", away))
	}
	switch {
	case r.Credentials == nil && r.Password == "" && away != "":
		list = append(list, "the server wants no password: whoever reaches it reads and writes everything; set one, and REDIS_PASSWORD")
	case r.Credentials == nil && r.Username == "" && s.o.Cache.Production:
		list = append(list, "jackcache uses the default user, which may do everything: make one with the rights that 'jackcache acl' prints, and set REDIS_USERNAME")
	}
	budget := s.o.Cache.Budget
	if budget == 0 {
		budget = jackcache.DefaultBudget
	}
	if p := s.report.Performance; p != nil {
		if p99 := fromMillis(max(p.GetP99, p.SetP99)); p99 > time.Duration(storeShare*float64(budget)) {
			list = append(list, fmt.Sprintf("one call in a hundred takes %s, and JACKCACHE_BUDGET gives the store %s: such calls fail; bring the server nearer, or raise it", shown(p99), shown(time.Duration(storeShare*float64(budget)))))
		}
	}
	return list
}

// local reports whether an address is on this host.
func local(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}
