package redistest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Slots is the number of slots of a Cluster.
const Slots = 16384

// Slot returns the slot of a key: CRC16 (XMODEM) of it, or of the part in its
// first pair of braces.
//
// See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
func Slot(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
	}
	return int(crc) % Slots
}

// member is a line of CLUSTER NODES.
type member struct {
	id, addr, master string
	flags            []string
	epoch            int
	slots            []slotRange
}

type slotRange struct{ low, high int }

func (m member) has(flag string) bool { return slices.Contains(m.flags, flag) }

func (m member) owns(slot int) bool {
	return slices.ContainsFunc(m.slots, func(r slotRange) bool { return r.low <= slot && slot <= r.high })
}

// view is what one node knows of the Cluster, in the order of ids.
type view []member

// parseView reads the reply of CLUSTER NODES.
//
// See https://redis.io/docs/latest/commands/cluster-nodes/
func parseView(reply string) (view, error) {
	var v view
	for line := range strings.Lines(reply) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("CLUSTER NODES has the line %q", line)
		}
		addr, _, _ := strings.Cut(f[1], "@")
		m := member{id: f[0], addr: addr, flags: strings.Split(f[2], ","), master: f[3]}
		m.epoch, _ = strconv.Atoi(f[6])
		for _, r := range f[8:] {
			if strings.HasPrefix(r, "[") {
				continue // a slot on its way
			}
			low, high, ok := strings.Cut(r, "-")
			if !ok {
				high = low
			}
			l, err1 := strconv.Atoi(low)
			h, err2 := strconv.Atoi(high)
			if err := errors.Join(err1, err2); err != nil {
				return nil, fmt.Errorf("CLUSTER NODES has the slots %q: %w", r, err)
			}
			m.slots = append(m.slots, slotRange{low: l, high: h})
		}
		v = append(v, m)
	}
	slices.SortFunc(v, func(a, b member) int { return strings.Compare(a.id, b.id) })
	return v, nil
}

func (v view) member(s *Server) *member {
	for i := range v {
		if v[i].addr == s.Addr() {
			return &v[i]
		}
	}
	return nil
}

// id returns the id of a node, or nothing.
func (v view) id(s *Server) string {
	if m := v.member(s); m != nil {
		return m.id
	}
	return ""
}

// epoch is higher in the view of a node that knows of a later failover.
func (v view) epoch() int {
	highest := 0
	for _, m := range v {
		highest = max(highest, m.epoch)
	}
	return highest
}

// layout is the same for two nodes that agree who serves what.
func (v view) layout() string {
	var b strings.Builder
	for _, m := range v {
		fmt.Fprintln(&b, m.id, m.addr, m.has("master"), m.master, m.slots)
	}
	return b.String()
}

// views asks all nodes that answer, at once.
func (c *Cluster) views() ([]view, error) {
	nodes := c.Nodes()
	views := make([]view, len(nodes))
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, s := range nodes {
		if !s.answers() {
			continue
		}
		wg.Go(func() {
			reply, err := s.Do("CLUSTER", "NODES")
			if err == nil {
				views[i], err = parseView(reply)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	views = slices.DeleteFunc(views, func(v view) bool { return v == nil })
	return views, errors.Join(errs...)
}

// newest returns the view of the node that knows most, nil when none answers.
func (c *Cluster) newest() view {
	views, _ := c.views() // a node that fails has no view
	var newest view
	for _, v := range views {
		if newest == nil || v.epoch() > newest.epoch() {
			newest = v
		}
	}
	return newest
}

// find returns the nodes for which the newest view has is.
func (c *Cluster) find(is func(member) bool) []*Server {
	var found []*Server
	v := c.newest()
	for _, s := range c.Nodes() {
		if m := v.member(s); m != nil && is(*m) {
			found = append(found, s)
		}
	}
	return found
}

// agree returns an error unless all views have one layout.
func agree(views []view) error {
	for _, v := range views[min(1, len(views)):] {
		if got, want := v.layout(), views[0].layout(); got != want {
			return fmt.Errorf("nodes do not agree:\n%sand\n%s", want, got)
		}
	}
	return nil
}

// complete returns an error unless every node that answers knows all nodes,
// and holds those that answer for alive.
func (c *Cluster) complete(views []view) error {
	if len(views) == 0 {
		return errors.New("no node answers")
	}
	nodes := c.Nodes()
	for _, v := range views {
		if len(v) != len(nodes) {
			return fmt.Errorf("a node knows %d nodes, not %d", len(v), len(nodes))
		}
		for _, s := range nodes {
			m := v.member(s)
			if m == nil {
				return fmt.Errorf("a node does not know %s", s.Addr())
			}
			if s.answers() && (m.has("handshake") || m.has("fail") || m.has("fail?")) {
				return fmt.Errorf("a node has %s as %v", s.Addr(), m.flags)
			}
		}
	}
	return nil
}

// check is WaitOK, now.
func (c *Cluster) check() error {
	views, err := c.views()
	if err != nil {
		return err
	}
	if err := errors.Join(c.complete(views), agree(views)); err != nil {
		return err
	}
	if err := c.covered(views[0]); err != nil {
		return err
	}
	for _, s := range c.Nodes() {
		if err := s.inService(); err != nil {
			return err
		}
		if master := c.leader(views[0], s); master != nil && s.answers() {
			if err := s.inSyncWith(master); err != nil {
				return err
			}
		}
	}
	return nil
}

// leader returns the master of a replica, nil for a master.
func (c *Cluster) leader(v view, replica *Server) *Server {
	m := v.member(replica)
	for _, s := range c.Nodes() {
		if m.master == v.id(s) {
			return s
		}
	}
	return nil
}

// covered returns an error unless each slot has an owner that answers.
func (c *Cluster) covered(v view) error {
	served := 0
	for _, s := range c.Nodes() {
		if !s.answers() {
			continue
		}
		for _, r := range v.member(s).slots {
			served += r.high - r.low + 1
		}
	}
	if served != Slots {
		return fmt.Errorf("%d of %d slots are served", served, Slots)
	}
	return nil
}

// inService returns an error when a node runs that does not serve yet.
func (s *Server) inService() error {
	if !s.answers() {
		return nil
	}
	info, err := s.Do("CLUSTER", "INFO")
	if err != nil {
		return err
	}
	if state := field(info, "cluster_state"); state != "ok" {
		return fmt.Errorf("%s has the state %q", s.Addr(), state)
	}
	return nil
}
