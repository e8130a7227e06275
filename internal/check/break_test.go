package check_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/check"
	"github.com/jackcache/jackcache/internal/redistest"
)

// at does something to the deployment before a step of the check.
func at(o *check.Options, category, text string, do func(check.Step)) {
	before := o.OnStep
	o.OnStep = func(s check.Step) {
		if before != nil {
			before(s)
		}
		if s.Category == category && s.Text == text {
			do(s)
		}
	}
}

// thief sends a command in the middle of the check. ORG0 and ORG1 stand for the
// first organisations of the category.
func thief(t *testing.T, server *redistest.Server, o *check.Options, category, text string, command ...string) {
	sent := new(atomic.Bool)
	at(o, category, text, func(s check.Step) {
		args := slices.Clone(command)
		for i := range args {
			for n, org := range s.Orgs {
				args[i] = strings.ReplaceAll(args[i], "ORG"+string(rune('0'+n)), org)
			}
		}
		if _, err := server.Do(args...); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		sent.Store(true)
	})
	t.Cleanup(func() {
		if !sent.Load() {
			t.Errorf("%s has no step %q: nothing was broken", category, text)
		}
	})
}

// as makes the check use a user of the access list with all rights but some.
func as(t *testing.T, server *redistest.Server, o *check.Options, rules ...string) {
	o.Cache.Redis.Username, o.Cache.Redis.Password = user, secret
	setUser(t, server, append([]string{"+@all", "-@dangerous", "+info"}, rules...)...)
}

const number = "16045550101"

