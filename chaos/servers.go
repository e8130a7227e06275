package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// The scenarios: how Redis is deployed.
const (
	standalone    = "standalone"     // persists nothing
	standaloneAOF = "standalone-aof" // keeps its data over a kill
	sentinel      = "sentinel"       // three Sentinels, two replicas
	cluster       = "cluster"        // three shards with a replica each
)

var scenarios = []string{standalone, standaloneAOF, sentinel, cluster}

// readyTime bounds how long Redis may take to be whole again after a fault.
const readyTime = time.Minute

// servers is Redis in one of the scenarios, and the way to it.
type servers struct {
	scenario string
	one      *redistest.Server
	watched  *redistest.Sentinel
	shards   *redistest.Cluster
	net      *proxies
}

func launchServers(scenario, dir string) (*servers, error) {
	s := &servers{scenario: scenario, net: newProxies()}
	var err error
	switch scenario {
	case standalone:
		s.one, err = redistest.Launch(dir)
	case standaloneAOF:
		s.one, err = redistest.Launch(dir, "--appendonly", "yes", "--appendfsync", "everysec")
	case sentinel:
		s.watched, err = redistest.LaunchSentinel(dir, redistest.SentinelOptions{})
	case cluster:
		s.shards, err = redistest.LaunchCluster(dir, redistest.ClusterOptions{})
	default:
		err = fmt.Errorf("unknown scenario %q: allowed are %s", scenario, strings.Join(scenarios, ", "))
	}
	return s, err
}

func (s *servers) close() {
	s.net.close()
	switch {
	case s.one != nil:
		s.one.Close()
	case s.watched != nil:
		s.watched.Close()
	case s.shards != nil:
		s.shards.Close()
	}
}

// env is how the process of an instance finds Redis: a standalone server through
// a proxy of its own, others by what they say of themselves.
func (s *servers) env(instance int) ([]string, error) {
	switch s.scenario {
	case sentinel:
		return []string{"REDIS_MODE=sentinel", "REDIS_ADDRS=" + strings.Join(s.watched.Addrs(), ","), "REDIS_SENTINEL_MASTER=" + s.watched.MasterName()}, nil
	case cluster:
		return []string{"REDIS_MODE=cluster", "REDIS_ADDRS=" + strings.Join(s.shards.Addrs(), ",")}, nil
	}
	p, err := s.net.to(instance, s.one.Addr())
	if err != nil {
		return nil, err
	}
	return []string{"REDIS_ADDRS=" + p.addr}, nil
}

// options is how the library finds Redis: in every scenario through proxies.
func (s *servers) options(instance int) *jackcache.RedisOptions {
	o := &jackcache.RedisOptions{Dial: func(ctx context.Context, addr string) (net.Conn, error) {
		return s.net.dial(ctx, instance, addr)
	}}
	switch s.scenario {
	case sentinel:
		o.Mode, o.Addrs, o.Sentinel.Master = jackcache.Sentinel, s.watched.Addrs(), s.watched.MasterName()
	case cluster:
		o.Mode, o.Addrs = jackcache.Cluster, s.shards.Addrs()
	default:
		o.Addrs = []string{s.one.Addr()}
	}
	return o
}

// all returns every server, Sentinels excluded.
func (s *servers) all() []*redistest.Server {
	switch s.scenario {
	case sentinel:
		return s.watched.Servers()
	case cluster:
		return s.shards.Nodes()
	}
	return []*redistest.Server{s.one}
}

// masters returns those that serve now.
func (s *servers) masters() []*redistest.Server {
	switch s.scenario {
	case sentinel:
		if m := s.watched.Master(); m != nil {
			return []*redistest.Server{m}
		}
		return nil
	case cluster:
		return s.shards.Masters()
	}
	return []*redistest.Server{s.one}
}

// replicas returns those of a master.
func (s *servers) replicas(master *redistest.Server) []*redistest.Server {
	switch s.scenario {
	case sentinel:
		var others []*redistest.Server
		for _, one := range s.watched.Servers() {
			if one != master {
				others = append(others, one)
			}
		}
		return others
	case cluster:
		if one := s.shards.ReplicaOf(master); one != nil {
			return []*redistest.Server{one}
		}
	}
	return nil
}

// empty kills a server and brings it back at once without its data.
func (s *servers) empty(one *redistest.Server, wait func()) error {
	one.Kill()
	files, err := filepath.Glob(filepath.Join(one.Dir(), "appendonlydir"))
	dumps, err2 := filepath.Glob(filepath.Join(one.Dir(), "*.rdb"))
	err = errors.Join(err, err2)
	for _, f := range append(files, dumps...) {
		err = errors.Join(err, os.RemoveAll(f))
	}
	wait()
	return errors.Join(err, one.Restart())
}

// heal ends whatever was done to Redis and the way to it, and waits until it is
// whole.
func (s *servers) heal() error {
	var errs []error
	for _, p := range s.net.of(-1) {
		p.clear()
		errs = append(errs, p.accept())
	}
	all := s.all()
	if s.watched != nil {
		all = append(all, s.watched.Sentinels()...)
	}
	for _, one := range all {
		if one.PID() == 0 {
			errs = append(errs, one.Restart())
		}
		one.Thaw()
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	switch s.scenario {
	case sentinel:
		return s.watched.WaitReady(readyTime)
	case cluster:
		return s.shards.WaitOK(readyTime)
	}
	return nil
}
