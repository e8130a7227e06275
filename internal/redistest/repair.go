package redistest

import (
	"errors"
	"slices"
	"strconv"
	"time"
)

// repairAfter is how long nodes may disagree about the owner of a slot, before it is
// told to them.
const repairAfter = 20 * time.Second

// repair gives each slot about which nodes disagree to the owner that it has in the
// newest view that has one, as an operator does (redis-cli --cluster fix). A slot that
// was moved right before its new master was killed stayed so once: its replica, the
// master after it, did not count it for its own, and the others did.
//
// See https://redis.io/docs/latest/commands/cluster-setslot/
func (c *Cluster) repair() error {
	views, err := c.views()
	if err != nil {
		return err
	}
	var failed []error
	for slot := range Slots {
		id, same := owner(views, slot)
		if same || id == "" {
			continue
		}
		for _, s := range c.Masters() {
			if !s.answers() {
				continue
			}
			if _, err := s.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", id); err != nil {
				failed = append(failed, err) // it still has keys of it
			}
		}
	}
	return errors.Join(failed...)
}

// owner returns the id of the node that has a slot by the newest of the views in which
// one has it, and whether it has in all.
func owner(views []view, slot int) (id string, same bool) {
	newest, owners := -1, make(map[string]bool)
	for _, v := range views {
		i := slices.IndexFunc(v, func(m member) bool { return m.owns(slot) })
		if i < 0 {
			owners[""] = true
			continue
		}
		owners[v[i].id] = true
		if v.epoch() > newest {
			id, newest = v[i].id, v.epoch()
		}
	}
	return id, len(owners) == 1
}
