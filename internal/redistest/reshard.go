package redistest

import (
	"fmt"
	"strconv"
)

// moveBatch is how many keys one MIGRATE takes along.
const moveBatch = 100

// MoveSlots gives the slots low to high of one master to another, with their
// keys, as an operator reshards: clients may go on meanwhile. It returns when
// all nodes that run know it. After an error a slot may be left half moved.
//
// See https://redis.io/docs/latest/commands/cluster-setslot/
func (c *Cluster) MoveSlots(from, to *Server, low, high int) error {
	m, err := c.newMove(from, to)
	if err != nil {
		return fmt.Errorf("move slots: %w", err)
	}
	defer m.close()
	for slot := low; slot <= high; slot++ {
		if err := m.move(strconv.Itoa(slot)); err != nil {
			return fmt.Errorf("move slot %d: %w", slot, err)
		}
	}
	err = poll(joinTime, func() error {
		views, err := c.views()
		if err != nil {
			return err
		}
		return agree(views)
	})
	if err != nil {
		return fmt.Errorf("move slots: %w", err)
	}
	return nil
}

// move is a resharding under way, with a connection to each master.
type move struct {
	target       *Server
	fromID, toID string
	from, to     *conn
	others       []*conn
}

func (c *Cluster) newMove(from, to *Server) (*move, error) {
	v := c.newest()
	m := &move{target: to, fromID: v.id(from), toID: v.id(to)}
	for _, s := range c.Masters() {
		if !s.answers() {
			continue
		}
		conn, err := s.access().dial()
		if err != nil {
			m.close()
			return nil, err
		}
		switch s {
		case from:
			m.from = conn
		case to:
			m.to = conn
		default:
			m.others = append(m.others, conn)
		}
	}
	if m.from == nil || m.to == nil {
		m.close()
		return nil, fmt.Errorf("%s and %s are not two masters that run", from.Addr(), to.Addr())
	}
	return m, nil
}

func (m *move) close() {
	for _, c := range append(m.others, m.from, m.to) {
		if c != nil {
			c.close()
		}
	}
}

func (m *move) move(slot string) error {
	if _, err := m.to.do("CLUSTER", "SETSLOT", slot, "IMPORTING", m.fromID); err != nil {
		return err
	}
	if _, err := m.from.do("CLUSTER", "SETSLOT", slot, "MIGRATING", m.toID); err != nil {
		return err
	}
	if err := m.keys(slot); err != nil {
		return err
	}
	// The new owner first: there is then no moment without one.
	for _, c := range append([]*conn{m.to, m.from}, m.others...) {
		if _, err := c.do("CLUSTER", "SETSLOT", slot, "NODE", m.toID); err != nil {
			return err
		}
	}
	return nil
}

// keys moves the keys of a slot. No new ones come meanwhile: clients are sent
// to the new owner for keys that are not here.
func (m *move) keys(slot string) error {
	command := []string{"MIGRATE", host, strconv.Itoa(m.target.Port()), "", "0", strconv.FormatInt(replyTime.Milliseconds(), 10)}
	if password := m.target.access().password; password != "" {
		command = append(command, "AUTH", password)
	}
	command = append(command, "KEYS")
	for {
		keys, err := m.from.do("CLUSTER", "GETKEYSINSLOT", slot, strconv.Itoa(moveBatch))
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return nil
		}
		if _, err := m.from.do(append(command[:len(command):len(command)], keys...)...); err != nil {
			return err
		}
	}
}
