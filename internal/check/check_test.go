package check_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/check"
	"github.com/jackcache/jackcache/internal/redistest"
)

// deployment is what the check is run against.
type deployment struct {
	options jackcache.Options
	servers []*redistest.Server // every one that may have keys
}

// deployments are those that the check must find well.
var deployments = []struct {
	name  string
	start func(t *testing.T) deployment
}{
	{"embedded", func(t *testing.T) deployment {
		return deployment{options: jackcache.Options{DataDir: t.TempDir()}}
	}},
	{"redis", func(t *testing.T) deployment { return single(redistest.Start(t)) }},
	{"redis with a password, in production", func(t *testing.T) deployment {
		d := single(redistest.Start(t, "--requirepass", secret))
		d.options.Redis.Password, d.options.Production = secret, true
		return d
	}},
	{"redis with a user who has the rights of jackcache acl, in another database", func(t *testing.T) deployment {
		server := redistest.Start(t)
		d := single(server)
		d.options.Redis.Username, d.options.Redis.Password, d.options.Redis.DB = user, secret, 3
		setUser(t, server, d.rights(t).Servers...)
		return d
	}},
	{"redis with TLS, client certificates and a user of an access list", func(t *testing.T) deployment {
		sec := secured(t)
		d := single(redistest.StartSecure(t, sec))
		d.access(sec)
		return d
	}},
	{"sentinel, two replicas, with TLS and users who have the rights of jackcache acl", func(t *testing.T) deployment {
		sec, of := secured(t), secured(t)
		s := redistest.StartSentinel(t, redistest.SentinelOptions{Security: sec, SentinelSecurity: of})
		d := single(s.Master())
		d.access(sec)
		d.options.Redis.Mode, d.options.Redis.Addrs = jackcache.Sentinel, s.Addrs()
		d.options.Redis.Sentinel.Master = s.MasterName()
		for _, server := range s.Servers() {
			setUser(t, server, d.rights(t).Servers...)
		}
		for _, server := range s.Sentinels() {
			setUser(t, server, d.rights(t).Sentinels...)
		}
		d.options.Redis.Sentinel = jackcache.SentinelOptions{
			Master: s.MasterName(), Username: of.User, Password: of.UserPassword, TLS: of.TLS.ClientConfig(),
		}
		return d
	}},
	{"cluster, three masters with a replica each, with a user who has the rights of jackcache acl", func(t *testing.T) deployment {
		c := redistest.StartCluster(t, redistest.ClusterOptions{})
		d := single(c.Masters()[0])
		d.options.Redis.Mode, d.options.Redis.Addrs = jackcache.Cluster, c.Addrs()
		d.options.Redis.Username, d.options.Redis.Password = user, secret
		for _, server := range c.Nodes() {
			setUser(t, server, d.rights(t).Servers...)
		}
		d.servers = c.Masters()
		return d
	}},
}

// secured is servers with TLS, client certificates, and a user of an access list.
func secured(t *testing.T) redistest.Security {
	t.Helper()
	certs, err := redistest.NewCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return redistest.Security{
		Password: "of-the-servers-3", User: user, UserPassword: secret, Rules: "~jack:* &* +@all",
		TLS: certs, ClientCerts: true,
	}
}

