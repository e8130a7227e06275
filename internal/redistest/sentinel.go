package redistest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

const masterName = "jack"

// SentinelOptions are those of a master with replicas and Sentinels.
type SentinelOptions struct {
	Sentinels int // 0 means 3; most of them make a quorum
	Replicas  int // 0 means 2

	// DownAfter is how long the master may be silent before a Sentinel holds
	// it for down: down-after-milliseconds. 0 means 500 ms, and 2 s where the
	// servers have TLS: a Sentinel then sees some replies only with the next.
	DownAfter time.Duration
	// FailoverTimeout is failover-timeout: among other things, half of the
	// time between two attempts. 0 means 3 s.
	FailoverTimeout time.Duration

	Security Security // of the servers
	// SentinelSecurity is that of the Sentinels: who may ask them, and how.
	SentinelSecurity Security
	// Args are added to the options of each server, not of Sentinels.
	Args []string
}

func (o SentinelOptions) withDefaults() SentinelOptions {
	if o.Sentinels == 0 {
		o.Sentinels = 3
	}
	if o.Replicas == 0 {
		o.Replicas = 2
	}
	if o.DownAfter == 0 {
		o.DownAfter = 500 * time.Millisecond
		if o.Security.TLS != nil {
			o.DownAfter = 2 * time.Second
		}
	}
	if o.FailoverTimeout == 0 {
		o.FailoverTimeout = 3 * time.Second
	}
	return o
}

// Sentinel is a master with replicas and the Sentinels that watch it. A
// Sentinel too is a Server: Kill, Freeze, Restart and Do work. Its methods ask
// each time, and are safe for concurrent use.
type Sentinel struct {
	servers   *Replicated
	sentinels []*Server
}

// StartSentinel runs servers and Sentinels in a directory of the test until
// the test ends. The Sentinels know all servers and each other when it
// returns.
func StartSentinel(t testing.TB, o SentinelOptions) *Sentinel {
	t.Helper()
	s, err := LaunchSentinel(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// LaunchSentinel is StartSentinel without a test. The caller owns dir and
// calls Close.
func LaunchSentinel(dir string, o SentinelOptions) (*Sentinel, error) {
	o = o.withDefaults()
	servers, err := LaunchReplicated(dir, ReplicatedOptions{Replicas: o.Replicas, Security: o.Security, Args: o.Args})
	if err != nil {
		return nil, err
	}
	s := &Sentinel{servers: servers}
	if err := s.watch(dir, o); err != nil {
		s.Close()
		return nil, fmt.Errorf("start sentinels: %w", err)
	}
	return s, nil
}

// watch starts the Sentinels, one after the other: some need a port more,
// which is not the same for two.
func (s *Sentinel) watch(dir string, o SentinelOptions) error {
	for i := range o.Sentinels {
		own := filepath.Join(dir, "sentinel"+strconv.Itoa(i))
		how, err := s.setup(own, o)
		if err != nil {
			return err
		}
		one, err := launch(own, how)
		if err != nil {
			return err
		}
		s.sentinels = append(s.sentinels, one)
	}
	return s.WaitReady(startTime)
}

func (s *Sentinel) setup(dir string, o SentinelOptions) (setup, error) {
	sec, err := sentinelArgs(dir, o)
	if err != nil {
		return setup{}, err
	}
	master := strconv.Itoa(s.servers.servers[0].Port())
	args := append(sec,
		"--sentinel", "resolve-hostnames", "no",
		"--sentinel", "monitor", masterName, host, master, strconv.Itoa(o.Sentinels/2+1),
		"--sentinel", "down-after-milliseconds", masterName, strconv.FormatInt(o.DownAfter.Milliseconds(), 10),
		"--sentinel", "failover-timeout", masterName, strconv.FormatInt(o.FailoverTimeout.Milliseconds(), 10),
		"--sentinel", "parallel-syncs", masterName, "1")
	if o.Security.Password != "" {
		args = append(args, "--sentinel", "auth-pass", masterName, o.Security.Password)
	}
	if o.SentinelSecurity.Password != "" {
		args = append(args, "--sentinel", "sentinel-pass", o.SentinelSecurity.Password)
	}
	return setup{args: args, tls: o.SentinelSecurity.client(), file: true, sentinel: true}, nil
}

// sentinelArgs returns the options for users and TLS of a Sentinel. With TLS a
// Sentinel reaches servers and other Sentinels alike (tls-replication); where
// only the servers or only the Sentinels have it, a Sentinel listens for the
// other Sentinels on a second port.
func sentinelArgs(dir string, o SentinelOptions) ([]string, error) {
	args := o.SentinelSecurity.users()
	own, servers := o.SentinelSecurity.TLS, o.Security.TLS
	if own == nil && servers == nil {
		return args, nil
	}
	both, err := both(dir, own, servers)
	if err != nil {
		return nil, err
	}
	args = append(append(args, both.args()...), "--tls-auth-clients", o.SentinelSecurity.authClients())
	if servers != nil {
		args = append(args, "--tls-replication", "yes")
	}
	if own != nil && servers != nil {
		return args, nil
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	second := "--port"
	if own == nil {
		second = "--tls-port"
	}
	return append(args, second, strconv.Itoa(port)), nil
}

// both returns what a Sentinel needs that has certificates of its own and
// those of the servers: it trusts both, and is a client of the servers. Either
// may be nil.
func both(dir string, own, servers *Certificates) (*Certificates, error) {
	switch {
	case servers == nil, own == servers:
		return own, nil
	case own == nil:
		return servers, nil
	}
	a, err1 := os.ReadFile(own.CAFile)
	b, err2 := os.ReadFile(servers.CAFile)
	both := *own
	both.CAFile = filepath.Join(dir, "both.crt")
	both.ClientCertFile, both.ClientKeyFile = servers.ClientCertFile, servers.ClientKeyFile
	if err := errors.Join(err1, err2, os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	return &both, os.WriteFile(both.CAFile, append(a, b...), 0o600)
}

// Close ends all servers and Sentinels.
func (s *Sentinel) Close() {
	closeAll(s.sentinels)
	s.servers.Close()
}

// MasterName returns the name by which the Sentinels know the master.
func (s *Sentinel) MasterName() string { return masterName }

// Addrs returns the addresses of the Sentinels.
func (s *Sentinel) Addrs() []string { return addrs(s.sentinels) }

// Sentinels returns all Sentinels, those that do not run included.
func (s *Sentinel) Sentinels() []*Server { return slices.Clone(s.sentinels) }

// Servers returns the master and the replicas, those that do not run included.
func (s *Sentinel) Servers() []*Server { return s.servers.Servers() }
