package redistest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// failoverTime is how long a master may take to bring a replica up to date
// before it hands over.
const failoverTime = 10 * time.Second

// ReplicatedOptions are those of a master with replicas.
type ReplicatedOptions struct {
	Replicas int // 0 means none
	Security Security
	// Args are added to the options of each server.
	Args []string
}

func (o ReplicatedOptions) setup() setup {
	args := append(o.Security.args(), replication()...)
	return setup{args: append(args, o.Args...), tls: o.Security.client(), file: true}
}

// replication returns options that bring replicas in sync at once, and give
// them something to acknowledge (see streams).
func replication() []string {
	return []string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}
}

// Replicated is a master with replicas. Its methods ask the servers each time,
// and are safe for concurrent use.
//
// The servers keep their roles in files: each comes back from a Restart as
// what it was, until something has changed its role meanwhile.
type Replicated struct {
	servers []*Server
}

// StartReplicated runs a master with n replicas in a directory of the test
// until the test ends. The replicas are in sync when it returns.
func StartReplicated(t testing.TB, n int, args ...string) *Replicated {
	t.Helper()
	r, err := LaunchReplicated(t.TempDir(), ReplicatedOptions{Replicas: n, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// LaunchReplicated is StartReplicated without a test. The caller owns dir and
// calls Close.
func LaunchReplicated(dir string, o ReplicatedOptions) (*Replicated, error) {
	servers, err := launchAll(dir, "server", 1+max(o.Replicas, 0), o.setup())
	if err != nil {
		return nil, fmt.Errorf("start a master with replicas: %w", err)
	}
	r := &Replicated{servers: servers}
	if err := r.follow(servers[0]); err != nil {
		r.Close()
		return nil, fmt.Errorf("start a master with replicas: %w", err)
	}
	return r, nil
}

// follow makes every other server that answers a replica of master, lets them
// write that down, and waits until they are in sync.
func (r *Replicated) follow(master *Server) error {
	for _, s := range r.servers {
		if !s.answers() {
			continue
		}
		if s != master {
			if _, err := s.Do("REPLICAOF", host, strconv.Itoa(master.Port())); err != nil {
				return err
			}
		}
		if _, err := s.Do("CONFIG", "REWRITE"); err != nil {
			return err
		}
	}
	return r.WaitReady(startTime)
}

// WaitReady returns when one server that runs is the master and all others
// that run are its replicas, in sync. It returns an error when that is not so
// after timeout.
func (r *Replicated) WaitReady(timeout time.Duration) error {
	if err := poll(timeout, r.check); err != nil {
		return fmt.Errorf("wait for the replicas: %w", err)
	}
	return nil
}

func (r *Replicated) check() error {
	master := r.Master()
	if master == nil {
		return errors.New("there is no master")
	}
	for _, s := range r.servers {
		if s == master || !s.answers() {
			continue
		}
		if err := s.inSyncWith(master); err != nil {
			return err
		}
	}
	return nil
}

// Close ends all servers.
func (r *Replicated) Close() { closeAll(r.servers) }

// Servers returns all servers, those that do not run included.
func (r *Replicated) Servers() []*Server { return slices.Clone(r.servers) }

// Master returns the server that says that it is the master, nil when none
// does. Of two, after a failover, it is the one with more replicas.
func (r *Replicated) Master() *Server {
	var master *Server
	most := -1
	for _, s := range r.servers {
		if n := s.followers(); n > most {
			master, most = s, n
		}
	}
	return master
}

// Promote makes a replica the master without loss (FAILOVER on the master),
// and the others its replicas, and returns when they are in sync with it.
func (r *Replicated) Promote(s *Server) error {
	if err := r.promote(s); err != nil {
		return fmt.Errorf("promote %s: %w", s.Addr(), err)
	}
	return nil
}

func (r *Replicated) promote(s *Server) error {
	master := r.Master()
	if master == nil {
		return errors.New("there is no master")
	}
	timeout := strconv.FormatInt(failoverTime.Milliseconds(), 10)
	if _, err := master.Do("FAILOVER", "TO", host, strconv.Itoa(s.Port()), "TIMEOUT", timeout); err != nil {
		return err
	}
	// The former master refuses to follow as long as it hands over.
	err := poll(2*failoverTime, func() error { return master.inSyncWith(s) })
	if err != nil {
		return err
	}
	return r.follow(s)
}

// followers returns how many replicas a master has, -1 when the server is no
// master or does not answer.
func (s *Server) followers() int {
	if !s.answers() {
		return -1
	}
	info, err := s.Do("INFO", "replication")
	if err != nil || field(info, "role") != "master" {
		return -1
	}
	n, _ := strconv.Atoi(field(info, "connected_slaves"))
	return n
}

// inSyncWith returns an error unless the server is a replica of master that
// has all that master has.
func (s *Server) inSyncWith(master *Server) error {
	info, err := s.Do("INFO", "replication")
	if err != nil {
		return err
	}
	role := strings.Join([]string{field(info, "role"), field(info, "master_port"), field(info, "master_link_status")}, " ")
	if want := "slave " + strconv.Itoa(master.Port()) + " up"; role != want {
		return fmt.Errorf("%s is %q, not %q", s.Addr(), role, want)
	}
	if info, err = master.Do("INFO", "replication"); err != nil {
		return err
	}
	if !streams(info, s.Port()) {
		return fmt.Errorf("%s has not yet acknowledged anything to its master", s.Addr())
	}
	return nil
}

// streams tells, from a master's INFO replication, whether it sends its writes
// to the replica on a port. After a full synchronisation it holds them back
// until the replica has first acknowledged, up to a second later, though both
// say that they are connected: a failover before would lose them.
func streams(info string, port int) bool {
	of := "port=" + strconv.Itoa(port) + ",state=online,offset="
	_, rest, ok := strings.Cut(info, of)
	return ok && !strings.HasPrefix(rest, "0,")
}