// broken is the table of what is broken on purpose: each category fails when what
// it checks is broken, and says what to do.
var broken = []struct {
	what     string
	category string
	also     []string // others that need the same
	do       func(*testing.T, *redistest.Server, *check.Options)
	detail   string // part of it
	toDo     string // part of it
}{
	{
		what: "the server is down", category: "connection",
		do:     func(_ *testing.T, s *redistest.Server, _ *check.Options) { s.Kill() },
		detail: "connection refused", toDo: "start the server, or correct REDIS_HOST",
	},
	{
		what: "a wrong password", category: "connection",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			as(t, s, o, "~*")
			o.Cache.Redis.Password = "wrong"
		},
		detail: "WRONGPASS", toDo: "set REDIS_USERNAME and REDIS_PASSWORD",
	},
	{
		what: "no password where one is wanted", category: "connection",
		do: func(t *testing.T, s *redistest.Server, _ *check.Options) {
			do(t, s, "CONFIG", "SET", "requirepass", secret)
		},
		detail: "NOAUTH", toDo: "the server wants a password",
	},
	{
		what: "a user who may not run scripts", category: "basicOperations",
		also: []string{
			"conversationCaching", "leadMapping", "organizationData", "multiTenantIsolation", "performance", "failover",
			"invalidation", "memoryMigration", "settings",
		},
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			as(t, s, o, "~jack:dev:*", "-@scripting")
		},
		detail: "has no permissions to run the 'evalsha' command", toDo: "'jackcache acl'",
	},
	{
		what: "another client deletes the value", category: "basicOperations",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "basicOperations", "get", "DEL", "jack:dev:agentConfig:ORG0:agent-1")
		},
		detail: `get: nothing is there, want {"n":1}`, toDo: "a database, or a server, of its own",
	},
	{
		what: "a user who may not write lists", category: "conversationCaching",
		also: []string{"multiTenantIsolation", "failover", "invalidation", "memoryMigration", "settings"},
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			as(t, s, o, "~jack:dev:*", "-rpush")
		},
		detail: "append: rejected by the store", toDo: "'jackcache acl'",
	},
	{
		what: "another client puts a string in the place of the messages", category: "conversationCaching",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "conversationCaching", "read the conversation", "SET", "jack:dev:conversationContexts:ORG0:"+number, "x")
		},
		detail: "WRONGTYPE", toDo: "a database, or a server, of its own",
	},
	{
		what: "another client damages a message", category: "conversationCaching",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "conversationCaching", "read the conversation", "LSET", "jack:dev:conversationContexts:ORG0:"+number, "-3", "x")
		},
		detail: "stored data cannot be read", toDo: "a database, or a server, of its own",
	},
	{
		what: "a user whose keys lack those of leads", category: "leadMapping",
		also: []string{"multiTenantIsolation", "memoryMigration"},
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			as(t, s, o, "~jack:dev:conversation*", "~jack:dev:agentConfig:*", "~jack:dev:organization:*", "~jack:dev:__*", "~jack:dev:phoneToLead:*")
		},
		detail: "the phone is linked, the way back is not", toDo: "'jackcache acl'",
	},
	{
		what: "another client deletes the lead of a phone", category: "leadMapping",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "leadMapping", "read both directions", "DEL", "jack:dev:phoneToLead:ORG0:+"+number)
		},
		detail: "the lead of a phone", toDo: "a database, or a server, of its own",
	},
	{
		what: "a user whose keys lack those of organisations", category: "organizationData",
		also: []string{"memoryMigration"},
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			as(t, s, o, "~jack:dev:conversation*", "~jack:dev:agentConfig:*", "~jack:dev:lead*", "~jack:dev:__*", "~jack:dev:phoneToLead:*",
				"~jack:dev:history:*", "~jack:dev:precomputed:*")
		},
		detail: "set organizationData: rejected by the store", toDo: "'jackcache acl'",
	},
	{
		what: "another client copies a summary from one organisation to another", category: "multiTenantIsolation",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "multiTenantIsolation", "read it in both",
				"COPY", "jack:dev:conversationSummaries:ORG0:"+number, "jack:dev:conversationSummaries:ORG1:"+number, "REPLACE")
		},
		detail: `organisation two has the summary "summary of one", want "summary of two"`, toDo: "a database, or a server, of its own",
	},
	{
		what: "each packet to the server takes 40 ms", category: "performance",
		do: func(_ *testing.T, _ *redistest.Server, o *check.Options) {
			o.GetMean, o.SetMean = 0, 0
			var slow atomic.Bool
			at(o, "performance", "set", func(check.Step) { slow.Store(true) })
			at(o, "performance", "get", func(check.Step) { slow.Store(false) })
			o.Cache.Redis.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
				return slowConn{c, &slow}, err
			}
		},
		detail: "(target: mean < 30ms)", toDo: "run jackcache in the same zone as Redis",
	},
	{
		what: "values vanish, as by eviction", category: "performance",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "performance", "get", "EVAL",
				"for i = 0, 99, 2 do redis.call('DEL', 'jack:dev:agentConfig:' .. ARGV[1] .. ':' .. i) end", "0", "ORG0")
		},
		detail: "hit ratio 50 %", toDo: "maxmemory-policy",
	},
	{
		what: "connections cannot be made again", category: "failover",
		do: func(_ *testing.T, _ *redistest.Server, o *check.Options) {
			var closed atomic.Bool
			at(o, "failover", "cut the connections", func(check.Step) { closed.Store(true) })
			at(o, "invalidation", "", func(check.Step) { closed.Store(false) })
			o.Patience = 5 * time.Second
			o.Cache.Redis.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
				if closed.Load() {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}
				}
				return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			}
		},
		detail: "cut the connections, let them through again: writes are not served after 5s", toDo: "firewalls",
	},
	{
		what: "acknowledged messages are gone afterwards", category: "failover",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			o.Patience = 5 * time.Second
			thief(t, s, o, "failover", "read what was acknowledged", "DEL", "jack:dev:conversationContexts:ORG0:16045550100")
		},
		detail: "is there 0 times, want once", toDo: "appendonly yes",
	},
	{
		what: "the journal is off", category: "failover", also: []string{"settings"},
		do:     func(_ *testing.T, _ *redistest.Server, o *check.Options) { o.Cache.Journal.Mode = jackcache.JournalOff },
		detail: "the journal is off", toDo: "JACKCACHE_JOURNAL=required",
	},
	{
		what: "the journal is in memory", category: "failover", also: []string{"settings"},
		do: func(_ *testing.T, _ *redistest.Server, o *check.Options) {
			o.Cache.Journal.Mode = jackcache.JournalMemory
		},
		detail: "the journal is in memory", toDo: "JACKCACHE_JOURNAL=required",
	},
	{
		what: "the data directory cannot be written", category: "failover", also: []string{"settings"},
		do:     func(_ *testing.T, _ *redistest.Server, o *check.Options) { o.Cache.DataDir = "/proc/jackcache" },
		detail: "the journal cannot be kept", toDo: "JACKCACHE_DATA_DIR",
	},
	{
		what: "what is synced is not there after a crash", category: "failover",
		do: func(t *testing.T, _ *redistest.Server, o *check.Options) {
			o.Patience = 5 * time.Second
			forgets(t, o, "open what is left", "crash")
		},
		detail: "message 0 of", toDo: "on a local file system that keeps what is synced",
	},
	{
		what: "the generation of an organisation is lost", category: "invalidation",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "invalidation", "find it gone", "SET", "jack:dev:__gen:ORG0", "0")
		},
		detail: "it is back: 1 messages of an organisation that was invalidated", toDo: "jack:dev:__gen:",
	},
	{
		what: "another client deletes what was imported", category: "memoryMigration",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "memoryMigration", "import again", "DEL", "jack:dev:conversationSummaries:ORG0:"+number)
		},
		detail: "what was imported reads [one two three], \"\"", toDo: "a database, or a server, of its own",
	},
	{
		what: "another client puts a string in the place of what is imported", category: "memoryMigration",
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			thief(t, s, o, "memoryMigration", "import", "SET", "jack:dev:conversationContexts:ORG0:"+number, "x")
		},
		detail: "1 of 4 entries failed; the first, of conversationContexts", toDo: "a database, or a server, of its own",
	},
	{
		what: "there is no memory for writes", category: "basicOperations",
		also: []string{
			"conversationCaching", "leadMapping", "organizationData", "multiTenantIsolation", "performance", "failover",
			"invalidation", "memoryMigration",
		},
		do: func(t *testing.T, s *redistest.Server, o *check.Options) {
			ids := check.IDs()
			o.Only = ids[:len(ids)-1] // health learns of it sooner or later
			thief(t, s, o, "basicOperations", "", "CONFIG", "SET", "maxmemory", "1")
		},
		detail: "set agentConfig: store is full", toDo: "raise maxmemory",
	},
	{
		what: "the server may evict what was acknowledged", category: "settings",
		do: func(t *testing.T, s *redistest.Server, _ *check.Options) {
			do(t, s, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
		},
		detail: "health is degraded", toDo: "maxmemory-policy is allkeys-lru, set it to noeviction",
	},
}

