package redistest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// watched is what one Sentinel says of a server or of another Sentinel, by the
// names of its fields.
type watched map[string]string

// ask returns what a Sentinel says of the master.
//
// See https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
func ask(sentinel *Server) (watched, error) {
	reply, err := sentinel.elements("SENTINEL", "MASTER", masterName)
	return newWatched(reply), err
}

// askReplicas returns what a Sentinel says of each replica, by port.
func askReplicas(sentinel *Server) (map[string]watched, error) {
	reply, err := sentinel.elements("SENTINEL", "REPLICAS", masterName)
	all := make(map[string]watched, len(reply))
	for _, one := range reply {
		w := newWatched(strings.Split(one, "\n"))
		all[w["port"]] = w
	}
	return all, err
}

func newWatched(elements []string) watched {
	w := watched{}
	for pair := range slices.Chunk(elements, 2) {
		w[pair[0]] = pair[len(pair)-1]
	}
	return w
}

// Master returns the server that the Sentinels now hold for the master, nil
// when none of them answers. While they do not agree, the Sentinel that has
// heard of the latest failover counts.
func (s *Sentinel) Master() *Server {
	var master *Server
	latest := -1
	for _, one := range s.sentinels {
		if !one.answers() {
			continue
		}
		w, err := ask(one)
		if err != nil {
			continue
		}
		if epoch, _ := strconv.Atoi(w["config-epoch"]); epoch > latest {
			master, latest = s.server(w["port"]), epoch
		}
	}
	return master
}

// server returns the one on a port, or nil.
func (s *Sentinel) server(port string) *Server {
	return first(slices.DeleteFunc(s.Servers(), func(one *Server) bool { return strconv.Itoa(one.Port()) != port }))
}

// Failover makes the Sentinels promote a replica (SENTINEL FAILOVER), and
// returns when all that run know the new master and the others follow it. The
// former master is told to follow without a chance to hand over what it has
// not yet replicated.
func (s *Sentinel) Failover() error {
	if err := s.failover(); err != nil {
		return fmt.Errorf("sentinel failover: %w", err)
	}
	return nil
}

func (s *Sentinel) failover() error {
	before := s.Master()
	i := slices.IndexFunc(s.sentinels, (*Server).answers)
	if i < 0 || before == nil {
		return errors.New("no sentinel answers")
	}
	// One that has just been started has not heard of the replicas yet.
	var refused error
	err := poll(joinTime, func() error {
		_, refused = s.sentinels[i].Do("SENTINEL", "FAILOVER", masterName)
		if refused != nil && strings.HasPrefix(refused.Error(), "NOGOODSLAVE") {
			return refused
		}
		return nil
	})
	if err = errors.Join(err, refused); err != nil {
		return err
	}
	err = poll(joinTime, func() error {
		if s.Master() == before {
			return fmt.Errorf("%s is still the master", before.Addr())
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.WaitReady(joinTime)
}

// WaitReady returns when all Sentinels that run hold the same server for the
// master, it is that, all other servers that run are its replicas in sync, and
// the Sentinels know them and each other. It returns an error when that is not
// so after timeout.
func (s *Sentinel) WaitReady(timeout time.Duration) error {
	s.hurry()
	if err := poll(timeout, s.check); err != nil {
		return fmt.Errorf("wait for the sentinels: %w", err)
	}
	return nil
}

// hurry shortens periods that are fixed in Sentinels: how often they tell each
// other what they know (2 s), ask servers for their roles (10 s), and how long
// they do nothing after a pause of their process (30 s). A Sentinel that has no
// such command is slower, not wrong.
func (s *Sentinel) hurry() {
	for _, one := range s.sentinels {
		if one.answers() {
			_, _ = one.Do("SENTINEL", "DEBUG", "PUBLISH-PERIOD", "200", "INFO-PERIOD", "1000", "TILT-PERIOD", "1000")
		}
	}
}

func (s *Sentinel) check() error {
	master := s.Master()
	if master == nil {
		return errors.New("there is no master")
	}
	for _, one := range s.sentinels {
		if !one.answers() {
			continue
		}
		if err := errors.Join(s.knows(one, master), s.knowsReplicas(one, master)); err != nil {
			return err
		}
	}
	if master.followers() < 0 {
		return fmt.Errorf("%s is not the master that it is held for", master.Addr())
	}
	for _, one := range s.servers.servers {
		if one == master || !one.answers() {
			continue
		}
		if err := one.inSyncWith(master); err != nil {
			return err
		}
	}
	return nil
}

// knows returns an error unless a Sentinel knows what there is to know.
func (s *Sentinel) knows(sentinel, master *Server) error {
	w, err := ask(sentinel)
	if err != nil {
		return err
	}
	want := watched{
		"port": strconv.Itoa(master.Port()), "flags": "master",
		"num-slaves":          strconv.Itoa(len(s.servers.servers) - 1),
		"num-other-sentinels": strconv.Itoa(len(s.sentinels) - 1),
	}
	return w.compare(sentinel, want)
}

// knowsReplicas returns an error unless a Sentinel holds each replica that runs
// for one that it can promote.
func (s *Sentinel) knowsReplicas(sentinel, master *Server) error {
	replicas, err := askReplicas(sentinel)
	if err != nil {
		return err
	}
	for _, one := range s.servers.servers {
		if one == master || !one.answers() {
			continue
		}
		w := replicas[strconv.Itoa(one.Port())]
		if err := w.compare(sentinel, watched{"flags": "slave", "master-link-status": "ok"}); err != nil {
			return err
		}
	}
	return nil
}

func (w watched) compare(sentinel *Server, want watched) error {
	for name, value := range want {
		if w[name] != value {
			return fmt.Errorf("the sentinel %s has %s = %q, not %q", sentinel.Addr(), name, w[name], value)
		}
	}
	return nil
}
