package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"

	"github.com/redis/rueidis"
)

// askedAtOnce is how many members of a Cluster are asked at a time for the
// slots: one may know less than the others.
const askedAtOnce = 3

// clusterFinder asks members of a Cluster for the slots.
//
// See https://redis.io/docs/latest/commands/cluster-slots/
type clusterFinder struct {
	*asker
	seeds   []string
	members []string // masters and replicas of the last answer
}

// slotRange is a range of slots and who serves it.
type slotRange struct {
	low, high int
	servers   []string // the master first
}

type clusterAnswer struct {
	epoch  int64
	ranges []slotRange
}

// find believes the member that has seen the latest election. Masters that
// answer are asked first, then any member, then the seeds.
func (f *clusterFinder) find(ctx context.Context, known []string) (found, error) {
	var errs []error
	for _, addrs := range [][]string{f.some(known), f.members, f.seeds} {
		if len(addrs) == 0 {
			continue
		}
		answers, err := askAll(ctx, f.asker, addrs, askSlots)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var best clusterAnswer
		for _, a := range answers {
			if best.ranges == nil || a.epoch > best.epoch {
				best = a
			}
		}
		return f.accept(best), nil
	}
	return found{}, fmt.Errorf("no member of the Cluster answers: %w", errors.Join(errs...))
}

// some chooses a few of the addresses by chance, and one that is not among
// them: a replica, which may know of its own promotion first.
func (f *clusterFinder) some(known []string) []string {
	if len(known) == 0 {
		return nil
	}
	chosen := make([]string, 0, askedAtOnce+1)
	for _, i := range rand.Perm(len(known))[:min(len(known), askedAtOnce)] {
		chosen = append(chosen, known[i])
	}
	if len(f.members) > 0 {
		chosen = append(chosen, f.members[rand.IntN(len(f.members))])
	}
	return chosen
}

func (f *clusterFinder) accept(a clusterAnswer) found {
	out := found{slots: new([slotCount]uint16)}
	index := make(map[string]uint16)
	members := make(map[string]bool)
	for _, r := range a.ranges {
		master := r.servers[0]
		if index[master] == 0 {
			out.masters = append(out.masters, master)
			index[master] = uint16(len(out.masters))
		}
		for slot := r.low; slot <= r.high; slot++ {
			out.slots[slot] = index[master]
		}
		for _, addr := range r.servers {
			members[addr] = true
		}
	}
	f.members = f.members[:0]
	for addr := range members {
		f.members = append(f.members, addr)
	}
	for _, addr := range f.seeds {
		members[addr] = true
	}
	f.keep(members)
	return out
}

// askSlots asks one member for the slots and for the epoch of its knowledge.
func askSlots(ctx context.Context, addr string, c rueidis.Client) (clusterAnswer, error) {
	rs := c.DoMulti(ctx, c.B().ClusterSlots().Build(), c.B().ClusterInfo().Build())
	rows, err := rs[0].ToArray()
	if err != nil {
		return clusterAnswer{}, fmt.Errorf("CLUSTER SLOTS: %w", err)
	}
	var a clusterAnswer
	if info, err := rs[1].ToString(); err == nil { // without it all members are believed alike
		a.epoch = number(parseInfo(info)["cluster_current_epoch"])
	}
	for _, row := range rows {
		r, err := parseRange(row, addr)
		if err != nil {
			return a, err
		}
		a.ranges = append(a.ranges, r)
	}
	slices.SortFunc(a.ranges, func(a, b slotRange) int { return a.low - b.low })
	if len(a.ranges) == 0 {
		return a, errors.New("it serves no slots and knows nobody who does")
	}
	return a, nil
}

// parseRange reads low, high and the servers: each a host, a port and more. A
// server without a host is at the one that was asked.
func parseRange(row rueidis.RedisMessage, asked string) (slotRange, error) {
	bad := fmt.Errorf("CLUSTER SLOTS has a row that is not understood: %s", row.String())
	parts, err := row.ToArray()
	if err != nil || len(parts) < 3 {
		return slotRange{}, bad
	}
	low, err1 := parts[0].AsInt64()
	high, err2 := parts[1].AsInt64()
	if err1 != nil || err2 != nil || low < 0 || high >= slotCount || low > high {
		return slotRange{}, bad
	}
	r := slotRange{low: int(low), high: int(high)}
	for i, p := range parts[2:] {
		server, err := p.ToArray()
		if err != nil || len(server) < 2 {
			return r, bad
		}
		host, _ := server[0].ToString() // nil: there is none
		if host == "" {
			host, _, _ = net.SplitHostPort(asked)
		}
		if host == "?" && i > 0 {
			continue // a replica whose name has not got about yet
		}
		if host == "?" {
			return r, fmt.Errorf("CLUSTER SLOTS names no host for slots %d to %d: set cluster-announce-hostname", low, high)
		}
		port, err := server[1].AsInt64()
		if err != nil || port < 1 || port > math.MaxUint16 {
			return r, bad
		}
		r.servers = append(r.servers, net.JoinHostPort(host, strconv.FormatInt(port, 10)))
	}
	return r, nil
}