// forgets empties the journal of one of the check's data directories.
func forgets(t *testing.T, o *check.Options, text, dir string) {
	o.Cache.DataDir = t.TempDir()
	at(o, "failover", text, func(check.Step) {
		journals, err := filepath.Glob(filepath.Join(o.Cache.DataDir, "jackcache-check-*", dir, "journal"))
		if err != nil || len(journals) != 1 {
			t.Errorf("journals: %q, %v", journals, err)
			return
		}
		if err := os.RemoveAll(journals[0]); err != nil {
			t.Error(err)
		}
	})
}

// slowConn takes a while for every packet, while it is slow.
type slowConn struct {
	net.Conn
	slow *atomic.Bool
}

func (c slowConn) Write(b []byte) (int, error) {
	if c.slow.Load() {
		<-time.After(40 * time.Millisecond)
	}
	return c.Conn.Write(b)
}

// Each category fails when what it checks is broken on purpose; nothing else
// does, and nothing is left.
func TestBroken(t *testing.T) {
	for _, b := range broken {
		t.Run(b.category+"/"+b.what, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			d := single(server)
			o := d.check()
			b.do(t, server, &o)
			r := run(t, o)
			want := append([]string{b.category}, b.also...)
			if got := failed(r); r.OK || !slices.Equal(got, want) {
				t.Errorf("failed: %v, want %v", got, want)
			}
			for _, c := range r.Categories {
				if c.Verdict == check.Fail {
					t.Logf("%s: %s. What to do: %s", c.Name, c.Detail, c.ToDo)
				}
				if c.Verdict == check.Fail && c.ToDo == "" {
					t.Errorf("%s fails without saying what to do", c.Name)
				}
				if c.ID == b.category && (!strings.Contains(c.Detail, b.detail) || !strings.Contains(c.ToDo, b.toDo)) {
					t.Errorf("%s: %q, %q; want %q, %q", c.Name, c.Detail, c.ToDo, b.detail, b.toDo)
				}
				if strings.Contains(c.Detail+c.ToDo, secret) {
					t.Errorf("%s tells the password", c.Name)
				}
			}
			if server.PID() == 0 {
				return
			}
			if r.Cleanup.Problem != "" {
				t.Errorf("clean-up: %s", r.Cleanup.Problem)
			}
			if b.category == check.Connection {
				return
			}
			if left := d.keys(t); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// docs/check.md has the table.
func TestBrokenIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		if row := "| " + b.what + " |"; !strings.Contains(string(page), row) {
			t.Errorf("docs/check.md has no row %q", row)
		} else if line, _, _ := strings.Cut(string(page)[strings.Index(string(page), row):], "\n"); !strings.Contains(line, b.detail) {
			t.Errorf("docs/check.md: %q does not say %q", line, b.detail)
		}
	}
}

// A user who may not look for keys: the check says what may be left.
func TestBrokenCleanup(t *testing.T) {
	server := redistest.Start(t)
	o := single(server).check()
	as(t, server, &o, "~jack:dev:*", "-scan")
	o.Only = []string{"basicOperations"}
	r := run(t, o)
	if r.OK || len(failed(r)) > 0 || !strings.Contains(r.Cleanup.Problem, "redis-cli --scan --pattern 'jack:dev:*"+r.Token+"*'") {
		t.Errorf("report: %+v", r)
	}
}

// The failover of the embedded store fails when the disk forgets, and when there
// is nothing to kill.
func TestBrokenEmbedded(t *testing.T) {
	for _, b := range []struct {
		what   string
		do     func(*testing.T, *check.Options)
		detail string
	}{
		{"the file is gone", func(t *testing.T, o *check.Options) {
			dir := o.Cache.DataDir
			at(o, "failover", "open what is left", func(check.Step) {
				files, err := filepath.Glob(filepath.Join(dir, "jackcache-check-*", "crash", "embedded.db"))
				if err != nil || len(files) != 1 {
					t.Errorf("files: %q, %v", files, err)
					return
				}
				if err := os.Remove(files[0]); err != nil {
					t.Error(err)
				}
			})
		}, "message 0 of"},
		{"the process ends at once", func(_ *testing.T, o *check.Options) {
			o.Victim = func() *exec.Cmd { return exec.Command(os.Args[0], "-test.run=^$") }
		}, "the process that was to be killed acknowledged"},
		{"there is no process", func(_ *testing.T, o *check.Options) { o.Victim = nil }, "there is no process"},
	} {
		t.Run(b.what, func(t *testing.T) {
			t.Parallel()
			d := deployments[0].start(t)
			o := d.check()
			o.Only = []string{"failover"}
			b.do(t, &o)
			r := run(t, o)
			if got := failed(r); !slices.Equal(got, []string{"failover"}) || !strings.Contains(r.Categories[7].Detail, b.detail) {
				t.Errorf("%+v, want %q", r.Categories[7], b.detail)
			}
			if left, err := os.ReadDir(d.options.DataDir); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}