// rights are the least that 'jackcache acl' prints.
func (d deployment) rights(t *testing.T) jackcache.Rights {
	t.Helper()
	r, err := d.options.Rights()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (d deployment) access(sec redistest.Security) {
	r := d.options.Redis
	r.Username, r.Password, r.TLS = sec.User, sec.UserPassword, sec.TLS.ClientConfig()
}

const user, secret = "jack", "open-sesame-9"

func single(server *redistest.Server) deployment {
	return deployment{
		options: jackcache.Options{
			// Time for a machine that does other things, too.
			Budget: 2 * time.Second,
			Redis:  &jackcache.RedisOptions{Addrs: []string{server.Addr()}},
		},
		servers: []*redistest.Server{server},
	}
}

// setUser makes the user of the access list, with rules.
func setUser(t *testing.T, server *redistest.Server, rules ...string) {
	t.Helper()
	do(t, server, append([]string{"ACL", "SETUSER", user, "reset", "on", ">" + secret}, rules...)...)
}

func do(t *testing.T, server *redistest.Server, args ...string) string {
	t.Helper()
	reply, err := server.Do(args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return reply
}

// check is a run that does not wait long, and whose targets a busy machine meets.
func (d deployment) check() check.Options {
	return check.Options{
		Cache: d.options, Victim: victim, Patience: 20 * time.Second, Outage: 400 * time.Millisecond,
		GetMean: 2 * time.Second, SetMean: 2 * time.Second,
	}
}

// housekeeping are keys that every instance leaves: claims of instance numbers
// (an hour), probes (ten seconds), heartbeats, the id of the store.
var housekeeping = []string{"__instance:", "__probe:", "__beat:", "__store"}

// keys returns the keys of all databases that are not housekeeping.
func (d deployment) keys(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, server := range d.servers {
		script := everyKey
		if d.options.Redis.Mode == jackcache.Cluster {
			script = "return redis.call('KEYS', '*')"
		}
		for _, key := range strings.Split(do(t, server, "EVAL", script, "0"), "\n") {
			if key != "" && !slices.ContainsFunc(housekeeping, func(h string) bool { return strings.Contains(key, h) }) {
				all = append(all, key)
			}
		}
	}
	slices.Sort(all)
	return all
}

const everyKey = `local all = {} for db = 0, 3 do redis.call('SELECT', db)
for _, k in ipairs(redis.call('KEYS', '*')) do all[#all + 1] = db .. ' ' .. k end end return all`

func run(t *testing.T, o check.Options) check.Report {
	t.Helper()
	r, err := check.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func failed(r check.Report) []string {
	ids := []string{}
	for _, c := range r.Categories {
		if c.Verdict == check.Fail {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// The check finds each deployment well, and leaves nothing in it.
func TestAllHold(t *testing.T) {
	for _, c := range deployments {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			if len(d.servers) == 1 {
				do(t, d.servers[0], "SET", "jack:dev:organization:org-1", "of somebody else")
			}
			before := d.keys(t)
			r := run(t, d.check())
			for _, c := range r.Categories {
				t.Logf("%2d %-22s %-7s %8.1f ms  %s", c.Number, c.Name, c.Verdict, c.Milliseconds, c.Detail)
				if c.Verdict != check.Pass {
					t.Errorf("%s: %s: %s", c.Name, c.Detail, c.ToDo)
				}
			}
			t.Logf("%s; removed %d keys; advice: %q", r.Target, r.Cleanup.Removed, r.Advice)
			if !r.OK || len(r.Categories) != 11 || r.Cleanup.Problem != "" {
				t.Errorf("report: %+v", r)
			}
			if after := d.keys(t); !slices.Equal(before, after) {
				t.Errorf("keys before: %q, after: %q", before, after)
			}
			if len(d.servers) > 0 && r.Cleanup.Removed < 50 {
				t.Errorf("removed %d keys: was anything written?", r.Cleanup.Removed)
			}
		})
	}
}

// A check that is stopped anywhere removes what it wrote.
func TestStopped(t *testing.T) {
	for _, id := range []string{"connection", "conversationCaching", "failover", "memoryMigration"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			d := single(redistest.Start(t))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			o := d.check()
			o.OnStep = func(s check.Step) {
				if s.Category == id && s.Text != "" {
					stop()
				}
			}
			r, err := check.Run(ctx, o)
			if !errors.Is(err, context.Canceled) || r.OK {
				t.Errorf("stopped: %v, ok %v", err, r.OK)
			}
			if left := d.keys(t); len(left) > 0 || r.Cleanup.Problem != "" {
				t.Errorf("left: %q, %s", left, r.Cleanup.Problem)
			}
		})
	}
}

func TestOnly(t *testing.T) {
	d := single(redistest.Start(t))
	o := d.check()
	o.Only = []string{"leadMapping"}
	r := run(t, o)
	for _, c := range r.Categories {
		want := check.NotRun
		if c.ID == "leadMapping" || c.ID == check.Connection {
			want = check.Pass
		}
		if c.Verdict != want {
			t.Errorf("%s: %s, want %s", c.ID, c.Verdict, want)
		}
	}
	if !r.OK {
		t.Errorf("report: %+v", r)
	}
	o.Only = []string{"nothing"}
	if _, err := check.Run(t.Context(), o); !errors.Is(err, jackcache.ErrInvalid) || !strings.Contains(err.Error(), "leadMapping") {
		t.Errorf("unknown category: %v, want ErrInvalid with what is allowed", err)
	}
}

// A check whose master dies removes what it wrote from the one that takes its
// place.
func TestMasterDies(t *testing.T) {
	s := redistest.StartSentinel(t, redistest.SentinelOptions{})
	d := single(s.Master())
	d.options.Redis.Mode, d.options.Redis.Addrs = jackcache.Sentinel, s.Addrs()
	d.options.Redis.Sentinel.Master = s.MasterName()
	o := d.check()
	o.Only = []string{"multiTenantIsolation"}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	wait := func(what string, ok func() bool) {
		t.Helper()
		for late := time.After(o.Patience); !ok(); {
			select {
			case <-poll.C:
			case <-late:
				t.Fatal("not in time: " + what)
			}
		}
	}
	at(&o, "multiTenantIsolation", "read hostile ids", func(check.Step) {
		wait("the replicas have what was written", func() bool {
			return !slices.ContainsFunc(s.Servers(), func(r *redistest.Server) bool { return do(t, r, "DBSIZE") != do(t, s.Master(), "DBSIZE") })
		})
		s.Master().Kill()
	})
	r := run(t, o)
	if r.Cleanup.Problem != "" || r.Cleanup.Removed == 0 {
		t.Errorf("clean-up: %+v", r.Cleanup)
	}
	wait("the Sentinels know another master", func() bool {
		m := s.Master()
		d.servers = []*redistest.Server{m}
		return m != nil && m.PID() != 0
	})
	if left := d.keys(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
